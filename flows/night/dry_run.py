"""Dry run: what each step would do now, and what would follow from that; nothing is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from catalog.intake import extracts
from flows.runs.ledger import Alert
from flows.runs.run_record import open_run
from flows.runs.step import Outlook
from flows.steps.table import STEPS
from flows.upkeep.alerts import refused_files
from flows.workspace.lake_reads import require_lake
from flows.workspace.settings import Settings
from flows.workspace.stores import open_to_look
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import RpeError

SURELY, WOULD_FOLLOW = "surely", "would follow"


def planned_units(
    settings: Settings, steps: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, RpeError], list[Alert]]:
    """A row per unit, faults of contracts by source, and the refused files that lie there.

    `surely` is what is pending now. `would follow` is what comes of it as far as the plan tells:
    of files that turn out to hold nothing new, nothing does.

    Raises:
        InputError: there is no workspace, or the plan has faults.
    """
    declared = load_declarations(settings)
    require_lake(settings)
    with ExitStack() as gone_afterwards:
        stores = gone_afterwards.enter_context(open_to_look(settings))
        contracts = {
            source: gone_afterwards.enter_context(extracts.apart(contract))
            for source, contract in declared.contracts.items()
        }
        workspace = Workspace(settings, declared.plan, contracts, stores, open_run("dry_run"))
        pending = {step: STEPS[step].pending(workspace) for step in steps}
        outlook = Outlook(declared.plan, pending)
        rows = [row for step in steps for row in _rows(step, outlook)]
        refused = refused_files(workspace)
    faulty = {name: error for s in steps for name, error in STEPS[s].faulty(declared).items()}
    return rows, faulty, refused


def _rows(step: str, outlook: Outlook) -> Iterator[dict[str, Any]]:
    sure = [str(unit) for unit in outlook.pending[step]]
    for unit in sure:
        yield _row(step, unit, SURELY, [])
    following = list(STEPS[step].followers(outlook))
    causes = {later.unit: later.causes for later in reversed(following)}  # the first reason stands
    for unit in reversed(causes):
        if unit not in sure:
            yield _row(step, unit, WOULD_FOLLOW, causes[unit])


def _row(step: str, unit: str, certainty: str, after: list[str]) -> dict[str, Any]:
    return {"step": step, "unit": unit, "certainty": certainty, "after": after}
