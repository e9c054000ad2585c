"""Dry run: what each step would do now, as far as the steps before it allow to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.nightly import STEPS
from flows.run_record import open_run
from flows.settings import Settings
from flows.wiring import open_stores
from flows.workspace import Workspace, load_declarations


def planned_units(settings: Settings, steps: Sequence[str]) -> list[dict[str, Any]]:
    """One row per unit that is pending now; a step downstream of a pending one may find more."""
    declared = load_declarations(settings)
    stores = open_stores(settings)
    try:
        workspace = Workspace(
            settings, declared.plan, declared.contracts, stores, open_run("dry_run")
        )
        rows: list[dict[str, Any]] = []
        for step in steps:
            units = STEPS[step].pending(workspace)
            rows += [{"step": step, "unit": str(unit)} for unit in units]
        return rows
    finally:
        stores.lake.close()
