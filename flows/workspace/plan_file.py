"""The plan's file: read, and checked whole, with every fault told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from pydantic import ValidationError

from catalog.contracts.faults import declaration_faults
from catalog.contracts.load import read_yaml
from catalog.stores.registry.registry import RESERVED
from flows.workspace.cron import cron_fault
from flows.workspace.plan import (
    ARM_NAME,
    AUTO,
    BASELINE_MERGES,
    BUILT_IN_ARMS,
    SCORERS,
    BaseSpec,
    EvaluationSpec,
    GateSpec,
    Plan,
    ScheduleSpec,
)
from rpe_core.adapters.recipe import check_recipe
from rpe_core.adapters.table import PROMPTS
from rpe_core.errors import DeclarationError, Fault, known_names, shown_name
from rpe_core.evaluation.metrics import METRICS
from rpe_core.evaluation.paired import gated_metrics
from rpe_core.families.table import FAMILIES, FamilyEntry
from rpe_core.merging.prompts import METHODS as PROMPT_MERGES
from rpe_core.merging.table import MERGE_METHODS
from rpe_core.weighting.strategies import STRATEGIES, check_parameters


def load_plan(path: Path, *, sources: Sequence[str]) -> Plan:
    """Read a plan and check it whole.

    Raises:
        DeclarationError: with every fault, its path inside the file and the valid choices.
    """
    try:
        plan = Plan.model_validate(read_yaml(path, error=DeclarationError))
    except ValidationError as error:
        raise DeclarationError(path.name, declaration_faults(error, Plan)) from None
    faults = [
        *_reference_faults(plan, sources),
        *_recipe_faults(plan),
        *_target_faults(plan, sources),
        *_library_faults(plan, sources),
        *_gate_faults("gate", plan.gate),
        *_scorer_faults(plan),
        *_transfer_faults(plan.evaluation),
        *_schedule_faults(plan.schedule),
    ]
    if faults:
        raise DeclarationError(path.name, faults)
    return plan


def _reference_faults(plan: Plan, sources: Sequence[str]) -> list[Fault]:
    faults = []
    for name, base in plan.bases.items():
        faults += _unknown(f"bases.{name}.family", "family", base.family, FAMILIES)
        if base.family in FAMILIES:
            faults += _family_faults(f"bases.{name}", base, FAMILIES[base.family])
    for i, reference in enumerate(plan.references):
        where = f"references[{i}]"
        faults += _unknown(f"{where}.base", "base", reference.base, plan.bases)
        faults += _unknown(f"{where}.recipe", "recipe", reference.recipe, plan.recipes)
        for j, source in enumerate(reference.sources):
            faults += _unknown(f"{where}.sources[{j}]", "source", source, sources)
        if reference.base in plan.bases and not _takes(plan, reference.base, reference.recipe):
            able = [family for family, entry in FAMILIES.items() if PROMPTS in entry.forms]
            what = f"{shown_name(reference.recipe)} learns prompts, which its base has no place for"
            faults.append(Fault(f"{where}.recipe", what, f"a base of family {' or '.join(able)}"))
    return faults


def _takes(plan: Plan, base: str, recipe: str) -> bool:
    """Whether a base has a place for what a recipe trains; an unknown name is no fault here."""
    family = FAMILIES.get(plan.bases[base].family)
    return family is None or plan.form_of(recipe) in (None, *family.forms)


def _family_faults(where: str, base: BaseSpec, family: FamilyEntry) -> list[Fault]:
    """What a base says that its family does not have."""
    faults = _unknown(f"{where}.dtype", "dtype", base.dtype, family.dtypes)
    faults += _unknown(f"{where}.pooling", "pooling", base.pooled_by, family.poolings)
    if base.max_tokens is not None and not family.has_tokens:
        faults.append(Fault(f"{where}.max_tokens", "limits texts", "no such key for images"))
    return faults


def _recipe_faults(plan: Plan) -> list[Fault]:
    return [
        Fault(f"recipes.{name}.{fault.path}", fault.what, fault.expected)
        for name, mapping in plan.recipes.items()
        for fault in check_recipe(mapping)[1]
    ]


def _target_faults(plan: Plan, sources: Sequence[str]) -> list[Fault]:
    faults = []
    names = plan.target_names
    for i, target in enumerate(plan.targets):
        where = f"targets[{i}]"
        if target.name in names[:i]:
            faults.append(Fault(f"{where}.name", f"{shown_name(target.name)} is used twice"))
        if target.name.startswith(RESERVED):
            expected = f"a name that does not begin with {RESERVED}"
            faults.append(Fault(f"{where}.name", "is reserved for our own models", expected))
        faults += _unknown(f"{where}.source", "source", target.source, sources)
        faults += _unknown(f"{where}.base", "base", target.base, plan.bases)
        faults += _unknown(
            f"{where}.merge", "merge method", target.merge, [*MERGE_METHODS, *BASELINE_MERGES]
        )
        if target.gate:
            faults += _gate_faults(f"{where}.gate", target.gate)
        faults += _strategy_faults(f"{where}.strategies", target.strategies)
    return faults


def _gate_faults(where: str, gate: GateSpec) -> list[Fault]:
    """What is wrong with a gate; whether its metric fits its target, the contracts tell."""
    able = gated_metrics()
    if gate.metric in METRICS and gate.metric not in able:
        what = f"{gate.metric} is no mean over items, and no gate by it can hold its level"
        return [Fault(f"{where}.metric", what, ", ".join([*able, AUTO]))]
    if faults := _unknown(f"{where}.metric", "metric", gate.metric, [*able, AUTO]):
        return faults
    # what `auto` takes has bounds, whatever the task
    is_bounded = gate.metric == AUTO or METRICS[gate.metric].bounds is not None
    if gate.cap is None and not is_bounded:
        expected = "the score from which on all count alike, in its unit, such as 50 for hd95"
        return [Fault(f"{where}.cap", f"is missing: {gate.metric} has no upper bound", expected)]
    if gate.cap is not None and is_bounded:
        what = f"is for a metric without an upper bound, and {gate.metric} has one"
        return [Fault(f"{where}.cap", what, "no such key")]
    most = gate.cap or 1.0
    if gate.max_loss and gate.max_loss.size >= most:
        what = "is as much as a group can lose, or more"
        return [Fault(f"{where}.max_loss.size", what, f"more than 0 and less than {most:g}")]
    return []


def _library_faults(plan: Plan, sources: Sequence[str]) -> list[Fault]:
    faults = []
    for i, target in enumerate(plan.targets):
        where, library = f"targets[{i}].library", target.library
        for j, source in enumerate(library.sources or ()):
            faults += _unknown(f"{where}.sources[{j}]", "source", source, sources)
        if library.recipe is not None:
            faults += _unknown(f"{where}.recipe", "recipe", library.recipe, plan.recipes)
        faults += _prompt_faults(plan, i)
    return faults


def _prompt_faults(plan: Plan, i: int) -> list[Fault]:
    """What is wrong where a target's references learn prompts: their library has to be named."""
    target = plan.targets[i]
    named, trained = target.library.recipe, plan.recipes_on(target.base)
    if named is None and trained and all(plan.form_of(name) == PROMPTS for name in trained):
        what = "is not named, and a library of all recipes holds no learned prompts"
        return [Fault(f"targets[{i}].library.recipe", what, known_names("", trained))]
    if plan.form_of(named) == PROMPTS and target.merge not in PROMPT_MERGES:
        what = f"{shown_name(target.merge)} cannot merge learned prompts"
        return [Fault(f"targets[{i}].merge", what, " or ".join(PROMPT_MERGES))]
    return []


def _scorer_faults(plan: Plan) -> list[Fault]:
    """Faults of the models that score texts, and of gates that ask for one that is not there."""
    faults, gates = [], {"gate": plan.gate}
    gates |= {f"targets[{i}].gate": t.gate for i, t in enumerate(plan.targets) if t.gate}
    for metric, key, family, kind in SCORERS:
        spec = plan.evaluation.scorers.get(metric)
        able = [name for name, base in plan.bases.items() if base.family == family]
        if spec:
            faults += _unknown(f"evaluation.{key}.base", kind, spec.base, able)
            continue
        remedy = f"evaluation: {{{key}: {{base: ..., ...}}}}"
        asked = [path for path, gate in gates.items() if gate.metric == metric]
        faults += [Fault(f"{p}.metric", f"needs a {kind} to score by", remedy) for p in asked]
    return faults


def _transfer_faults(evaluation: EvaluationSpec) -> list[Fault]:
    if not evaluation.transfer:
        return []
    # a night chooses its challenger on validation rows
    expected = "`rpe experiment leave-one-out`, which sets it"
    return [Fault("evaluation.transfer", "is for experiments", expected)]


def _schedule_faults(schedule: ScheduleSpec) -> list[Fault]:
    faults = []
    # where Prefect looks, too; a tenth of a second that the default need not pay
    if schedule.timezone != "UTC" and schedule.timezone not in available_timezones():
        expected = "a name of the IANA database such as Europe/Zurich"
        faults.append(Fault("schedule.timezone", "is no time zone", expected))
    crons = {"schedule.cron": schedule.cron}
    if schedule.maintain:
        crons["schedule.maintain.cron"] = schedule.maintain.cron
    return faults + [
        Fault(p, *cron_error) for p, cron in crons.items() if (cron_error := cron_fault(cron))
    ]


def _strategy_faults(where: str, entries: Sequence[str | Mapping[str, Any]]) -> list[Fault]:
    faults: list[Fault] = []
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        path = f"{where}[{i}]"
        if isinstance(entry, str):
            faults += _unknown(path, "strategy", entry, [*STRATEGIES, AUTO])
            name = entry
        else:
            faults += _own_strategy_faults(path, entry)
            name = str(entry.get("name", ""))
        if name and name in seen:
            faults.append(Fault(path, f"arm {shown_name(name)} is used twice"))
        seen.add(name)
    if not any(entry != AUTO for entry in entries):
        faults.append(Fault(where, "names no strategy that weighs", known_names("", STRATEGIES)))
    return faults


def _own_strategy_faults(path: str, entry: Mapping[str, Any]) -> list[Fault]:
    """Faults of a strategy with a name and parameters of the plan's own."""
    name = entry.get("name")
    kinds = [key for key in entry if key != "name"]
    if not isinstance(name, str) or len(kinds) != 1 or not isinstance(entry[kinds[0]], Mapping):
        expected = "{name: my_name, similarity: {temperature: 2.0}}"
        return [Fault(path, "is not a strategy", expected)]
    faults = _unknown(path, "strategy", kinds[0], STRATEGIES)
    if not ARM_NAME.fullmatch(name):
        faults.append(Fault(f"{path}.name", "is no name of an arm", f"the form {ARM_NAME.pattern}"))
    if name in (*STRATEGIES, *BUILT_IN_ARMS):
        faults.append(Fault(f"{path}.name", f"{shown_name(name)} is a built-in arm"))
    if kinds[0] in STRATEGIES:
        checked = check_parameters(kinds[0], entry[kinds[0]])
        faults += [Fault(f"{path}.{kinds[0]}.{f.path}", f.what, f.expected) for f in checked]
    return faults


def _unknown(
    path: str, kind: str, name: str, known: Sequence[str] | Mapping[str, Any]
) -> list[Fault]:
    if name in known:
        return []
    return [Fault(path, f"{kind} {shown_name(name)} is not known", known_names(name, known))]
