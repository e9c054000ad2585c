"""The strategy `auto`: choosing an ensemble without labels, by mutual information with a margin.

The pure rule (largest H(mean p) - mean H(p)) can lose a point where candidates hardly differ, so
the choice starts from `similarity` and leaves it only by a margin that leave-one-out calibrates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from rpe_core.errors import InputError, ShapeMismatch

DEFAULT_MARGIN = 0.1  # nat
MARGIN_GRID = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)  # nat
MIN_REFERENCES = 5
_SAME = 1e-12  # mean scores closer than this differ by rounding only


@dataclass(frozen=True)
class MarginChoice:
    """The margin in nat, how it was found, and the mean score that each margin would have had."""

    margin: float
    calibration: Literal["leave_one_out", "uncalibrated"]
    n_references: int
    mean_scores: Mapping[float, float] = field(default_factory=dict)


def mutual_information(probabilities: npt.ArrayLike) -> float:
    """Information between input and answer, in nat: H(mean p) - mean H(p), 0 <= I <= ln(labels).

    `probabilities` has shape (n, labels); each row sums to one.

    >>> round(mutual_information([[1.0, 0.0], [0.0, 1.0]]), 4)
    0.6931
    >>> mutual_information([[0.5, 0.5], [0.5, 0.5]])
    0.0

    Raises:
        ShapeMismatch: not a matrix with at least one row and two labels.
        InputError: NaN, infinity, a negative value or a row that does not sum to one.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[0] < 1 or p.shape[1] < 2:
        raise ShapeMismatch(
            "probabilities must be items by labels.", expected="(n >= 1, labels >= 2)"
        )
    if not np.isfinite(p).all() or (p < 0).any() or np.abs(p.sum(axis=1) - 1.0).max() > 1e-6:
        raise InputError("every row must be a distribution.", expected="finite, >= 0, sum 1")
    return max(0.0, float(_entropy(p.mean(axis=0)) - _entropy(p).mean()))


def choose(
    criterion: Mapping[str, float], *, start: str = "similarity", margin: float = DEFAULT_MARGIN
) -> str:
    """The candidate with the largest criterion, if it exceeds the start's by more than the margin.

    Without the start among the candidates the first by name takes its place; equal criteria are
    settled by name order too.

    >>> choose({"similarity": 0.50, "average": 0.55, "nearest": 0.20}, margin=0.1)
    'similarity'
    >>> choose({"similarity": 0.50, "average": 0.65, "nearest": 0.20}, margin=0.1)
    'average'

    Raises:
        InputError: no candidates, a criterion that is not finite, or a margin below zero.
    """
    if not criterion:
        raise InputError("there is nothing to choose from.", expected="at least one candidate")
    if not all(math.isfinite(value) for value in criterion.values()):
        raise InputError("a criterion is not finite.", expected="finite numbers, in nat")
    _check_margin(margin)
    names = sorted(criterion)
    held = start if start in criterion else names[0]
    best = max(names, key=lambda name: criterion[name])
    return best if criterion[best] - criterion[held] > margin else held


def calibrate_margin(
    table: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    grid: Sequence[float] = MARGIN_GRID,
    start: str = "similarity",
) -> MarginChoice:
    """The margin that would have served the references best, each left out and chosen for in turn.

    `table` gives per reference and candidate the criterion (nat) and the score that the candidate
    really had. The margin with the best mean score wins; ties go to the one nearest 0.1, then to
    the smaller. Fewer than 5 references do not calibrate: the margin is 0.1.

    Raises:
        InputError: a reference without candidates, an empty grid, or a number that is not finite.
    """
    for candidates in table.values():
        if not candidates or not np.isfinite(list(candidates.values())).all():
            raise InputError("a reference has no candidates or a number that is not finite.")
    if not grid:
        raise InputError("the grid of margins is empty.")
    for margin in grid:
        _check_margin(margin)
    if len(table) < MIN_REFERENCES:
        return MarginChoice(DEFAULT_MARGIN, "uncalibrated", len(table))
    means = {margin: _mean_score(table, margin, start) for margin in grid}
    top = max(means.values())
    best = min(
        (margin for margin, mean in means.items() if mean >= top - _SAME),
        key=lambda margin: (round(abs(margin - DEFAULT_MARGIN), 12), margin),
    )
    return MarginChoice(best, "leave_one_out", len(table), means)


def _mean_score(
    table: Mapping[str, Mapping[str, tuple[float, float]]], margin: float, start: str
) -> float:
    scores = [
        candidates[
            choose({n: pair[0] for n, pair in candidates.items()}, start=start, margin=margin)
        ][1]
        for candidates in table.values()
    ]
    return math.fsum(scores) / len(scores)


def _check_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin >= 0):
        raise InputError("a margin must be finite and not negative.", expected="nat, >= 0")


def _entropy(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    logs = np.log(np.where(p > 0, p, 1.0))
    return np.asarray(-(p * logs).sum(axis=-1), dtype=np.float64)
