"""Percentile bootstrap over clusters: intervals of a score and of a paired difference, seeded.

Groups (patients) are drawn with replacement and bring all their items. A draw is a row of counts
per group; counts @ per-group sums gives the statistics of 10,000 resamples without copying items.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rpe_core.errors import InputError
from rpe_core.evaluation.metrics import Floats, Items, Metric, find_metric
from rpe_core.evaluation.paired import Paired, require_paired

N_RESAMPLES = 10_000
CELLS = 1 << 21  # counts held at once: 16 MB, whatever the number of groups or resamples


class Interval(NamedTuple):
    """A number with the ends of its percentile interval, in the unit of the metric."""

    value: float
    low: float
    high: float


def score_interval(
    items: Items, metric: str, *, confidence: float, n_resamples: int = N_RESAMPLES, seed: int
) -> Interval:
    """The score of the items and its interval: quantiles (1 -+ confidence) / 2 of the resamples.

    >>> from rpe_core.evaluation.metrics import make_items
    >>> right = make_items([0, 1, 1], [0, 1, 1], ["a", "b", "c"])
    >>> tuple(score_interval(right, "accuracy", confidence=0.95, seed=0))
    (1.0, 1.0, 1.0)

    Raises:
        UnknownName: no such metric.
        InputError: a confidence outside (0, 1) or no resamples.
    """
    _check(confidence, n_resamples)
    metric_used = find_metric(metric)
    sums = group_sums(items, metric_used)
    resampled = [
        metric_used.from_sums(counts @ sums) for counts in _draws(len(sums), n_resamples, seed=seed)
    ]
    low, high = _ends(np.concatenate(resampled), confidence)
    return Interval(metric_used.value(items), low, high)


def paired_difference(
    challenger: Items,
    baseline: Items,
    metric: str,
    *,
    confidence: float,
    n_resamples: int = N_RESAMPLES,
    seed: int,
) -> Interval:
    """Challenger minus baseline on the same items, both arms in the same resamples.

    Arms that answer alike differ by exactly 0 in every resample: the interval is [0, 0].

    Raises:
        ShapeMismatch: the arms do not answer the same items in the same order.
        UnknownName: no such metric.
        InputError: a confidence outside (0, 1) or no resamples.
    """
    _check(confidence, n_resamples)
    require_paired(challenger, baseline)
    metric_used = find_metric(metric)
    ours, theirs = group_sums(challenger, metric_used), group_sums(baseline, metric_used)
    resampled = [
        metric_used.from_sums(counts @ ours) - metric_used.from_sums(counts @ theirs)
        for counts in _draws(len(ours), n_resamples, seed=seed)
    ]
    low, high = _ends(np.concatenate(resampled), confidence)
    return Interval(metric_used.value(challenger) - metric_used.value(baseline), low, high)


def mean_difference(
    paired: Paired, *, confidence: float, n_resamples: int = N_RESAMPLES, seed: int
) -> Interval:
    """The mean over groups of their mean differences, better being positive, and its interval.

    Raises:
        InputError: a confidence outside (0, 1) or no resamples.
    """
    _check(confidence, n_resamples)
    n_groups = len(paired.means)
    resampled = [
        counts @ paired.means / n_groups for counts in _draws(n_groups, n_resamples, seed=seed)
    ]
    low, high = _ends(np.concatenate(resampled), confidence)
    return Interval(paired.by_groups, low, high)


def group_sums(items: Items, metric: Metric) -> Floats:
    """The metric's statistics summed over the items of each group, (n_groups, m)."""
    statistics = metric.statistics(items)
    sums = np.zeros((items.n_groups, statistics.shape[1]))
    np.add.at(sums, items.group_codes, statistics)
    return sums


def _check(confidence: float, n_resamples: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise InputError("confidence must lie between 0 and 1.", expected="for example 0.95")
    if n_resamples < 1:
        raise InputError("a bootstrap needs resamples.", expected="n_resamples >= 1")


def _draws(n_groups: int, n_resamples: int, *, seed: int) -> Iterator[Floats]:
    """Counts per group of each resample, (chunk, n_groups); chunking does not change the draws."""
    if n_groups * n_resamples <= CELLS:
        yield _few_draws(n_groups, n_resamples, seed)
    else:
        yield from _drawn(n_groups, n_resamples, seed)


@lru_cache(maxsize=4)
def _few_draws(n_groups: int, n_resamples: int, seed: int) -> Floats:
    """Draws of one chunk, kept: every arm and metric of a split asks for the same ones."""
    (counts,) = _drawn(n_groups, n_resamples, seed)
    counts.flags.writeable = False
    return counts


def _drawn(n_groups: int, n_resamples: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    rows = max(1, CELLS // n_groups)
    for start in range(0, n_resamples, rows):
        chunk = min(rows, n_resamples - start)
        cells = rng.integers(0, n_groups, size=(chunk, n_groups))
        cells += (np.arange(chunk) * n_groups)[:, None]
        counts = np.bincount(cells.ravel(), minlength=chunk * n_groups)
        yield counts.reshape(chunk, n_groups).astype(np.float64)


def _ends(resampled: Floats, confidence: float) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return float(low), float(high)
