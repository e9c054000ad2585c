"""What sources delivered: batches, what was set aside of them and why, how they drift. Reads."""

from __future__ import annotations

from typing import Any

from catalog.stores.rows import Rows
from catalog.tables.quoting import quote_identifier

Row = dict[str, Any]


def batches_of_source(lake: Rows, source: str) -> list[Row]:
    """Every batch of a source, the oldest first."""
    return lake.rows("SELECT * FROM core.batches WHERE source = ? ORDER BY recorded_at", [source])


def batches_of_run(lake: Rows, run_id: str) -> list[Row]:
    """Standing batches that were landed since a run began, by source and file."""
    return lake.rows(
        "SELECT * FROM core.batches WHERE retracted_at IS NULL AND recorded_at >="
        " (SELECT started_at FROM core.runs WHERE run_id = ?) ORDER BY source, file_uri",
        [run_id],
    )


def rows_set_aside(lake: Rows) -> list[Row]:
    """How much of each source was set aside, where anything was.

    source, quarantined, by_phi_gate (rows), refused_batches.
    """
    return lake.rows(
        "SELECT source, sum(n_quarantined)::BIGINT AS quarantined,"
        " sum(n_phi)::BIGINT AS by_phi_gate,"
        " count(*) FILTER (outcome = 'refused') AS refused_batches FROM core.batches"
        " WHERE retracted_at IS NULL GROUP BY source"
        " HAVING quarantined > 0 OR refused_batches > 0 ORDER BY source"
    )


def reasons_of_quarantine(lake: Rows, source: str, *, part_of_batch_id: str = "") -> list[Row]:
    """Why rows of a source were set aside, batch by batch: reasons, n_rows, the first row numbers.

    A part of a batch's id chooses among the batches.
    """
    return lake.rows(
        "SELECT _batch_id AS batch_id, _reasons AS reasons, count(*) AS n_rows,"
        " list(_row_number ORDER BY _row_number)[:20] AS first_rows"
        f" FROM quarantine.{quote_identifier(source)} WHERE contains(_batch_id, ?)"
        " GROUP BY ALL ORDER BY ALL",
        [part_of_batch_id],
    )


def health_of_sources(lake: Rows) -> list[Row]:
    """Rows of mart.source_health, one per source, by name."""
    return lake.rows("SELECT * FROM mart.source_health ORDER BY source")


def drifts_of_source(lake: Rows, source: str) -> list[Row]:
    """Rows of mart.source_drift of a source, the oldest move of z first."""
    return lake.rows("FROM mart.source_drift WHERE source = ? ORDER BY recorded_at, role", [source])
