"""Deliveries: which of the files that lie there were never held against their contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.contracts.contract import SourceContract
from catalog.readers.formats import FileUnreadable, delivery_sha256, list_deliveries
from catalog.stores.lake import Lake
from rpe_core.errors import InputError

File = tuple[str, str]  # uri, sha256 of the bytes


def pending_files(lake: Lake, contracts: Sequence[SourceContract]) -> dict[str, list[File]]:
    """Source -> each file that was never held against its contract, in landing order.

    Every file is hashed, nothing else is read; the images of a source count as one file, the
    listing. A file that cannot be read has the hash '': it counts as pending so that `ingest` gets
    to say so, and never raises here. Files that were accepted under another contract come first, in
    the order of their arrival.
    """
    batches: dict[str, list[dict[str, Any]]] = {contract.source: [] for contract in contracts}
    for row in lake.rows(
        "SELECT source, file_sha256, contract_sha256, outcome FROM core.batches"
        " WHERE list_contains(?, source) ORDER BY recorded_at, file_uri",
        [sorted(batches)],
    ):
        batches[row["source"]].append(row)
    return {contract.source: _pending(contract, batches[contract.source]) for contract in contracts}


def _pending(contract: SourceContract, batches: Sequence[dict[str, Any]]) -> list[File]:
    seen: dict[str, int] = {}
    held: set[str] = set()
    for row in batches:
        if row["contract_sha256"] == contract.sha256:
            held.add(row["file_sha256"])
        if row["outcome"] == "accepted":
            seen.setdefault(row["file_sha256"], len(seen))
    try:
        uris = list_deliveries(contract.files)
    except InputError:
        return [] if seen or held else [(contract.files.path, "")]
    found: dict[str, str] = {}
    unreadable = []
    for uri in uris:
        try:
            found.setdefault(delivery_sha256(contract.files, uri), uri)
        except FileUnreadable:
            unreadable.append((uri, ""))
    new = [(uri, sha256) for sha256, uri in found.items() if sha256 not in held]
    return sorted(new, key=lambda f: (seen.get(f[1], len(seen)), f[0])) + unreadable
