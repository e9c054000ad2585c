"""What the published experiments lead one to expect, stated beforehand as data, and its verdicts.

Each expectation is read from paired bootstrap intervals over the items of all targets pooled,
clusters being groups; from fewer groups than a gate asks for nothing is decided. Nothing here knows
how the arms were made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rpe_core.evaluation.gates import MIN_GROUPS
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import Items, find_metric, pool
from rpe_core.records import Comparison

Standing = Literal["holds", "fails", "undecided"]
Arms = Mapping[str, Mapping[str, Items]]  # target -> arm -> its items, paired within a target
RULES = "2"  # version of the statements and of how each is decided
ENSEMBLES = ("average", "similarity", "linear", "linear_l1")


@dataclass(frozen=True)
class ExpectationFinding:
    """What came of an expectation: the difference that decides it, with its interval, and why."""

    name: str
    statement: str
    verdict: Standing
    difference: float | None
    low: float | None
    high: float | None
    n_items: int
    n_groups: int
    details: str


class Stated(Protocol):
    """A statement that was made before a run."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def statement(self) -> str:
        """What is stated."""


@dataclass(frozen=True)
class StatedExpectation:
    """A statement made before a run, and how a verdict on it is reached."""

    name: str
    statement: str
    check: Callable[[StatedExpectation, Arms, str, float], ExpectationFinding]


def check_expectations(
    arms: Arms, metric: str, *, confidence: float = 0.95
) -> list[ExpectationFinding]:
    """A verdict on each of EXPECTATIONS by a metric.

    Raises:
        ShapeMismatch: arms of one target did not answer the same items in the same order.
        UnknownName: no such metric.
    """
    return [
        expectation.check(expectation, arms, metric, confidence) for expectation in EXPECTATIONS
    ]


def pool_arm(arms: Arms, arm: str, targets: Sequence[str] | None = None) -> Items:
    """The items of an arm over all targets, or some, as one set.

    Raises:
        ShapeMismatch: there are no targets, or they have other statistics.
    """
    return pool([arms[target][arm] for target in (arms if targets is None else targets)])


def _sft_above(
    stated: StatedExpectation, arms: Arms, metric: str, confidence: float
) -> ExpectationFinding:
    pairs = [("sft", arm) for arm in ENSEMBLES]
    return _all_win(stated, arms, pairs, metric, confidence)


def _above_base(
    stated: StatedExpectation, arms: Arms, metric: str, confidence: float
) -> ExpectationFinding:
    pairs = [(arm, "base") for arm in ENSEMBLES]
    return _all_win(stated, arms, pairs, metric, confidence)


def _l1_stands(
    stated: StatedExpectation, arms: Arms, metric: str, confidence: float
) -> ExpectationFinding:
    """A collapse is a loss to average: the published base fails everywhere and tells of none."""
    if missing := _missing(arms, ("linear", "linear_l1", "average")):
        return undecided_finding(stated, f"not run: {missing}")

    def against(challenger: str, baseline: str, targets: Sequence[str]) -> Comparison:
        ours, theirs = pool_arm(arms, challenger, targets), pool_arm(arms, baseline, targets)
        return compare(ours, theirs, metric, confidence=confidence, mean_over="items")

    collapsed = [t for t in arms if against("linear", "average", [t]).result == "loss"]
    if not collapsed:
        return undecided_finding(stated, "linear loses to average on no target")
    also = [t for t in collapsed if against("linear_l1", "average", [t]).result == "loss"]
    comparison = against("linear_l1", "linear", collapsed)
    verdict: Standing = "fails" if also else "holds" if comparison.result == "win" else "undecided"
    details = f"linear loses to average on {', '.join(collapsed)}; linear_l1 on "
    against_linear = comparison_words("linear_l1", "linear", comparison)
    details += f"{', '.join(also) or 'none of them'}; {against_linear}"
    return finding_of(stated, verdict, comparison, details)


EXPECTATIONS = (
    StatedExpectation(
        "sft_above_ensembles",
        "The target's own adapter scores above average, similarity, linear and linear_l1",
        _sft_above,
    ),
    StatedExpectation(
        "ensembles_above_base",
        "Average, similarity, linear and linear_l1 score above the pre-trained base",
        _above_base,
    ),
    StatedExpectation(
        "l1_does_not_collapse",
        "Where linear loses to average, linear_l1 does not, and scores above linear",
        _l1_stands,
    ),
)


def _all_win(
    stated: StatedExpectation,
    arms: Arms,
    pairs: Sequence[tuple[str, str]],
    metric: str,
    confidence: float,
) -> ExpectationFinding:
    """Holds if each pair is a win, fails if one is a loss; the difference told is the worst one."""
    if missing := _missing(arms, [arm for pair in pairs for arm in pair]):
        return undecided_finding(stated, f"not run: {missing}")
    pooled = {arm: pool_arm(arms, arm) for pair in pairs for arm in pair}
    comparisons = {
        (a, b): compare(pooled[a], pooled[b], metric, confidence=confidence, mean_over="items")
        for a, b in pairs
    }
    results = {comparison.result for comparison in comparisons.values()}
    verdict: Standing = (
        "fails" if "loss" in results else "holds" if results == {"win"} else "undecided"
    )
    sign = 1.0 if find_metric(metric).is_higher_better else -1.0
    worst = min(comparisons.values(), key=lambda comparison: sign * comparison.difference)
    details = "; ".join(
        comparison_words(a, b, comparison) for (a, b), comparison in comparisons.items()
    )
    return finding_of(stated, verdict, worst, details)


def _missing(arms: Arms, wanted: Sequence[str]) -> str:
    lacking = [arm for arm in dict.fromkeys(wanted) if any(arm not in a for a in arms.values())]
    return ", ".join(lacking)


def comparison_words(challenger: str, baseline: str, comparison: Comparison) -> str:
    """A comparison in words."""
    interval = f"{comparison.difference:+.4f} [{comparison.ci_low:+.4f}, {comparison.ci_high:+.4f}]"
    return f"{challenger} against {baseline}: {comparison.result} {interval}"


def finding_of(
    stated: Stated, verdict: Standing, comparison: Comparison, details: str
) -> ExpectationFinding:
    """What a comparison decides; from too few groups nothing."""
    if comparison.n_groups < MIN_GROUPS:
        verdict = "undecided"
        details = f"{comparison.n_groups} groups are too few, at least {MIN_GROUPS}; {details}"
    return ExpectationFinding(
        stated.name,
        stated.statement,
        verdict,
        comparison.difference,
        comparison.ci_low,
        comparison.ci_high,
        comparison.n_items,
        comparison.n_groups,
        details,
    )


def undecided_finding(stated: Stated, details: str) -> ExpectationFinding:
    """Nothing is decided, and why."""
    return ExpectationFinding(
        stated.name, stated.statement, "undecided", None, None, None, 0, 0, details
    )
