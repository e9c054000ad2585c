"""Consumers: each target of the plan has a registered model that says what it is and who serves."""

from __future__ import annotations

from catalog.records import promotion
from catalog.records.model_card import target_about
from catalog.stores.registry.model_versions import RegisteredModel
from flows.workspace.workspace import Workspace

UNJUDGED = "Nothing has been judged yet: the target or its library has no data."


def tell_consumers(workspace: Workspace) -> None:
    """Describe the registered model of every target, writing only what differs.

    A description that a person wrote stays. A target without a version gets a model all the same,
    whose tag says why none serves.
    """
    stores, names = workspace.stores, workspace.plan.target_names
    there, why = stores.registry.models(), promotion.why_no_champion(stores, names)
    for target in workspace.plan.targets:
        if target.source not in workspace.contracts:
            continue  # its contract has faults, which the night has told
        task, base = workspace.contracts[target.source].task_spec, target.base
        about = target_about(target.name, task, base_name=base)
        known = there.get(target.name, RegisteredModel("", {}, {}))
        is_ours = not known.description or known.description.startswith(about.split("\n")[0])
        if is_ours and (known.description != about or target.name not in there):
            stores.registry.describe(target.name, about)
        promotion.tell_none(stores, target.name, known, why.get(target.name, UNJUDGED))
