"""Followers: what units of each step would come of pending ones, as far as the plan tells."""

from __future__ import annotations

from collections.abc import Iterator

from flows.library.references import methods_apart
from flows.runs.step import FollowingUnit, Outlook
from flows.workspace.plan import TargetSpec


def of_embed(outlook: Outlook) -> Iterator[FollowingUnit]:
    """Representations of sources that are about to land."""
    plan, landing = outlook.plan, _landing(outlook)
    roles = [(source, "reference") for r in plan.references for source in r.sources]
    roles += [(target.source, "target") for target in plan.targets]
    for source, role in roles:
        if source in landing:
            yield FollowingUnit(f"{source} as {role}", [f"ingest {source}"])


def of_train(outlook: Outlook) -> Iterator[FollowingUnit]:
    """Adapters of references that are about to land."""
    landing = _landing(outlook)
    for reference in outlook.plan.references:
        for source in reference.sources:
            if source in landing:
                yield FollowingUnit(source, [f"ingest {source}"])


def of_ensemble(outlook: Outlook) -> Iterator[FollowingUnit]:
    """Ensembles of targets whose place or library is about to be another one."""
    for target in outlook.plan.targets:
        causes = [*_moves(outlook, target), *_new_adapters(outlook, target)]
        if causes:
            for variant in target.variants:
                for strategy in variant.specs:
                    yield FollowingUnit(f"{target.name} by {strategy.name}", causes)


def of_evaluate(outlook: Outlook) -> Iterator[FollowingUnit]:
    """Targets that are about to get another ensemble."""
    if "ensemble" not in outlook.pending:
        return
    merged = [unit.target.name for unit in outlook.pending["ensemble"]]
    merged += [following.unit.rpartition(" by ")[0] for following in of_ensemble(outlook)]
    for name in dict.fromkeys(merged):
        yield FollowingUnit(name, [f"ensemble {name}"])


def of_promote(outlook: Outlook) -> Iterator[FollowingUnit]:
    """Targets that are about to be scored again."""
    if "evaluate" not in outlook.pending:
        return
    scored = [str(unit) for unit in outlook.pending["evaluate"]]
    scored += [following.unit for following in of_evaluate(outlook)]
    for name in dict.fromkeys(scored):
        yield FollowingUnit(name, [f"evaluate {name}"])


def _landing(outlook: Outlook) -> list[str]:
    return [str(source) for source in outlook.pending.get("ingest", ())]


def _moves(outlook: Outlook, target: TargetSpec) -> Iterator[str]:
    """Why the target's own place would be another one."""
    embedded = outlook.pending.get("embed", ())
    if target.source in [unit.source for unit in embedded if unit.role == "target"]:
        yield f"embed {target.source}"
    elif target.source in _landing(outlook) and "embed" in outlook.pending:
        yield f"ingest {target.source}"


def _new_adapters(outlook: Outlook, target: TargetSpec) -> Iterator[str]:
    """Adapters that the target would see for the first time."""
    plan = outlook.plan
    if "train" not in outlook.pending:
        return
    coming = {unit.source for unit in outlook.pending["train"]} | set(_landing(outlook))
    wanted, allowed = target.library.recipe, target.library.sources
    for reference in plan.references:
        method = str(plan.recipes[reference.recipe].get("method"))
        is_apart = method in methods_apart(wanted) or wanted not in (None, reference.recipe)
        if reference.base != target.base or is_apart:
            continue
        for source in reference.sources:
            if source in coming and (allowed is None or source in allowed):
                yield f"train {source}"
