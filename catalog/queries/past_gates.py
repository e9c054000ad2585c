"""Judged: which challengers a gate let in, and what withdrawals erased. Reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catalog.stores.lake.lake import Lake

Row = dict[str, Any]

_OF_TARGET = re.compile(r'"ensemble:([^"@]+)@')  # an ensemble's id in a certificate


@dataclass(frozen=True)
class Withdrawn:
    """A withdrawal that erased ensembles of a target, and what was decided about them."""

    target: str
    at: datetime


def let_in(lake: Lake) -> list[Row]:
    """Verdicts by which a challenger serves or did, or waits for a person; the oldest first.

    A win that a person approved is told once, as that person's act.
    """
    return lake.rows(
        "SELECT * FROM core.promotions"
        " WHERE action IN ('promoted', 'approved', 'pending', 'refused', 'kept')"
        " QUALIFY action IN ('promoted', 'approved') OR action = 'pending' AND row_number() OVER"
        " (PARTITION BY target_name ORDER BY recorded_at DESC, promotion_id) = 1"
        " ORDER BY recorded_at, promotion_id DESC"
    )


def withdrawals(lake: Lake) -> list[Withdrawn]:
    """Withdrawals by target, the oldest first."""
    rows = lake.rows(
        "SELECT certificate_json, recorded_at FROM core.retractions ORDER BY recorded_at"
    )
    return [
        Withdrawn(target, row["recorded_at"])
        for row in rows
        for target in sorted(set(_OF_TARGET.findall(row["certificate_json"] or "")))
    ]
