"""Gate policy and verdict: who may become champion, with reasons that an operator reads.

A win by the paired bootstrap is needed and is not enough: a gate that is asked every night would
promote noise some night. So one of two guards must vouch for the win, each with half of
alpha = 1 - confidence: `spending` for the n-th challenger on one test set, or `betting` on the
groups that no earlier verdict has used. Over all nights, noise passes with at most alpha.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rpe_core.errors import InputError
from rpe_core.evaluation import betting, spending
from rpe_core.evaluation.metrics import METRICS, Floats, Items, find_metric
from rpe_core.records import Comparison, Verdict

NO_CHAMPION = "There is no champion yet."
MIN_GROUPS = 20  # below this a percentile interval over clusters is too narrow to trust


@dataclass(frozen=True)
class GatePolicy:
    """What a challenger must show: a win by `metric` at `confidence` on at least `min_items`.

    Raises:
        InputError: a confidence outside (0, 1) or min_items below 1.
        UnknownName: a metric that is no key of METRICS; `auto` is resolved before.
    """

    metric: str
    baseline: str = "base"
    confidence: float = 0.95
    min_items: int = 50
    approval: Literal["automatic", "required"] = "automatic"

    def __post_init__(self) -> None:
        find_metric(self.metric)
        if not 0.0 < self.confidence < 1.0:
            raise InputError("a gate's confidence must lie between 0 and 1.")
        if self.min_items < 1:
            raise InputError("a gate needs items.", expected="min_items >= 1")

    @property
    def budget(self) -> float:
        """What each of the two guards may be wrong by, over all nights."""
        return (1.0 - self.confidence) / 2.0


@dataclass(frozen=True, eq=False)
class Past:
    """What a target's gate was asked before, and what became of bets against one baseline."""

    n_tried: int = 0  # challengers on this test set
    groups: Collection[str] = frozenset()  # that an earlier verdict used
    log_capitals: Floats = field(default_factory=lambda: np.zeros(len(betting.BETS)))


@dataclass(frozen=True, eq=False)
class Trial:
    """A comparison beside what vouches for it: the p of the n-th challenger, bets on new groups.

    `log_gains` is what the new groups made of each bet; `wealth` what they and all before are
    worth, 1 where nothing was learnt. Where there are too few items `n_tried` is 0: nothing was
    looked at, so nothing is spent and no group is used.
    """

    comparison: Comparison
    n_tried: int
    p_value: float
    n_new_groups: int
    log_gains: Floats
    wealth: float


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
    policy: GatePolicy, comparison: Comparison, challenger: Items, baseline: Items, past: Past
) -> Trial:
    """What the guards know of a comparison: its chance, and bets on groups that are new.

    Raises:
        ShapeMismatch: the arms did not answer the same items in the same order.
    """
    if shortage(policy, comparison):
        none = np.zeros_like(past.log_capitals)
        return Trial(comparison, 0, 1.0, 0, none, betting.wealth(past.log_capitals))
    names, differences = betting.group_differences(challenger, baseline, policy.metric)
    is_new = np.array([name not in past.groups for name in names.tolist()], dtype=bool)
    gains = betting.log_capitals(differences[is_new])
    return Trial(
        comparison,
        past.n_tried + 1,
        spending.chance(challenger, baseline, policy.metric),
        int(is_new.sum()),
        gains,
        betting.wealth(past.log_capitals + gains),
    )


def decide(policy: GatePolicy, against_base: Trial, against_champion: Trial | None) -> Verdict:
    """Promote only on a win against base and, where there is a champion, against it too.

    A win counts if a guard vouches for it. Too few items or groups refuse whatever the interval
    says. Approval is not decided here: a verdict says that the challenger may be promoted, and
    `promotion` waits for a person.

    Raises:
        InputError: a comparison of another metric, with a number that is not finite, or with a
            lower confidence than the policy asks for.
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
        reasons.append(_sentence(name, trial.comparison))
        is_win = trial.comparison.result == "win"
        is_promoted &= is_win and is_vouched(policy, trial)
        if is_win and not is_vouched(policy, trial):
            reasons.append(_doubt(policy, name, trial))
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
    is_spent = trial.p_value <= spending.level(trial.n_tried, policy.budget)
    return is_spent or (trial.n_new_groups > 0 and trial.wealth >= 1.0 / policy.budget)


def _check(policy: GatePolicy, comparison: Comparison) -> None:
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


def _sentence(name: str, comparison: Comparison) -> str:
    verb = {"win": "Wins", "tie": "Ties", "loss": "Loses"}[comparison.result]
    return (
        f"{verb} against {name}: {comparison.metric} {comparison.difference:+.3f} "
        f"({comparison.confidence:.4g} interval {comparison.ci_low:+.3f} to "
        f"{comparison.ci_high:+.3f}, {comparison.n_items} items in {comparison.n_groups} groups)."
    )


def _doubt(policy: GatePolicy, name: str, trial: Trial) -> str:
    left = spending.level(trial.n_tried, policy.budget)
    bets = (
        f"{trial.n_new_groups} new groups make bets worth {trial.wealth:.3g} where "
        f"{1.0 / policy.budget:.4g} is asked for"
        if trial.n_new_groups
        else "no group is new to bet on"
    )
    return (
        f"Refused, no guard vouches for the win against {name}. Spending: p {trial.p_value:.2g} "
        f"where {left:.2g} is left to challenger {trial.n_tried} on this test set. Betting: {bets}."
        " Newly labelled test rows decide."
    )


def _account(policy: GatePolicy, n_tried: int) -> str:
    spent = policy.budget * n_tried / (n_tried + 1)
    return f"Challenger {n_tried} on this test set: {spent:.3g} of {policy.budget:.3g} is spent."
