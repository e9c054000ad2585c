"""Rank correlation over the ordered pairs of a set of datasets: is nearer better?

Entries of a pair matrix are not independent: every dataset is in many of them. The interval
therefore draws whole rows (targets), and the test permutes datasets, never entries.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.evaluation.bootstrap import N_RESAMPLES

Floats = npt.NDArray[np.float64]
MAX_PERMUTATIONS = 10_000  # of up to seven datasets all 5,040 are tried


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho over the ordered pairs, with what it is worth; None where it has no value.

    `p_value` is two-sided, by Mantel's permutation of the datasets; it cannot be less than
    1 / n_targets!.
    """

    rho: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n_pairs: int
    n_targets: int


def correlate_pairs(
    distances: Floats, scores: Floats, *, confidence: float = 0.95, seed: int = 0
) -> Correlation:
    """Spearman's rho between two (n, n) matrices over their n (n - 1) entries off the diagonal.

    Rows are targets, columns references. The interval is the percentile bootstrap over targets;
    the p-value is Mantel's (1967): rows and columns of the distances permuted together.

    >>> far = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])
    >>> correlate_pairs(far, -far).rho
    -1.0

    Raises:
        ShapeMismatch: not two square matrices of one size, or fewer than three datasets.
        InputError: an entry off the diagonal is not finite.
    """
    n = len(distances)
    if n < 3 or np.shape(distances) != (n, n) or np.shape(scores) != (n, n):
        raise ShapeMismatch("pairs need two square matrices.", expected="(n, n) each, n >= 3")
    off = ~np.eye(n, dtype=bool)
    if not (np.isfinite(distances[off]).all() and np.isfinite(scores[off]).all()):
        raise InputError("an entry of a pair is not finite.", expected="finite numbers")
    rho = spearman(distances[off], scores[off])
    if rho is None:
        return Correlation(None, None, None, None, n * (n - 1), n)
    low, high = _interval(distances, scores, confidence=confidence, seed=seed)
    p_value = _mantel(distances, scores, rho, seed=seed)
    return Correlation(rho, low, high, p_value, n * (n - 1), n)


def spearman(x: Floats, y: Floats) -> float | None:
    """Pearson's correlation of the ranks, equals sharing theirs; None where one is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 100.0, 50.0]))
    0.5
    """
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(np.clip(a @ b / size, -1.0, 1.0)) if size > 0 else None


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, the mean of their places for equal values."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[places.reshape(-1)], dtype=np.float64)


def _interval(
    distances: Floats, scores: Floats, *, confidence: float, seed: int
) -> tuple[float | None, float | None]:
    """Quantiles over draws of targets with all their references; a constant draw says nothing."""
    n = len(distances)
    others = np.array([[j for j in range(n) if j != i] for i in range(n)])
    x, y = (np.take_along_axis(matrix, others, axis=1) for matrix in (distances, scores))
    drawn = np.random.default_rng(seed).integers(0, n, size=(N_RESAMPLES, n))
    known: dict[tuple[int, ...], float | None] = {}
    for targets in np.sort(drawn, axis=1).tolist():
        key = tuple(targets)
        if key not in known:
            known[key] = spearman(x[targets].reshape(-1), y[targets].reshape(-1))
    found = [known[tuple(targets)] for targets in np.sort(drawn, axis=1).tolist()]
    told = [rho for rho in found if rho is not None]
    if not told:
        return None, None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(told, [tail, 1.0 - tail])
    return float(low), float(high)


def _mantel(distances: Floats, scores: Floats, rho: float, *, seed: int) -> float:
    """The share of permutations of the datasets whose rho is at least as far from zero."""
    n = len(distances)
    off = ~np.eye(n, dtype=bool)
    if math.factorial(n) <= MAX_PERMUTATIONS:
        orders = [list(order) for order in itertools.permutations(range(n))]
    else:
        rng = np.random.default_rng(seed)
        # the order as it is counts as one of them, so that p is never zero
        orders = [list(range(n)), *(rng.permutation(n).tolist() for _ in range(MAX_PERMUTATIONS))]
    hits = 0
    for order in orders:
        found = spearman(distances[np.ix_(order, order)][off], scores[off])
        hits += found is not None and abs(found) >= abs(rho) - 1e-12
    return hits / len(orders)
