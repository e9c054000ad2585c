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
    known = {(one.source, one.sha256) for one in contracts}
    rows = lake.rows(
        "SELECT source, contract_sha256, batch_id, file_sha256, file_uri, reason, recorded_at"
        " FROM core.batches WHERE outcome = 'refused' AND retracted_at IS NULL"
        " AND superseded_at IS NULL"
        " AND list_contains(?, source) ORDER BY recorded_at, batch_id",
        [sorted(lying)],
    )
    found = [
        Refusal(source, file_name(one.uri), (UNREADABLE,))
        for source, files in lying.items()
        for one in files
        if one.is_there and not one.sha256
    ]
    places = {(source, one.sha256): one.uri for source, files in lying.items() for one in files}
    for row in rows:
        uri = places.get((row["source"], row["file_sha256"]))
        if uri is None or (row["source"], row["contract_sha256"]) not in known:
            continue
        codes = tuple(dict.fromkeys(_CODE.findall(row["reason"] or "")))
        # bytes that were withdrawn have no name any more
        name = file_name(row["file_uri"] if RETRACTED in codes else uri)
        found.append(Refusal(row["source"], name, codes, row["batch_id"], row["recorded_at"]))
    return sorted(found, key=lambda one: (one.source, one.file_name, one.batch_id))
