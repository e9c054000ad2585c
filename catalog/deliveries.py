"""Deliveries: which of the files that lie there were never held against their contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.readers.formats import FileUnreadable, delivery_sha256, list_deliveries
from catalog.stores.lake import Lake
from rpe_core.errors import InputError

File = tuple[str, str]  # uri, sha256 of the bytes
RETRACTED = "retracted"  # reason of a batch that is refused because its bytes were withdrawn


@dataclass(frozen=True)
class Lying:
    """What lies at a source's place: a file by its hash, and those that cannot be read."""

    files: Mapping[str, str]  # sha256 -> uri; of the same bytes under two names the first
    unreadable: tuple[str, ...] = ()
    is_there: bool = True


def lying_files(contract: SourceContract) -> Lying:
    """List and hash what lies at a source's place now; never raises for a file or its absence."""
    found: dict[str, str] = {}
    unreadable = []
    try:
        for uri in list_deliveries(contract.files):
            try:
                found.setdefault(delivery_sha256(contract.files, uri), uri)
            except FileUnreadable:
                unreadable.append(uri)
    except InputError:  # nothing is there
        return Lying({}, is_there=False)
    return Lying(found, tuple(unreadable))


def pending_files(
    lake: Lake,
    contracts: Sequence[SourceContract],
    *,
    lying: Mapping[str, Lying] | None = None,
) -> dict[str, list[File]]:
    """Source -> each file that was never held against its contract, in landing order.

    Every file is hashed, nothing else is read; the images of a source count as one file, the
    listing. A file that cannot be read has the hash '': it counts as pending so that `ingest` gets
    to say so, and never raises here. Files that were accepted under another contract come first, in
    the order of their arrival. Bytes that were withdrawn from the source are not pending again.
    `lying` is what lies there, if the caller has looked.
    """
    batches: dict[str, list[dict[str, Any]]] = {contract.source: [] for contract in contracts}
    for row in lake.rows(
        "SELECT source, file_sha256, contract_sha256, outcome, retracted_at FROM core.batches"
        " WHERE list_contains(?, source) ORDER BY recorded_at, file_uri",
        [sorted(batches)],
    ):
        batches[row["source"]].append(row)
    gone, there = withdrawn_sources(lake), lying or {}
    return {
        contract.source: _pending(
            contract,
            batches[contract.source],
            there.get(contract.source) or lying_files(contract),
            is_withdrawn=contract.source in gone,
        )
        for contract in contracts
    }


def withdrawn_sources(lake: Lake) -> frozenset[str]:
    """Sources that were retracted whole: nothing of theirs is landed again."""
    rows = lake.rows("SELECT DISTINCT source FROM core.retractions WHERE subject_id = source")
    return frozenset(row["source"] for row in rows)


def withdrawn_bytes(lake: Lake) -> frozenset[str]:
    """Hashes of the files that a retraction withdrew, from whichever source they came."""
    rows = lake.rows("SELECT file_sha256 FROM core.batches WHERE retracted_at IS NOT NULL")
    return frozenset(row["file_sha256"] for row in rows)


def _pending(
    contract: SourceContract,
    batches: Sequence[dict[str, Any]],
    lying: Lying,
    *,
    is_withdrawn: bool,
) -> list[File]:
    seen: dict[str, int] = {}
    held: set[str] = set()
    for row in batches:
        if row["contract_sha256"] == contract.sha256 or row["retracted_at"] is not None:
            held.add(row["file_sha256"])
        if row["outcome"] == "accepted":
            seen.setdefault(row["file_sha256"], len(seen))
    if not lying.is_there:
        return [] if seen or held or is_withdrawn else [(contract.files.path, "")]
    new = [(uri, sha256) for sha256, uri in lying.files.items() if sha256 not in held]
    unreadable = [] if is_withdrawn else [(uri, "") for uri in lying.unreadable]
    return sorted(new, key=lambda f: (seen.get(f[1], len(seen)), f[0])) + unreadable
