"""Runs on record: how many, since when, what their steps cost. Reads only."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from catalog.stores.rows import Rows

Row = dict[str, Any]


def count_runs(lake: Rows) -> int:
    """How many runs are on record."""
    return int(lake.rows("SELECT count(*) AS n FROM core.runs")[0]["n"])


def last_run_at(lake: Rows) -> datetime | None:
    """When the newest run was recorded; None before the first."""
    newest: datetime | None = lake.rows("SELECT max(recorded_at) AS at FROM core.runs")[0]["at"]
    return newest


def has_run_of(lake: Rows, flow: str) -> bool:
    """Whether a run of a flow is on record."""
    return bool(lake.rows("SELECT 1 FROM core.runs WHERE flow = ? LIMIT 1", [flow]))


def steps_done(lake: Rows) -> list[Row]:
    """The steps of every run that did something, as core.runs has them: name, done, wall_seconds.

    Of each step that did at least one unit.
    """
    rows = lake.rows("SELECT steps_json FROM core.runs WHERE outcome <> 'unchanged'")
    return [step for row in rows for step in json.loads(row["steps_json"]) if step["done"]]
