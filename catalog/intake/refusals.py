"""Refusals that stand: files that lie there now and were refused under the contract in force."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from catalog.contracts.contract import SourceContract
from catalog.intake.deliveries import RETRACTED, Lying
from catalog.readers.files import file_name
from catalog.stores.lake.lake import Lake

UNREADABLE = "unreadable_file"
_CODE = re.compile(r"(?:^|; )([a-z][a-z0-9_]*)(?=:)")


@dataclass(frozen=True)
class Refusal:
    """A refused file that lies there: which, for what codes, since when; '' where never read."""

    source: str
    file_name: str
    codes: tuple[str, ...]
    batch_id: str = ""
    since: datetime | None = None


def standing_refusals(
    lake: Lake, contracts: Sequence[SourceContract], lying: Mapping[str, Sequence[Lying]]
) -> list[Refusal]:
    """The refused files that lie there, by source and name.

    One whose bytes were replaced, that is gone, that was withdrawn, or that the contract as it is
    now has let in, is none.
    """
    known = {(contract.source, contract.sha256) for contract in contracts}
    rows = lake.rows(
        "SELECT source, contract_sha256, batch_id, file_sha256, file_uri, reason, recorded_at"
        " FROM core.batches WHERE outcome = 'refused' AND retracted_at IS NULL"
        " AND superseded_at IS NULL"
        " AND list_contains(?, source) ORDER BY recorded_at, batch_id",
        [sorted(lying)],
    )
    refusals = [
        Refusal(source, file_name(file.uri), (UNREADABLE,))
        for source, files in lying.items()
        for file in files
        if file.is_there and not file.sha256
    ]
    places = {(source, file.sha256): file.uri for source, files in lying.items() for file in files}
    for row in rows:
        uri = places.get((row["source"], row["file_sha256"]))
        if uri is None or (row["source"], row["contract_sha256"]) not in known:
            continue
        codes = tuple(dict.fromkeys(_CODE.findall(row["reason"] or "")))
        # bytes that were withdrawn have no name any more
        name = file_name(row["file_uri"] if RETRACTED in codes else uri)
        refusals.append(Refusal(row["source"], name, codes, row["batch_id"], row["recorded_at"]))
    return sorted(
        refusals, key=lambda refusal: (refusal.source, refusal.file_name, refusal.batch_id)
    )
