"""Win, tie or loss of one arm against another on the same items, with the paired interval."""

from __future__ import annotations

import math
from typing import Any

from rpe_core.errors import InputError
from rpe_core.evaluation.bootstrap import (
    N_RESAMPLES,
    Interval,
    mean_difference,
    paired_difference,
)
from rpe_core.evaluation.metrics import Items, find_metric
from rpe_core.evaluation.paired import pair
from rpe_core.records import Comparison, MeanOver, Result

MAX_RESAMPLES = 1_000_000
TAIL_RESAMPLES = 20  # resamples that should lie beyond each end of the interval


def compare(
    challenger: Items,
    baseline: Items,
    metric: str,
    *,
    confidence: float,
    seed: int = 0,
    mean_over: MeanOver = "groups",
    cap: float | None = None,
) -> Comparison:
    """The paired bootstrap by group of challenger minus baseline, read as win, tie or loss.

    A win is an interval wholly on the better side of zero; identical answers are a tie. Over groups
    it is a mean of their mean differences; over items, the difference of the two scores.

    Args:
        challenger: answers of one arm.
        baseline: answers of the other to the same items.
        metric: name of the metric.
        confidence: of the interval.
        seed: of the resamples.
        mean_over: groups, as the gate judges, or items, as scores are told.
        cap: of a metric without bounds, over groups: from which on scores count alike.

    Raises:
        ShapeMismatch: the arms did not answer the same items in the same order.
        UnknownName: no such metric.
        InputError: a confidence outside (0, 1), or a metric that is no mean over groups.
    """
    n_resamples = resamples_for(confidence)
    how: dict[str, Any] = {"confidence": confidence, "n_resamples": n_resamples, "seed": seed}
    is_higher_better = find_metric(metric).is_higher_better
    if mean_over == "groups":
        interval = mean_difference(pair(challenger, baseline, metric, cap=cap), **how)
        if not is_higher_better:  # told as challenger minus baseline, whichever side is better
            interval = Interval(-interval.value, -interval.high, -interval.low)
    else:
        interval = paired_difference(challenger, baseline, metric, **how)
    difference, low, high = (value + 0.0 for value in interval)  # no -0.0
    return Comparison(
        metric=metric,
        difference=difference,
        ci_low=low,
        ci_high=high,
        confidence=confidence,
        n_items=challenger.n_items,
        n_groups=challenger.n_groups,
        result=read_interval(low, high, higher_is_better=is_higher_better),
        mean_over=mean_over,
    )


def read_interval(low: float, high: float, *, higher_is_better: bool) -> Result:
    """What an interval of challenger minus baseline says; touching zero is a tie.

    >>> read_interval(0.01, 0.2, higher_is_better=True)
    'win'
    >>> read_interval(0.01, 0.2, higher_is_better=False)
    'loss'
    >>> read_interval(0.0, 0.2, higher_is_better=True)
    'tie'

    Raises:
        InputError: an end is NaN or infinite, or the ends are swapped.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError("an interval needs two finite ends in order.", expected="low <= high")
    better, worse = (low > 0, high < 0) if higher_is_better else (high < 0, low > 0)
    return "win" if better else "loss" if worse else "tie"


def resamples_for(confidence: float) -> int:
    """Enough resamples that the ends of the interval are not the extremes of a few draws.

    >>> resamples_for(0.95), resamples_for(0.9999)
    (10000, 400000)

    Raises:
        InputError: a confidence outside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise InputError("confidence must lie between 0 and 1.", expected="for example 0.95")
    needed = round(2 * TAIL_RESAMPLES / (1.0 - confidence))
    return min(max(N_RESAMPLES, needed), MAX_RESAMPLES)
