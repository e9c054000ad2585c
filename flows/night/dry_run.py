"""Dry run: what each step would do now, and what would follow from that; nothing is touched."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from catalog.intake import extracts
from flows.library.references import methods_apart
from flows.runs.ledger import Alert
from flows.runs.run_record import open_run
from flows.steps.table import STEPS
from flows.upkeep.alerts import refused_files
from flows.workspace.lake_reads import require_lake
from flows.workspace.plan import Plan, TargetSpec
from flows.workspace.settings import Settings
from flows.workspace.stores import open_to_look
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import RpeError

SURELY, WOULD_FOLLOW = "surely", "would follow"
_Unit = tuple[str, list[str]]  # what it is called, and the steps and units that it would come of


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
        following = _Following(declared.plan, pending)
        rows = []
        for step in steps:
            sure = [str(unit) for unit in pending[step]]
            rows += [_row(step, unit, SURELY, []) for unit in sure]
            later = dict(reversed(list(following.of(step))))  # the first reason stands
            rows += [
                _row(step, unit, WOULD_FOLLOW, after)
                for unit, after in reversed(later.items())
                if unit not in sure
            ]
        refused = refused_files(workspace)
    return rows, dict(declared.faulty) if "ingest" in steps else {}, refused


def _row(step: str, unit: str, certainty: str, after: list[str]) -> dict[str, Any]:
    return {"step": step, "unit": unit, "certainty": certainty, "after": after}


class _Following:
    """What units of later steps would come of pending ones, by the plan alone."""

    def __init__(self, plan: Plan, pending: dict[str, Sequence[Any]]) -> None:
        self._plan, self._pending = plan, pending

    def of(self, step: str) -> Iterator[_Unit]:
        """The units of a step that would follow."""
        if step != "ingest":
            yield from getattr(self, f"_{step}")()

    @property
    def _landing(self) -> Collection[str]:
        return [str(source) for source in self._pending.get("ingest", ())]

    def _embed(self) -> Iterator[_Unit]:
        roles = [(s, "reference") for r in self._plan.references for s in r.sources]
        roles += [(target.source, "target") for target in self._plan.targets]
        for source, role in roles:
            if source in self._landing:
                yield f"{source} as {role}", [f"ingest {source}"]

    def _train(self) -> Iterator[_Unit]:
        for reference in self._plan.references:
            for source in reference.sources:
                if source in self._landing:
                    yield source, [f"ingest {source}"]

    def _ensemble(self) -> Iterator[_Unit]:
        for target in self._plan.targets:
            causes = [*self._moved(target), *self._new_adapters(target)]
            if causes:
                for variant in target.variants:
                    for strategy in variant.specs:
                        yield f"{target.name} by {strategy.name}", causes

    def _evaluate(self) -> Iterator[_Unit]:
        if "ensemble" not in self._pending:
            return
        merged = [unit.retrieval.target.name for unit in self._pending["ensemble"]]
        merged += [unit.rpartition(" by ")[0] for unit, _ in self._ensemble()]
        for name in dict.fromkeys(merged):
            yield name, [f"ensemble {name}"]

    def _promote(self) -> Iterator[_Unit]:
        if "evaluate" not in self._pending:
            return
        scored = [str(unit) for unit in self._pending["evaluate"]]
        scored += [name for name, _ in self._evaluate()]
        for name in dict.fromkeys(scored):
            yield name, [f"evaluate {name}"]

    def _moved(self, target: TargetSpec) -> Iterator[str]:
        """Why the target's own place would be another one."""
        now = [unit.source for unit in self._pending.get("embed", ()) if unit.role == "target"]
        if target.source in now:
            yield f"embed {target.source}"
        elif target.source in self._landing and "embed" in self._pending:
            yield f"ingest {target.source}"

    def _new_adapters(self, target: TargetSpec) -> Iterator[str]:
        """Adapters that the target would see for the first time."""
        if "train" not in self._pending:
            return
        now = {unit.source for unit in self._pending["train"]}
        wanted, allowed = target.library.recipe, target.library.sources
        for reference in self._plan.references:
            method = str(self._plan.recipes[reference.recipe].get("method"))
            is_apart = method in methods_apart(wanted) or wanted not in (None, reference.recipe)
            if reference.base != target.base or is_apart:
                continue
            for source in reference.sources:
                is_new = source in now or source in self._landing
                if is_new and (allowed is None or source in allowed):
                    yield f"train {source}"
