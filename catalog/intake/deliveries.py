"""Deliveries: which of the files that lie there were never held against their contract."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.queries.withdrawn import withdrawn_sources
from catalog.readers.files import file_name
from catalog.readers.formats import FileUnreadable, delivery_mark, delivery_sha256, list_deliveries
from catalog.readers.ordering import DeliveryPlace, moment_of, place_of
from catalog.stores.rows import Rows
from catalog.validation.delivery import ENOUGH_ROWS, ONE_CLASS, ONE_INPUT
from catalog.validation.keys import DISAGREE
from rpe_core.errors import InputError

Row = dict[str, Any]
File = tuple[str, str]  # uri, sha256 of the bytes
Content = tuple[str, str]  # sha256 of the bytes, and the columns that the folders around them hold
RETRACTED = "retracted"  # reason of a batch that is refused because its bytes were withdrawn


@dataclass(frozen=True)
class Lying:
    """Bytes that lie there under one or more names; of these the last in the source's order."""

    uri: str
    sha256: str  # '' of a file that cannot be read
    mark: str = ""  # equal bytes in other folders are other rows, where the folders hold columns
    order_key: DeliveryPlace | None = None  # None: the order's pattern does not fit the name
    modified: datetime | None = None
    arrival: int | None = None  # of bytes that were accepted before: the how manieth they were
    before: tuple[Row, ...] = field(default=(), repr=False)  # batches of them under this contract
    is_pending: bool = True
    is_there: bool = True  # False of a place where nothing has ever lain


def pending_files(lake: Rows, contracts: Sequence[SourceContract]) -> dict[str, list[File]]:
    """Source -> each file that was never held against its contract, in landing order.

    Every file is hashed, nothing else is read; the images of a source count as one file, the
    listing. A file that cannot be read has the hash '': it counts as pending so that `ingest` gets
    to say so, and never raises here. In landing order: by the contract's order where it has one;
    else those that were accepted under another contract, as they came, then the new ones by name.
    Bytes that were withdrawn from the source are not pending again.
    """
    return {
        source: [(file.uri, file.sha256) for file in lying if file.is_pending]
        for source, lying in lying_files(lake, contracts).items()
    }


def lying_files(lake: Rows, contracts: Sequence[SourceContract]) -> dict[str, list[Lying]]:
    """Source -> every file that lies there, pending or not, in landing order."""
    batches: dict[str, list[Row]] = {contract.source: [] for contract in contracts}
    for row in lake.rows(
        "SELECT * FROM core.batches WHERE list_contains(?, source) ORDER BY recorded_at, file_uri",
        [sorted(batches)],
    ):
        batches[row["source"]].append(row)
    gone, in_force = withdrawn_sources(lake), _in_force(lake)
    return {
        contract.source: _lying(
            contract,
            batches[contract.source],
            is_withdrawn=contract.source in gone,
            is_returning=in_force.get(contract.source, contract.sha256) != contract.sha256,
        )
        for contract in contracts
    }


def refused_bytes(lake: Rows, contract: SourceContract) -> frozenset[str]:
    """Hashes of the files of which, under this contract, nothing landed."""
    rows = lake.rows(
        "SELECT file_sha256 FROM core.batches WHERE source = ? AND contract_sha256 = ?"
        " AND superseded_at IS NULL AND retracted_at IS NULL"
        " GROUP BY file_sha256 HAVING bool_and(outcome = 'refused')",
        [contract.source, contract.sha256],
    )
    return frozenset(row["file_sha256"] for row in rows)


def arrived_late(lake: Rows, contract: SourceContract, batches: Collection[str]) -> dict[str, int]:
    """File of these batches -> rows that it replaced of files that come after it by their names.

    Without an order in the contract it counts what arrived last: a rebuilt workspace would refuse
    such files, because nothing says which of them is right.
    """
    if contract.files.order is not None or not batches:
        return {}
    pairs = lake.rows(
        "SELECT new.file_uri AS file_uri, old.file_uri AS old_uri, count(*) AS n_rows"
        f' FROM raw."{contract.source}" r JOIN core.batches old ON old.batch_id = r._batch_id'
        " JOIN core.batches new ON new.batch_id = r._superseded_by"
        " WHERE list_contains(?, new.batch_id) GROUP BY ALL ORDER BY ALL",
        [sorted(batches)],
    )
    late: dict[str, int] = {}
    for pair in pairs:
        here, there = (place_of(contract.files, pair[name]) for name in ("file_uri", "old_uri"))
        if here is not None and there is not None and here < there:
            name = file_name(pair["file_uri"])
            late[name] = late.get(name, 0) + pair["n_rows"]
    return late


def _in_force(lake: Rows) -> dict[str, str]:
    """Source -> hash of the contract under which its rows stand."""
    rows = lake.rows(
        "SELECT source, contract_sha256 FROM core.sources"
        " WHERE superseded_at IS NULL AND retracted_at IS NULL"
    )
    return {row["source"]: row["contract_sha256"] for row in rows}


def content_of(contract: SourceContract, batch: Mapping[str, Any]) -> Content:
    """What a batch on record was made of; the path of withdrawn bytes is erased with them."""
    return batch["file_sha256"], delivery_mark(contract, batch["file_uri"] or "")


def place_of_batch(
    contract: SourceContract,
    batch: Mapping[str, Any],
    *,
    moments: Mapping[str, datetime | None] | None = None,
) -> DeliveryPlace | None:
    """The place that a batch on record has in the order of the contract as it is now.

    Where nobody noted when its file was modified, because its contract did not ask: the moment of
    the same bytes that lie there (sha256 -> moment), or when it came, for it was modified before.
    """
    lying = (moments or {}).get(batch["file_sha256"])
    modified = batch.get("file_modified_at") or lying or batch["recorded_at"]
    return place_of(contract.files, batch["file_uri"], modified=modified)


def _lying(
    contract: SourceContract, batches: Sequence[Row], *, is_withdrawn: bool, is_returning: bool
) -> list[Lying]:
    of_content: dict[Content, list[Row]] = defaultdict(list)
    withdrawn: dict[str, list[Row]] = defaultdict(list)  # held under any folder
    for row in batches:
        if row["retracted_at"] is not None:
            withdrawn[row["file_sha256"]].append(row)
        else:
            of_content[content_of(contract, row)].append(row)
    came = (content_of(contract, row) for row in batches if row["outcome"] == "accepted")
    arrivals = {content: number for number, content in enumerate(dict.fromkeys(came))}
    try:
        files, unreadable = _found(contract)
    except InputError:  # nothing is there
        if is_withdrawn or any(_is_held(contract, row) for row in batches) or arrivals:
            return []
        return [Lying(contract.files.path, "", is_there=False)]
    lying = [
        replace(
            file,
            arrival=arrivals.get((file.sha256, file.mark)),
            before=_under(contract, [*withdrawn[file.sha256], *of_content[file.sha256, file.mark]]),
        )
        for file in files
    ]
    gone = _lone_moments(_under(contract, batches), {file.sha256 for file in lying})
    judged = [
        replace(file, is_pending=_is_pending(contract, file, gone, is_returning=is_returning))
        for file in lying
    ]
    if any(file.is_pending for file in judged):
        judged = [
            replace(file, is_pending=file.is_pending or _is_too_alike(file)) for file in judged
        ]
    unread = [] if is_withdrawn else [Lying(uri, "") for uri in unreadable]
    return [*sorted(judged, key=lambda file: _landing_order(contract, file)), *unread]


def _found(contract: SourceContract) -> tuple[list[Lying], list[str]]:
    """Each bytes once, under the name that comes last in the contract's order, if it has one."""
    files = contract.files
    by_content: dict[Content, Lying] = {}
    unreadable: list[str] = []
    for uri in list_deliveries(files):
        try:
            sha256 = delivery_sha256(files, uri)
        except FileUnreadable:
            unreadable.append(uri)
            continue
        try:
            modified = moment_of(files, uri)
        except InputError:
            unreadable.append(uri)
            continue
        mark = delivery_mark(contract, uri)
        position = place_of(files, uri, modified=modified) if files.order is not None else ()
        file = Lying(uri, sha256, mark, position, modified)
        other = by_content.get((sha256, mark))
        if other is None or _is_later(file, other):
            by_content[sha256, mark] = file
    return list(by_content.values()), unreadable


def _is_later(file: Lying, other: Lying) -> bool:
    if file.order_key is None or other.order_key is None:
        return file.order_key is not None
    return file.order_key > other.order_key


def _under(contract: SourceContract, batches: Sequence[Row]) -> tuple[Row, ...]:
    return tuple(row for row in batches if _is_held(contract, row))


def _is_held(contract: SourceContract, row: Row) -> bool:
    return row["contract_sha256"] == contract.sha256 or row["retracted_at"] is not None


def _is_pending(
    contract: SourceContract, file: Lying, gone: frozenset[datetime], *, is_returning: bool
) -> bool:
    """Whether bytes are to be held against the contract, for the first time or again.

    Again where they were refused beside a file that is there no more; and, where a contract orders
    its files, under a name or moment that gives them a later place, or another one than they were
    refused at, and all of them when it returns after another, whose order was in force meanwhile.
    """
    if any(row["retracted_at"] is not None or is_tombstone(row) for row in file.before):
        return False
    standing = [row for row in file.before if row["superseded_at"] is None]
    if not standing or (is_returning and contract.keeps_places):
        return True
    accepted = [row for row in standing if row["outcome"] == "accepted"]
    here = standing
    if contract.files.order is not None:
        here = [row for row in standing if place_of_batch(contract, row) == file.order_key]
    if here:
        is_beside_none = any(row["recorded_at"] in gone and disagrees(row) for row in here)
        return is_beside_none and not any(row in accepted for row in here)
    if not accepted:
        return True
    places = [place_of_batch(contract, row) for row in accepted]
    is_later = all(file.order_key is not None and (p is None or p < file.order_key) for p in places)
    return contract.keeps_places and is_later


def _is_too_alike(file: Lying) -> bool:
    """Whether bytes were refused only because their rows, with what stood, did not differ.

    They are judged again beside the next new file: at once they might have landed with it.
    """
    standing = [row for row in file.before if row["superseded_at"] is None]
    reasons = [part for row in standing for part in (row["reason"] or "?").split("; ")]
    if not reasons or not all(part.startswith((ONE_CLASS, ONE_INPUT)) for part in reasons):
        return False
    is_by_itself = any(part.startswith(ONE_INPUT) for part in reasons)
    return not (is_by_itself and any(row["n_rows"] >= ENOUGH_ROWS for row in standing))


def is_tombstone(batch: Row) -> bool:
    """Whether a batch was refused, unread, because its bytes were withdrawn."""
    return (batch["reason"] or "").startswith(RETRACTED)


def disagrees(batch: Row) -> bool:
    """Whether a batch was refused because of another file, which may be taken away."""
    return any(part.startswith(DISAGREE) for part in (batch["reason"] or "").split("; "))


def _lone_moments(batches: Sequence[Row], lying: Collection[str]) -> frozenset[datetime]:
    """When files were refused for each other of which one is there no more."""
    return frozenset(
        row["recorded_at"]
        for row in batches
        if row["superseded_at"] is None and disagrees(row) and row["file_sha256"] not in lying
    )


def _landing_order(contract: SourceContract, file: Lying) -> tuple[Any, ...]:
    """By place; where no contract orders them, those that were here before come first, as then."""
    if contract.files.order is not None:
        return (file.order_key is not None, file.order_key or (), file.uri)
    is_new = file.arrival is None and file.is_pending
    position = place_of(contract.files, file.uri) if is_new else ()
    return (file.arrival is None, file.arrival or 0, position, file.uri)
