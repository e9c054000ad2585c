"""Method measures: what adapters of several seeds and sources scored or took, in one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpe_core.evaluation.bootstrap import Interval, score_interval
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import Items, find_metric, pool


@dataclass(frozen=True)
class MeasuredItems:
    """What was answered, and what it is measured against; without that, the score by itself."""

    items: Items
    baseline: Items | None = None

    def value(self, metric: str) -> float:
        """The score, or by how much it differs from the baseline's."""
        measured = find_metric(metric)
        against = measured.value(self.baseline) if self.baseline else 0.0
        return measured.value(self.items) - against

    def interval(self, metric: str, *, confidence: float) -> Interval:
        """The value of `metric` with its bootstrap interval over groups; differences are paired."""
        if self.baseline is None:
            return score_interval(self.items, metric, confidence=confidence, seed=0)
        comparison = compare(
            self.items, self.baseline, metric, confidence=confidence, mean_over="items"
        )
        return Interval(comparison.difference, comparison.ci_low, comparison.ci_high)


@dataclass(frozen=True)
class SeedRange:
    """The lowest and the highest value of the seeds; None where there is none."""

    low: float | None
    high: float | None


def join_measured(parts: Sequence[MeasuredItems]) -> MeasuredItems:
    """Answers of several seeds and adapters as one: an item is there once for each of them.

    Raises:
        ShapeMismatch: there are no parts, or they have other statistics.
    """
    baselines = [part.baseline for part in parts if part.baseline is not None]
    return MeasuredItems(
        pool([part.items for part in parts]), pool(baselines) if baselines else None
    )


def seed_range(by_seed: Sequence[float]) -> SeedRange:
    """How far apart the seeds are.

    >>> seed_range([0.5, 0.25]), seed_range([])
    (SeedRange(low=0.25, high=0.5), SeedRange(low=None, high=None))
    """
    return SeedRange(min(by_seed, default=None), max(by_seed, default=None))


def means_by_seed(costs: Sequence[Sequence[float | None]]) -> list[float]:
    """The mean over the adapters of each seed; nothing unless it is known of every adapter.

    >>> means_by_seed([[1, 3], [4, 4]]), means_by_seed([[1, 3], [4, None]])
    ([2.0, 4.0], [])
    """
    known = [[cost for cost in seed if cost is not None] for seed in costs]
    is_known = [len(seed) for seed in known] == [len(seed) for seed in costs]
    return [float(np.mean(seed)) for seed in known] if is_known else []


def mean_or_none(values: Sequence[float]) -> float | None:
    """The mean; None of nothing.

    >>> mean_or_none([1.0, 2.0]), mean_or_none([])
    (1.5, None)
    """
    return float(np.mean(values)) if values else None
