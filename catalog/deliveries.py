"""Deliveries: which of the files that lie there were never held against their contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.readers.formats import FileUnreadable, delivery_mark, delivery_sha256, list_deliveries
from catalog.stores.lake import Lake
from rpe_core.errors import InputError

File = tuple[str, str]  # uri, sha256 of the bytes; or that sha256 and what its folders say


def pending_files(lake: Lake, contracts: Sequence[SourceContract]) -> dict[str, list[File]]:
    """Source -> each file that was never held against its contract, in landing order.

    Every file is hashed, nothing else is read; the images of a source count as one file, the
    listing. A file that cannot be read has the hash '': it counts as pending so that `ingest` gets
    to say so, and never raises here. Files that were accepted under another contract come first, in
    the order of their arrival. Bytes that were withdrawn from the source are not pending again.
    """
    batches: dict[str, list[dict[str, Any]]] = {contract.source: [] for contract in contracts}
    for row in lake.rows(
        "SELECT source, file_uri, file_sha256, contract_sha256, outcome, retracted_at"
        " FROM core.batches"
        " WHERE list_contains(?, source) ORDER BY recorded_at, file_uri",
        [sorted(batches)],
    ):
        batches[row["source"]].append(row)
    gone = withdrawn_sources(lake)
    return {
        contract.source: _pending(
            contract, batches[contract.source], is_withdrawn=contract.source in gone
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
    contract: SourceContract, batches: Sequence[dict[str, Any]], *, is_withdrawn: bool
) -> list[File]:
    # Equal bytes in other folders are other rows, where the folders hold columns
    seen: dict[File, int] = {}
    held: set[File] = set()
    gone = {row["file_sha256"] for row in batches if row["retracted_at"] is not None}
    for row in batches:
        # The path of withdrawn bytes is erased with them, and they are held under any
        content = (row["file_sha256"], delivery_mark(contract, row["file_uri"] or ""))
        if row["contract_sha256"] == contract.sha256:
            held.add(content)
        if row["outcome"] == "accepted":
            seen.setdefault(content, len(seen))
    found: dict[File, str] = {}
    unreadable = []
    try:
        for uri in list_deliveries(contract.files):
            try:
                sha256 = delivery_sha256(contract.files, uri)
                found.setdefault((sha256, delivery_mark(contract, uri)), uri)
            except FileUnreadable:
                unreadable.append((uri, ""))
    except InputError:  # nothing is there
        return [] if seen or held or gone or is_withdrawn else [(contract.files.path, "")]
    new = [
        (seen.get(content, len(seen)), uri, content[0])
        for content, uri in found.items()
        if content not in held and content[0] not in gone
    ]
    return [(uri, sha256) for _, uri, sha256 in sorted(new)] + ([] if is_withdrawn else unreadable)
