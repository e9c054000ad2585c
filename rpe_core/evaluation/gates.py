"""Gate policy and verdict: who may become champion, with reasons that an operator reads.

The gate's estimand is the mean over groups (patients) of the group's mean difference. A win in its
bootstrap interval describes and is no licence: a challenger is licensed by one of two guards, each
with half of alpha = 1 - confidence. `spending` holds the n-th challenger on one test set to a test
that is exact for every distribution; `betting` adds up evidence on groups that no earlier verdict
has used. Over all nights a target whose challengers are no better is given a champion with at most
alpha. Both guards must hold of the mean over items as well, and rare heavy losses may refuse.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rpe_core.errors import InputError
from rpe_core.evaluation import betting, spending
from rpe_core.evaluation.chance import BETTING, MCNEMAR, groups_needed, one_sided_p_value
from rpe_core.evaluation.losses import (
    SHOWN_SIZE,
    Losses,
    MaxLoss,
    count_losses,
    groups_without_loss,
)
from rpe_core.evaluation.metrics import METRICS, Floats, Items, find_metric
from rpe_core.evaluation.paired import pair, require_bounded
from rpe_core.records import Comparison, Verdict

NO_CHAMPION = "There is no champion yet."
_TESTS = {MCNEMAR: "McNemar's exact test", BETTING: "bets on one group after another"}
MIN_GROUPS = 20  # below this a percentile interval over clusters is too narrow to trust


@dataclass(frozen=True)
class GatePolicy:
    """What a challenger must show: a win by `metric` at `confidence` on at least `min_items`.

    `cap` bounds a metric that has no bounds: from it on scores count alike, in the metric's unit.

    Raises:
        InputError: a confidence outside (0.5, 1), min_items below 1, a metric that is no mean of
            bounded scores, or a loss that is larger than the metric can differ by.
        UnknownName: a metric that is no key of METRICS; `auto` is resolved before.
    """

    metric: str
    baseline: str = "base"
    confidence: float = 0.95
    min_items: int = 50
    approval: Literal["automatic", "required"] = "automatic"
    cap: float | None = None
    max_loss: MaxLoss | None = None

    def __post_init__(self) -> None:
        low, high = require_bounded(find_metric(self.metric), self.cap)
        if not 0.5 < self.confidence < 1.0:
            raise InputError("a gate's confidence must lie between 0.5 and 1.", expected="0.95")
        if self.min_items < 1:
            raise InputError("a gate needs items.", expected="min_items >= 1")
        if self.max_loss and self.max_loss.size >= high - low:
            raise InputError(
                "no group can lose as much as the size of max_loss.",
                expected=f"a size below {high - low:g}, in the unit of {self.metric}",
            )

    @property
    def budget(self) -> float:
        """What each of the two guards may be wrong by, over all nights."""
        return (1.0 - self.confidence) / 2.0

    @property
    def loss_size(self) -> float:
        """A loss of a group that is counted and shown, in the unit of the metric."""
        if self.max_loss:
            return self.max_loss.size
        low, high = require_bounded(find_metric(self.metric), self.cap)
        return SHOWN_SIZE * (high - low)


@dataclass(frozen=True, eq=False)
class GateHistory:
    """What a target's gate was asked before, and what became of bets against one baseline.

    `log_capitals` (2, n_bets): of bets on the mean over groups, and over items.
    """

    n_tried: int = 0  # challengers on this test set
    groups: Collection[str] = frozenset()  # that an earlier verdict used
    log_capitals: Floats = field(
        default_factory=lambda: np.zeros((betting.MEANS, len(betting.BETS)))
    )


@dataclass(frozen=True, eq=False)
class Trial:
    """A comparison over groups beside what licenses it: a chance, and bets on new groups.

    `item_difference` is the mean over items beside that over groups; `p_value` the larger of their
    two, by `test`. `log_gains` (2, n_bets) is what the new groups made of each bet; `wealth` what
    they and all before are worth, of the poorer mean, 1 where nothing was learnt. Where there are
    too few items `n_tried` is 0: nothing was looked at, so nothing is spent and no group is used.
    """

    comparison: Comparison
    item_difference: float
    n_tried: int
    p_value: float
    test: str  # mcnemar or betting; '' where nothing was looked at
    n_new_groups: int
    log_gains: Floats
    wealth: float
    losses: Losses
    n_groups_needed: int | None  # such as these, to decide; None: no number would

    @property
    def is_split(self) -> bool:
        """Whether the mean over groups and the mean over items disagree in sign."""
        return self.comparison.difference * self.item_difference < 0.0


def shortage(policy: GatePolicy, comparison: Comparison) -> str:
    """Why nothing can be decided on so few items or groups, in words; '' where there are enough."""
    if comparison.n_items < policy.min_items:
        return (
            f"Refused unseen: {comparison.n_items} test items are too few; "
            f"the gate asks for at least {policy.min_items}."
        )
    if comparison.n_groups < MIN_GROUPS:
        return (
            f"Refused unseen: the {comparison.n_items} test items come from "
            f"{comparison.n_groups} groups; an interval needs at least {MIN_GROUPS}."
        )
    return ""


def put_to_test(
    policy: GatePolicy,
    comparison: Comparison,
    challenger: Items,
    baseline: Items,
    past: GateHistory,
) -> Trial:
    """What the guards know of a comparison: its chance, bets on groups that are new, its losses.

    Raises:
        ShapeMismatch: the arms did not answer the same items in the same order.
    """
    paired = pair(challenger, baseline, policy.metric, cap=policy.cap)
    sign = 1.0 if find_metric(policy.metric).is_higher_better else -1.0
    losses = count_losses(paired, policy.loss_size, confidence=policy.confidence)
    n_tried, p_value, test, needed = past.n_tried + 1, 1.0, "", None
    is_new = np.array([name not in past.groups for name in paired.names.tolist()], dtype=bool)
    if shortage(policy, comparison):
        n_tried, is_new = 0, np.zeros_like(is_new)
    else:
        left = spending.level(n_tried, policy.budget)
        p_value, test = one_sided_p_value(paired, left)
        needed = groups_needed(paired, left)
    gains = betting.log_capitals(paired.stakes()[:, is_new])
    return Trial(
        comparison,
        sign * paired.by_items + 0.0,
        n_tried,
        p_value,
        test,
        int(is_new.sum()),
        gains,
        betting.wealth(past.log_capitals + gains),
        losses,
        needed,
    )


def decide(policy: GatePolicy, against_base: Trial, against_champion: Trial | None) -> Verdict:
    """Promote only on a licensed win against base and, where there is a champion, against it too.

    Too few items or groups refuse whatever the interval says. Approval is not decided here: a
    verdict says that the challenger may be promoted, and `promotion` waits for a person.

    Raises:
        InputError: a comparison of another metric or mean, with a number that is not finite, or
            with a lower confidence than the policy asks for.
    """
    rounds = [(policy.baseline, against_base)]
    if against_champion is not None:
        rounds.append(("the champion", against_champion))
    reasons: list[str] = []
    is_promoted = True
    for name, trial in rounds:
        _check(policy, trial.comparison)
        if short := shortage(policy, trial.comparison):
            return Verdict(is_promoted=False, reasons=(short,))
        reasons += [_sentence(name, trial), f"{trial.losses}."]
        objections = _objections(policy, name, trial)
        is_promoted &= trial.comparison.result == "win" and not objections
        reasons += objections or _licence(policy, trial)
    if against_champion is None:
        reasons.append(NO_CHAMPION)
    reasons.append(_account(policy, against_base.n_tried))
    if is_promoted and policy.approval == "required":
        reasons.append("A person must approve before the champion moves.")
    return Verdict(is_promoted=is_promoted, reasons=tuple(reasons))


def is_vouched(policy: GatePolicy, trial: Trial) -> bool:
    """Whether either guard excludes noise: a p within the n-th level, or bets that paid.

    Bets count where this challenger was itself bet on: what others earned is not its merit alone.
    """
    return _is_spent(policy, trial) or _is_rich(policy, trial)


def _is_spent(policy: GatePolicy, trial: Trial) -> bool:
    left = spending.level(trial.n_tried, policy.budget)
    return trial.p_value <= left * (1.0 + 1e-12)  # bets stop at the level itself


def _is_rich(policy: GatePolicy, trial: Trial) -> bool:
    return trial.n_new_groups > 0 and trial.wealth >= 1.0 / policy.budget


def _objections(policy: GatePolicy, name: str, trial: Trial) -> list[str]:
    """Why a challenger may not take its place whatever its interval says, in words."""
    objections = []
    if trial.is_split:
        objections.append(
            f"Refused: against {name} the mean over groups and the mean over items disagree in"
            " sign; large groups lose what small ones win, or the other way round."
        )
    elif trial.comparison.result != "loss" and not is_vouched(policy, trial):
        objections.append(_doubt(policy, name, trial))
    limit = policy.max_loss
    if limit and trial.losses.upper > limit.share:
        objections.append(
            f"Refused by max_loss against {name}: {limit.share:.1%} of groups may lose more than"
            f" {limit.size:g}. {groups_without_loss(limit, confidence=policy.confidence)} groups"
            " without such a loss would show it."
        )
    return objections


def _licence(policy: GatePolicy, trial: Trial) -> list[str]:
    """Which guard licensed a win, in words; nothing is said of what is no win."""
    if trial.comparison.result != "win":
        return []
    if _is_spent(policy, trial):
        left = spending.level(trial.n_tried, policy.budget)
        return [f"Licensed by {_TESTS[trial.test]}: p {trial.p_value:.2g} of {left:.2g}."]
    return [
        f"Licensed by bets on {trial.n_new_groups} new groups and those before: worth"
        f" {trial.wealth:.3g} of {1.0 / policy.budget:.4g}."
    ]


def _check(policy: GatePolicy, comparison: Comparison) -> None:
    if comparison.mean_over != "groups":
        raise InputError("the gate compares means over groups.", expected="mean_over = groups")
    if comparison.metric != policy.metric:
        raise InputError(
            "the comparison was made by another metric than the gate's.",
            expected=f"{policy.metric} of {', '.join(METRICS)}",
        )
    numbers = (comparison.difference, comparison.ci_low, comparison.ci_high, comparison.confidence)
    if not all(math.isfinite(number) for number in numbers):
        raise InputError("a comparison holds a number that is not finite.")
    if comparison.confidence < policy.confidence:
        raise InputError(
            "the comparison is less sure than the gate asks for.",
            expected=f"confidence of at least {policy.confidence:g}",
        )


def _sentence(name: str, trial: Trial) -> str:
    comparison = trial.comparison
    verb = {"win": "Wins", "tie": "Ties", "loss": "Loses"}[comparison.result]
    return (
        f"{verb} against {name}: {comparison.metric} {comparison.difference:+.3f} over groups "
        f"({comparison.confidence:.4g} interval {comparison.ci_low:+.3f} to"
        f" {comparison.ci_high:+.3f}), {trial.item_difference:+.3f} over items;"
        f" {comparison.n_items} items in {comparison.n_groups} groups."
    )


def _doubt(policy: GatePolicy, name: str, trial: Trial) -> str:
    left = spending.level(trial.n_tried, policy.budget)
    bets = (
        f"{trial.n_new_groups} new groups make bets worth {trial.wealth:.3g} where "
        f"{1.0 / policy.budget:.4g} is asked for"
        if trial.n_new_groups
        else "no group is new to bet on"
    )
    needed = trial.n_groups_needed
    hope = (
        f"About {needed} groups such as these would decide; there are {trial.losses.n_groups}."
        if needed and needed > trial.losses.n_groups
        else "Newly labelled test rows decide."
    )
    return (
        f"Refused, no guard licenses it against {name}. Spending: p {trial.p_value:.2g} by "
        f"{_TESTS[trial.test]} where {left:.2g} is left to challenger {trial.n_tried} on this test "
        f"set. Betting: {bets}. {hope}"
    )


def _account(policy: GatePolicy, n_tried: int) -> str:
    spent = policy.budget * n_tried / (n_tried + 1)
    return f"Challenger {n_tried} on this test set: {spent:.3g} of {policy.budget:.3g} is spent."
