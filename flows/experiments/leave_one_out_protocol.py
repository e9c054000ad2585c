"""The leave-one-out protocol: what is asked, checked whole, and the plan that answers it.

What every experiment asks of its sources, base and recipe is checked here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from catalog.contracts.contract import SourceContract, SplitGlobs, SplitShares
from flows.steps.scoring import BASE_ARM, OWN_ARM, OWN_ENSEMBLE_ARM
from flows.workspace.plan import LibrarySpec, Plan, ReferenceSpec, TargetSpec
from flows.workspace.workspace import Declarations
from rpe_core.adapters.table import UNMERGEABLE
from rpe_core.distance import DATASET_DISTANCES
from rpe_core.errors import DeclarationError, Fault, known_names, shown_name
from rpe_core.families.table import FAMILIES
from rpe_core.fingerprint import fingerprint
from rpe_core.weighting.strategies import STRATEGIES

KIND = "leave_one_out"
YARDSTICKS = (BASE_ARM, OWN_ARM, "average")  # every verdict is against one of them
ARMS = (*YARDSTICKS, "nearest", "similarity", "linear", "linear_l1", OWN_ENSEMBLE_ARM)
MIN_SOURCES = 3  # fewer leave a target one reference, and nothing to weigh


@dataclass(frozen=True)
class Protocol:
    """Every source in turn a target that the others serve, under one base and one recipe."""

    kind: ClassVar[str] = KIND

    sources: tuple[str, ...]  # sorted
    base: str
    recipe: str
    arms: tuple[str, ...]  # the yardsticks first, the others sorted
    distances: tuple[str, ...]  # sorted

    @property
    def declared(self) -> dict[str, Any]:
        """What is asked, as plain values."""
        return asdict(self)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The arms that weigh."""
        return tuple(arm for arm in self.arms if arm in STRATEGIES)

    def target_name(self, source: str) -> str:
        """Under which name a source is a target."""
        return target_name(source)


def protocol_of(
    declared: Declarations,
    *,
    sources: Sequence[str],
    base: str = "",
    recipe: str = "",
    arms: Sequence[str] = (),
    distances: Sequence[str] = (),
) -> Protocol:
    """What is asked for, complete: no arms or distances mean all; base and recipe may be told.

    Raises:
        DeclarationError: with every fault.
    """
    wanted = sorted(set(sources))
    faults = source_faults(declared, wanted)
    known = sorted({*YARDSTICKS, *STRATEGIES, OWN_ENSEMBLE_ARM})
    faults += unknown_names("--arms", "arm", arms, known)
    faults += unknown_names("--distance", "distance", distances, DATASET_DISTANCES)
    pair, more = base_and_recipe(declared.plan, wanted, base, recipe)
    if not faults:
        faults = more or task_faults(declared, wanted, pair[0])
    if faults:
        raise DeclarationError("the experiment", faults)
    others = sorted(set(arms or ARMS) - set(YARDSTICKS))
    kinds = tuple(sorted(set(distances or DATASET_DISTANCES)))
    return Protocol(tuple(wanted), *pair, (*YARDSTICKS, *others), kinds)


def plan_of(plan: Plan, protocol: Protocol) -> Plan:
    """The plan that a night would need to do the same; nothing in it differs between targets."""
    library = LibrarySpec(sources=protocol.sources, recipe=protocol.recipe)
    targets = tuple(
        TargetSpec(
            name=protocol.target_name(source),
            source=source,
            base=protocol.base,
            k=len(protocol.sources) - 1,
            strategies=protocol.strategies,
            own_ensemble=OWN_ENSEMBLE_ARM in protocol.arms,
            library=library,
        )
        for source in protocol.sources
    )
    references = ReferenceSpec(sources=protocol.sources, base=protocol.base, recipe=protocol.recipe)
    return transfer_plan(plan, protocol.base, references=(references,), targets=targets)


def transfer_plan(plan: Plan, base: str, **parts: Any) -> Plan:
    """The plan with these parts instead, under one base, scored as an experiment is."""
    needed = {base, *(spec.base for spec in plan.evaluation.scorers.values())}
    return plan.model_copy(
        update={
            "bases": {name: spec for name, spec in plan.bases.items() if name in needed},
            "evaluation": plan.evaluation.model_copy(update={"transfer": True}),
            **parts,
        }
    )


def target_name(*parts: str) -> str:
    """The name of a target of an experiment: `loo-` and the parts, at most 63 characters."""
    name = "-".join(["loo", *parts])
    return name if len(name) <= 63 else f"{name[:50]}-{fingerprint('-'.join(parts))[:12]}"


def source_faults(declared: Declarations, sources: Sequence[str]) -> list[Fault]:
    """What is wrong with the sources of an experiment, each of which is to be scored."""
    known = {**declared.contracts, **declared.faulty}
    faults = unknown_names("--sources", "source", sources, known)
    for source in sources:
        where = f"--sources {source}"
        if source in declared.faulty:
            faults.append(Fault(where, "has faults in its contract", f"rpe source check {source}"))
        elif source in known and not _may_have_test_rows(declared.contracts[source]):
            faults.append(Fault(where, "has no test split to be scored on", "splits with test"))
    if len(sources) < MIN_SOURCES:
        what = f"names {len(sources)} different sources"
        faults.append(Fault("--sources", what, f"at least {MIN_SOURCES}"))
    types = {declared.contracts[s].task.type for s in sources if s in declared.contracts}
    if len(types) > 1:
        what = f"asks for tasks of several types: {', '.join(sorted(types))}"
        faults.append(Fault("--sources", what, "sources of one type of task"))
    return faults


def _may_have_test_rows(contract: SourceContract) -> bool:
    splits = contract.splits
    if isinstance(splits, SplitShares):
        return splits.test > 0
    return splits.test is not None if isinstance(splits, SplitGlobs) else True


def base_and_recipe(
    plan: Plan, sources: Sequence[str], base: str, recipe: str
) -> tuple[tuple[str, str], list[Fault]]:
    """Those that are told; else the one pair under which the plan trains all of the sources."""
    faults = unknown_names("--base", "base", [base] if base else [], plan.bases)
    faults += unknown_names("--recipe", "recipe", [recipe] if recipe else [], plan.recipes)
    faults += _merge_faults(plan, recipe) if recipe in plan.recipes else []
    if faults or (base and recipe):
        return (base, recipe), faults
    pairs: dict[tuple[str, str], set[str]] = {}
    for entry in plan.references:
        if base in ("", entry.base) and recipe in ("", entry.recipe):
            pairs.setdefault((entry.base, entry.recipe), set()).update(entry.sources)
    covering = [pair for pair, trained in pairs.items() if trained >= set(sources)]
    covering = [pair for pair in covering if not _merge_faults(plan, pair[1])]
    if len(covering) == 1:
        return covering[0], []
    if covering:
        options = "; ".join(f"--base {b} --recipe {r}" for b, r in covering)
        return ("", ""), [Fault("--base", "several of the plan's references cover them", options)]
    options = "references of the plan with all of them, or --base and --recipe"
    return ("", ""), [Fault("--sources", "no base and recipe of the plan covers them", options)]


def _merge_faults(plan: Plan, recipe: str) -> list[Fault]:
    """What is wrong where no ensemble takes the recipe's adapters in."""
    method = str(plan.recipes[recipe].get("method"))
    if method not in UNMERGEABLE:
        return []
    what = f"{shown_name(recipe)} is of {method}, whose adapters no ensemble takes in"
    return [Fault("--recipe", what, "a recipe of a method that can be merged")]


def task_faults(declared: Declarations, sources: Sequence[str], base: str) -> list[Fault]:
    """What is wrong where the base is of a family for other tasks."""
    answers = FAMILIES[declared.plan.bases[base].family].task_type
    types = {declared.contracts[s].task.type for s in sources if s in declared.contracts}
    if types - {answers}:
        what = f"{shown_name(base)} answers {answers}, not {', '.join(sorted(types))}"
        return [Fault("--base", what, "a base of a family of this type of task")]
    return []


def unknown_names(path: str, kind: str, names: Sequence[str], known: Any) -> list[Fault]:
    """A fault for each name that is not known."""
    return [
        Fault(path, f"{kind} {shown_name(name)} is not known", known_names(name, known))
        for name in names
        if name not in known
    ]
