"""The comparison of adapter methods: what is asked, checked whole, and the plan that answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from flows.experiments.leave_one_out_protocol import (
    base_and_recipe,
    source_faults,
    target_name,
    task_faults,
    transfer_plan,
    unknown_names,
)
from flows.workspace.bases import base_folder, load_base
from flows.workspace.plan import LibrarySpec, Plan, ReferenceSpec, TargetSpec
from flows.workspace.settings import Settings
from flows.workspace.workspace import Declarations
from rpe_core.adapters.recipe import Recipe, check_recipe
from rpe_core.adapters.table import ADAPTER_METHODS, UNMERGEABLE
from rpe_core.errors import DeclarationError, Fault

MIN_SEEDS = 3
MERGED = ("average", "linear_l1")  # equal weights: how well deltas add up; and the paper's


@dataclass(frozen=True)
class MethodProtocol:
    """Every method trained on every source from every seed, at one budget of parameters.

    `recipes` holds the declared recipe of each method but for its seed; all are compared with
    `yardstick`, the method of the plan's recipe.
    """

    kind: ClassVar[str] = "adapter_methods"
    sources: tuple[str, ...]  # sorted
    base: str
    yardstick: str
    n_parameters: int
    recipes: Mapping[str, Mapping[str, Any]]
    strategies: tuple[str, ...] = MERGED
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def declared(self) -> dict[str, Any]:
        """What is asked, as plain values."""
        return asdict(self)

    def recipe_name(self, method: str, seed: int) -> str:
        """What the recipe of a method and seed is called."""
        return f"{method}-{seed}"

    def target_name(self, method: str, seed: int, source: str) -> str:
        """Under which name a source is the target of a method's adapters of a seed."""
        return target_name(method, str(seed), source)


def method_protocol_of(
    settings: Settings,
    declared: Declarations,
    *,
    sources: Sequence[str],
    base: str = "",
    recipe: str = "",
    methods: Sequence[str] = (),
    n_parameters: int | None = None,
    n_seeds: int = MIN_SEEDS,
) -> MethodProtocol:
    """What is asked for, complete: no budget is the recipe's own.

    No methods are all that merge and file what the recipe's own does: LoRA, or learned prompts. A
    method takes its recipe from the plan where just one there is of it, else the fields of the
    experiment's recipe with its own defaults; its rank is the one nearest to the budget.

    Raises:
        DeclarationError: with every fault.
        InputError: a method does not fit the base.
    """
    wanted = sorted(set(sources))
    faults = source_faults(declared, wanted)
    mergeable = [name for name in ADAPTER_METHODS if name not in UNMERGEABLE]
    faults += unknown_names("--methods", "mergeable adapter method", methods, mergeable)
    if n_seeds < MIN_SEEDS:
        faults.append(Fault("--seeds", f"asks for {n_seeds} seeds", f"at least {MIN_SEEDS}"))
    (base, recipe), more = base_and_recipe(declared.plan, wanted, base, recipe)
    if not faults:
        faults = more or task_faults(declared, wanted, base)
    if faults:
        raise DeclarationError("the experiment", faults)
    own = declared.plan.recipe(recipe)
    form = ADAPTER_METHODS[own.method].form
    of_one_form = [name for name in mergeable if ADAPTER_METHODS[name].form == form]
    chosen = sorted({own.method, *(methods or of_one_form)})
    recipes = {method: _declared_recipe(declared.plan, recipe, method) for method in chosen}
    budget, ranks = _ranks(settings, declared.plan, base, own, recipes, n_parameters)
    return MethodProtocol(
        tuple(wanted),
        base,
        own.method,
        budget,
        {method: _at_rank(recipes[method], ranks[method]) for method in chosen},
        seeds=tuple(range(n_seeds)),
    )


def method_plan_of(plan: Plan, protocol: MethodProtocol) -> Plan:
    """The plan that a night would need to do the same; nothing in it differs between methods."""
    sources, base = protocol.sources, protocol.base
    names = {
        (method, seed): protocol.recipe_name(method, seed)
        for method in protocol.recipes
        for seed in protocol.seeds
    }
    references = [ReferenceSpec(sources=sources, base=base, recipe=n) for n in names.values()]
    targets = [
        TargetSpec(
            name=protocol.target_name(method, seed, source),
            source=source,
            base=base,
            k=len(sources) - 1,
            strategies=protocol.strategies,
            library=LibrarySpec(sources=sources, recipe=name),
        )
        for (method, seed), name in names.items()
        for source in sources
    ]
    return transfer_plan(
        plan,
        base,
        recipes={n: {**protocol.recipes[m], "seed": seed} for (m, seed), n in names.items()},
        references=tuple(references),
        targets=tuple(targets),
    )


def _declared_recipe(plan: Plan, recipe: str, method: str) -> dict[str, Any]:
    """The recipe of a method as the plan declares it, else as it follows from another's."""
    template = plan.recipes[recipe]
    if template["method"] == method:
        return template
    own = [declared for declared in plan.recipes.values() if declared.get("method") == method]
    if len(own) == 1:
        return own[0]
    left_out = {"options", *ADAPTER_METHODS[method].without}
    return {k: v for k, v in template.items() if k not in left_out} | {"method": method}


def _ranks(
    settings: Settings,
    plan: Plan,
    base: str,
    own: Recipe,
    recipes: Mapping[str, Mapping[str, Any]],
    n_parameters: int | None,
) -> tuple[int, dict[str, int]]:
    """The budget and the rank of each method under it, on the base itself."""
    # torch, which a plan that is refused need not load
    from rpe_core.adapters.budget import fit_rank
    from rpe_core.adapters.injection import count_parameters

    spec = plan.bases[base]
    folder = str(base_folder(spec))
    model = load_base(folder, spec.family, spec.length_limit, spec.dtype, settings.device).model
    budget = n_parameters or count_parameters(model, own)

    def rank(declared: Mapping[str, Any]) -> int:
        return fit_rank(model, lambda r: _checked(_at_rank(declared, r)), budget)

    ranks = {method: rank(declared) for method, declared in recipes.items()}
    for method, r in ranks.items():
        count_parameters(model, _checked(_at_rank(recipes[method], r)))  # or it is refused here
    return budget, ranks


def _at_rank(declared: Mapping[str, Any], r: int) -> dict[str, Any]:
    """The recipe at another rank, its scale kept."""
    scale = declared["alpha"] / declared["r"]
    has_scale = ADAPTER_METHODS[declared["method"]].has_scale
    return {**declared, "r": r, "alpha": scale * r if has_scale else r}


def _checked(declared: Mapping[str, Any]) -> Recipe:
    recipe, faults = check_recipe(declared)
    if recipe is None:
        raise DeclarationError(f"the recipe of {declared['method']}", faults)
    return recipe
