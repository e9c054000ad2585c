"""Who serves: what serves each target now, what did at a moment, and what did before. Reads only.

There is one answer, mart.champion_changes. Its statement is asked and not the view, which a lake of
an earlier release does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from catalog.stores.rows import Rows
from catalog.tables.views import read_view

Row = dict[str, Any]

CHANGES = f"({read_view('champion_changes').sql})"


def champions_now(lake: Rows, *, targets: Sequence[str] | None = None) -> dict[str, Row]:
    """Target -> the row of mart.champion_changes of the ensemble that serves it now."""
    chosen = "" if targets is None else " AND list_contains(?, target_name)"
    rows = lake.rows(
        f"FROM {CHANGES} WHERE is_champion{chosen}", [] if targets is None else [list(targets)]
    )
    return {row["target_name"]: row for row in rows}


def champions_at(lake: Rows, moment: datetime) -> dict[str, str]:
    """Target -> the ensemble that served it at a moment, as far as that has not been erased since.

    '' where damage had taken the champion away.
    """
    rows = lake.rows(
        f"SELECT target_name, ensemble_id FROM {CHANGES}"
        " WHERE since_at <= ? AND (until_at IS NULL OR until_at > ?)"
        " QUALIFY row_number() OVER (PARTITION BY target_name"
        " ORDER BY since_at DESC, promotion_id) = 1",
        [moment, moment],
    )
    return {row["target_name"]: row["ensemble_id"] for row in rows}


def standing_changes(lake: Rows) -> dict[str, list[Row]]:
    """Target -> each time that what serves it changed, the oldest first; nothing withdrawn."""
    rows = lake.rows(f"FROM {CHANGES} WHERE retracted_at IS NULL ORDER BY target_name, place")
    by_target: dict[str, list[Row]] = {}
    for row in rows:
        by_target.setdefault(row["target_name"], []).append(row)
    return by_target


def targets_ever_served(lake: Rows) -> frozenset[str]:
    """Targets for which it was ever decided what serves them, whether or not that was withdrawn."""
    rows = lake.rows(f"SELECT DISTINCT target_name FROM {CHANGES}")
    return frozenset(row["target_name"] for row in rows)
