"""Settling: what a run began and did not finish is finished or undone before anything else is."""

from __future__ import annotations

from catalog.records import intents, orphans, promotion
from catalog.stores.stores import Stores
from flows.runs.run_record import open_run


def settle(stores: Stores) -> int:
    """Finish the aliases and undo the rest of what was left behind; how many records it was.

    The caller holds the workspace, so that no run of it is at work. What was undone is made again
    by whoever finds it missing.
    """
    left = intents.left_behind(stores.lake)
    if left:
        promotion.repair_aliases(stores)
        orphans.remove_orphans(stores)
        with stores.lake.transaction(message="settle intents", run=open_run("settle")) as commit:
            intents.fulfil(commit, [intent.record_id for intent in left])
    return len(left)
