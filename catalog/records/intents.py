"""Intents: records on their way into several stores, written down before the first is touched.

The table holds what is open and nothing else: the commit that makes a record true takes its intent
away. One that a run left behind tells what it did not finish.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from catalog.stores.lake.lake import Lake, Transaction
from rpe_core.records import RunRef

TAKES = timedelta(days=1)  # at most, from an intent to its record; an older one was given up
_ALIASES = "aliases:"  # of a target: what its verdicts say is still to be done at the registry


@dataclass(frozen=True)
class Intent:
    """A record on its way: its id, the run and the workspace that write it, and since when."""

    record_id: str
    run_id: str
    workspace: str
    recorded_at: datetime


def aliases_of(target: str) -> str:
    """The record id under which the aliases of a target are moved.

    >>> aliases_of("site-d")
    'aliases:site-d'
    """
    return _ALIASES + target


def intend(lake: Lake, record_ids: Collection[str], *, run: RunRef) -> None:
    """Say in one commit which records are about to be written to more stores than the lake."""
    if record_ids:
        with lake.transaction(message="intend", run=run) as commit:
            add(commit, record_ids, workspace=lake.workspace)


def add(commit: Transaction, record_ids: Collection[str], *, workspace: str) -> None:
    """Say in a commit, which makes something else true too, what is about to be written."""
    rows = [
        {"record_id": record_id, "run_id": commit.run_id, "workspace": workspace}
        for record_id in record_ids
    ]
    commit.insert_new("intents", rows)


def fulfil(commit: Transaction, record_ids: Collection[str]) -> None:
    """Take away the intents of records that this commit makes true, whoever had them."""
    commit.execute(
        "DELETE FROM core.intents WHERE list_contains(?, record_id)", [sorted(record_ids)]
    )


def open_intents(lake: Lake) -> list[Intent]:
    """What is being written, or was left behind, the oldest first."""
    rows = lake.rows(
        "SELECT record_id, run_id, workspace, recorded_at FROM core.intents"
        " ORDER BY recorded_at, record_id"
    )
    return [Intent(**row) for row in rows]


def left_behind(lake: Lake) -> list[Intent]:
    """What runs of this workspace did not finish, and what any gave up; the caller holds it."""
    return [
        intent
        for intent in open_intents(lake)
        if intent.workspace == lake.workspace or _is_old(lake, intent)
    ]


def records_in_flight(lake: Lake) -> frozenset[str]:
    """Records that another workspace may be writing at this moment."""
    return frozenset(
        intent.record_id
        for intent in open_intents(lake)
        if intent.workspace != lake.workspace and not _is_old(lake, intent)
    )


def _is_old(lake: Lake, intent: Intent) -> bool:
    return lake.now - intent.recorded_at > TAKES
