"""The strict plan: bases, recipes, references, targets, gate and schedule of the night."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from catalog.contracts.contract import Name
from catalog.contracts.files import is_unsaid
from catalog.contracts.strict import Strict
from rpe_core.adapters.recipe import Recipe, check_recipe
from rpe_core.adapters.table import ADAPTER_METHODS
from rpe_core.errors import DeclarationError, Fault, known_names, shown_name
from rpe_core.evaluation.gates import GatePolicy
from rpe_core.evaluation.losses import MaxLoss
from rpe_core.families.table import FAMILIES
from rpe_core.fingerprint import fingerprint
from rpe_core.records import StrategySpec
from rpe_core.weighting.strategies import LOO
from rpe_core.weighting.tuning import GRIDS

AUTO = "auto"
AUTO_DOC = (
    "chooses among the others without a label: mutual information of input and prediction, from"
    " `similarity`, by a margin that leave-one-out calibrates"
)
BASELINE_MERGES: Mapping[str, str] = dict.fromkeys(
    ("ties", "dare_linear"), "through PEFT, as a baseline"
)
REGMEAN = "regmean"  # the merge that asks what references were fed
SCORERS = (  # metric, key of the plan, family and kind of the model that scores
    ("bert_f1", "bert_score", "text-encoder", "text encoder"),
    ("judge", "judge", "causal-lm", "language model"),
)
# what a strategy of the plan may not be called
BUILT_IN_ARMS = (AUTO, "base", "champion", "sft", "sft_ensemble")
ARM_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
TargetName = Annotated[str, StringConstraints(pattern=rf"^{ARM_NAME.pattern}$")]


class BaseSpec(Strict):
    """A frozen base model: its family, where it comes from, and how its inputs are taken.

    `max_tokens` is the length limit of texts, 128 by default; `pooling` one of the family's.
    """

    family: str
    model: str = Field(min_length=1)
    revision: str = "main"
    dtype: str = "float32"
    max_tokens: int | None = Field(default=None, ge=8, le=131_072)
    pooling: str | None = None

    @property
    def length_limit(self) -> int:
        """Tokens of an input at most; 0 where the family has none."""
        return (self.max_tokens or 128) if FAMILIES[self.family].has_tokens else 0

    @property
    def pooled_by(self) -> str:
        """How features become one vector."""
        return self.pooling or FAMILIES[self.family].poolings[0]


class ReferenceSpec(Strict):
    """Sources that feed the library, under which base and recipe."""

    sources: tuple[Name, ...] = Field(min_length=1)
    base: str
    recipe: str


class MaxLossSpec(Strict):
    """The rare-loss rule: at most this share of the groups may lose more than `size`."""

    share: float = Field(gt=0.0, lt=1.0)
    size: float = Field(gt=0.0)


class GateSpec(Strict):
    """What a challenger must show before it serves; a key that is not used is in no id.

    `cap` is the score from which on all count alike, for a metric without bounds, in its unit.
    """

    metric: str = AUTO
    baseline: Literal["base"] = "base"
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    min_items: int = Field(default=50, ge=2)
    approval: Literal["automatic", "required"] = "automatic"
    cap: float | None = Field(default=None, gt=0.0, exclude_if=is_unsaid)
    max_loss: MaxLossSpec | None = Field(default=None, exclude_if=is_unsaid)

    def policy(self, metric: str) -> GatePolicy:
        """The policy by this metric, `auto` being resolved.

        Raises:
            InputError: the metric cannot be gated so.
        """
        rule = MaxLoss(self.max_loss.share, self.max_loss.size) if self.max_loss else None
        return GatePolicy(
            metric, self.baseline, self.confidence, self.min_items, self.approval, self.cap, rule
        )


class LibrarySpec(Strict):
    """Which adapters of its base a target may see: None lets all sources, all recipes pass."""

    sources: tuple[Name, ...] | None = None
    recipe: str | None = None


class TargetSpec(Strict):
    """A dataset to serve: from k references, by these strategies, merged this way."""

    name: TargetName
    source: Name
    base: str
    k: Annotated[int, Field(ge=1, le=4096)] | Literal["loo"] = 4
    strategies: tuple[str | dict[str, Any], ...] = ("average", "nearest", "similarity", "linear")
    merge: str = "concat"
    rank: int | None = Field(default=None, ge=1)
    include_own: bool = False
    own_ensemble: bool = False  # the arm sft_ensemble too, which is never promoted
    licenses: tuple[str, ...] | None = None
    library: LibrarySpec = Field(default_factory=LibrarySpec)
    gate: GateSpec | None = None

    @property
    def specs(self) -> tuple[StrategySpec, ...]:
        """The strategies that weigh, `auto` left out, in the order of the plan."""
        return tuple(_spec(entry) for entry in self.strategies if entry != AUTO)

    @property
    def k_most(self) -> int:
        """How many references are retrieved: k, or the most that leave-one-out may choose."""
        return int(max(GRIDS["k"])) if self.k == LOO else int(self.k)

    @property
    def variants(self) -> tuple[TargetSpec, ...]:
        """The target as it is, then, where it is asked for, what makes its arm sft_ensemble.

        That is the published SFT + ensemble: linear_l1 over a library that has its own adapter.
        """
        if not self.own_ensemble:
            return (self,)
        k = self.k if self.k == LOO else int(self.k) + 1
        strategies = ({"name": "sft_ensemble", "linear_l1": {}},)
        own = {"k": k, "strategies": strategies, "include_own": True, "own_ensemble": False}
        return self, self.model_copy(update=own)

    @property
    def has_auto(self) -> bool:
        """Whether `auto` may choose among the strategies for a labelled target too."""
        return AUTO in self.strategies


class BertScoreSpec(Strict):
    """The encoder that BERTScore matches tokens under, a layer of it, and what chance scores."""

    base: str
    layer: int = Field(ge=0)
    baseline: float = Field(default=0.0, ge=0.0, lt=1.0)


class JudgeSpec(Strict):
    """The language model that grades texts, and how it is asked: the prompt ends before a grade."""

    base: str
    prompt: str = (
        "An expert wrote:\n{target}\n\nSomebody else wrote:\n{text}\n\n"
        "How much of it does the second text say, and say rightly, "
        "from 1 (nothing) to 5 (everything)?\nGrade: "
    )


class EvaluationSpec(Strict):
    """How many rows are looked at, in the order of their hash, so always the same ones.

    `transfer` is how an experiment looks: at test rows alone, and at each reference by itself.
    """

    max_items: int | None = Field(default=None, ge=10)
    criterion_items: int = Field(default=256, ge=10)
    calibration_items: int = Field(default=100, ge=10)
    bert_score: BertScoreSpec | None = None
    judge: JudgeSpec | None = None
    transfer: bool = False

    @property
    def limits(self) -> dict[str, Any]:
        """Which rows are looked at, as plain values."""
        unsaid = {key for _, key, *_ in SCORERS} | (set() if self.transfer else {"transfer"})
        return self.model_dump(exclude=unsaid)

    @property
    def scorers(self) -> dict[str, BertScoreSpec | JudgeSpec]:
        """Metric -> the model that scores texts by it, where the plan names one."""
        scorer_specs = {metric: getattr(self, key) for metric, key, *_ in SCORERS}
        return {metric: spec for metric, spec in scorer_specs.items() if spec}


class PublishingSpec(Strict):
    """What may leave the platform: a z of fewer groups (patients) says too much of each."""

    min_groups: int = Field(default=10, ge=1)


class UpkeepSpec(Strict):
    """When `rpe serve` starts `maintain`: weekly, when the night should be over."""

    cron: str = "0 5 * * 0"


class ScheduleSpec(Strict):
    """When `rpe serve` starts the night, and the upkeep unless that is null."""

    cron: str = "0 2 * * *"
    timezone: str = "UTC"
    maintain: UpkeepSpec | None = Field(default_factory=UpkeepSpec)


class Plan(Strict):
    """What the night does."""

    bases: dict[Name, BaseSpec] = Field(min_length=1)
    recipes: dict[Name, dict[str, Any]] = Field(min_length=1)
    references: tuple[ReferenceSpec, ...] = Field(min_length=1)
    targets: tuple[TargetSpec, ...] = ()
    gate: GateSpec = Field(default_factory=GateSpec)
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)
    publishing: PublishingSpec = Field(default_factory=PublishingSpec)
    schedule: ScheduleSpec = Field(default_factory=ScheduleSpec)

    @property
    def sha256(self) -> str:
        """Hash of the whole plan, for the run's record only: no id depends on it."""
        return fingerprint(self.model_dump(mode="json"))

    def recipe(self, name: str) -> Recipe:
        """The recipe of this name."""
        recipe, faults = check_recipe(self.recipes[name])
        if recipe is None:
            raise DeclarationError(f"recipe {name}", faults)
        return recipe

    def form_of(self, name: str | None) -> str | None:
        """The form of what a recipe files, lora or prompts; None where it cannot be known."""
        entry = ADAPTER_METHODS.get(str(self.recipes.get(str(name), {}).get("method")))
        return entry.form if entry else None

    def recipes_on(self, base: str) -> tuple[str, ...]:
        """Names of the recipes by which adapters of a base are trained."""
        return tuple(dict.fromkeys(r.recipe for r in self.references if r.base == base))

    def target(self, name: str) -> TargetSpec:
        """The target of this name."""
        for target in self.targets:
            if target.name == name:
                return target
        raise DeclarationError(
            "plan.yaml",
            [
                Fault(
                    "targets",
                    f"{shown_name(name)} is no target",
                    known_names(name, self.target_names),
                )
            ],
        )

    def narrowed(self, targets: Sequence[str]) -> Plan:
        """The plan with these targets only; none means all."""
        if not targets:
            return self
        return self.model_copy(update={"targets": tuple(self.target(name) for name in targets)})

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of all targets."""
        return tuple(target.name for target in self.targets)

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source that the plan speaks of, sorted."""
        named = {s for reference in self.references for s in reference.sources}
        return tuple(sorted(named | {target.source for target in self.targets}))


def _spec(entry: str | Mapping[str, Any]) -> StrategySpec:
    if isinstance(entry, str):
        return StrategySpec(entry, entry)
    kind = next(key for key in entry if key != "name")
    return StrategySpec(str(entry["name"]), kind, dict(entry[kind]))
