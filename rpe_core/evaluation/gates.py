"""Gate policy and verdict: who may become champion, with reasons that an operator reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rpe_core.errors import InputError
from rpe_core.evaluation.metrics import METRICS, find_metric
from rpe_core.records import Comparison, Verdict

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


def decide(
    policy: GatePolicy, against_base: Comparison, against_champion: Comparison | None
) -> Verdict:
    """Promote only on a win against base and, where there is a champion, against it too.

    Too few items or groups refuse whatever the interval says. Approval is not decided here: a
    verdict says that the challenger may be promoted, and `promotion` waits for a person.

    Raises:
        InputError: a comparison of another metric, with a number that is not finite, or with a
            lower confidence than the policy asks for.
    """
    rounds = [(policy.baseline, against_base)]
    if against_champion is not None:
        rounds.append(("the champion", against_champion))
    reasons: list[str] = []
    is_promoted = True
    for name, comparison in rounds:
        _check(policy, comparison)
        shortage = _shortage(policy, comparison)
        is_promoted &= comparison.result == "win" and not shortage
        reasons.append(shortage or _sentence(name, comparison))
    if against_champion is None:
        reasons.append("There is no champion yet.")
    if is_promoted and policy.approval == "required":
        reasons.append("A person must approve before the champion moves.")
    return Verdict(is_promoted=is_promoted, reasons=tuple(dict.fromkeys(reasons)))


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


def _shortage(policy: GatePolicy, comparison: Comparison) -> str:
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


def _sentence(name: str, comparison: Comparison) -> str:
    verb = {"win": "Wins", "tie": "Ties", "loss": "Loses"}[comparison.result]
    return (
        f"{verb} against {name}: {comparison.metric} {comparison.difference:+.3f} "
        f"({comparison.confidence:.4g} interval {comparison.ci_low:+.3f} to "
        f"{comparison.ci_high:+.3f}, {comparison.n_items} items in {comparison.n_groups} groups)."
    )
