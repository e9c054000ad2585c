"""Withdrawn data: sources and files that a retraction took back and that no ingest lands again."""

from __future__ import annotations

from typing import Any

from catalog.stores.rows import Rows

Row = dict[str, Any]


def withdrawn_sources(lake: Rows) -> frozenset[str]:
    """Sources that were retracted whole: nothing of theirs is landed again."""
    rows = lake.rows("SELECT DISTINCT source FROM core.retractions WHERE subject_id = source")
    return frozenset(row["source"] for row in rows)


def withdrawn_bytes(lake: Rows) -> frozenset[str]:
    """Hashes of the files that a retraction withdrew, from whichever source they came."""
    rows = lake.rows("SELECT file_sha256 FROM core.batches WHERE retracted_at IS NOT NULL")
    return frozenset(row["file_sha256"] for row in rows)


def withdrawals_of_sources(lake: Rows) -> list[Row]:
    """Rows of core.retractions of sources that were retracted whole, by source."""
    return lake.rows("FROM core.retractions WHERE subject_id = source ORDER BY source")
