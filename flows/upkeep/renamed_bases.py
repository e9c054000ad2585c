"""Renamed bases: targets that see no adapter, because the plan calls their base by another name."""

from __future__ import annotations

from dataclasses import replace

from catalog.queries import adapters, current
from flows.library.references import filter_of
from flows.runs.ledger import Alert
from flows.steps.ensemble import ensemble_units_of
from flows.workspace.plan import TargetSpec
from flows.workspace.representations import embed_unit_of
from flows.workspace.workspace import Workspace

RENAMED = "renamed_base"  # kind of the alert


def cut_off_targets(workspace: Workspace) -> list[Alert]:
    """An alert for each target whose library is empty here, and is not under a former name."""
    alerts = []
    for target in workspace.plan.targets:
        if _lacks_ensembles(workspace, target) and (names := _former_names(workspace, target)):
            alerts.append(_renamed(workspace, target, names))
    return alerts


def _lacks_ensembles(workspace: Workspace, target: TargetSpec) -> bool:
    """Whether nothing is to be merged for a target that could be retrieved for."""
    asked = embed_unit_of(workspace, target.source, target.base, "target")
    if asked is None or asked.representation_id not in workspace.standing.representation_ids:
        return False
    return not ensemble_units_of(workspace, target)


def _former_names(workspace: Workspace, target: TargetSpec) -> list[str]:
    """Other names of the same base under which adapters lie that the target could see."""
    lake, base = workspace.stores.lake, workspace.bases[target.base]
    names = []
    for row in adapters.same_bases(lake, base.sha256, but=base.base_id):
        wanted = replace(filter_of(workspace, target), base_id=row["base_id"])
        sources = set(current.visible_ids(lake, wanted)["source"].to_pylist())
        if sources if target.include_own else sources - {target.source}:
            names.append(row["base_name"])
    return names


def _renamed(workspace: Workspace, target: TargetSpec, names: list[str]) -> Alert:
    former = " or ".join(names)
    return Alert(
        RENAMED,
        target.name,
        f"{target.name}: no ensemble is made, for the library of base {target.base} holds no"
        f" adapter for it: those of the same model are filed under its former name, {former}",
        f"call the base {former} again in plan.yaml: in `bases`, and where references and targets"
        f" name {target.base}; to keep the new name, change its `max_tokens` or the recipe, so"
        " that the adapters are trained anew under it",
        source=target.source,
        cause=workspace.bases[target.base].base_id,
    )
