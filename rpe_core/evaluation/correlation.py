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
from rpe_core.evaluation.expectations import Standing

Floats = npt.NDArray[np.float64]
MAX_PERMUTATIONS = 10_000  # of up to seven datasets all 5,040 are tried
_CELLS = 1 << 21  # held at once, whatever the number of datasets
_SAME = 1e-12  # coefficients closer than this differ by rounding only


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

    def falls(self, *, significance: float) -> Standing:
        """Whether one falls as the other rises: by the interval and the test together."""
        if self.low is None or self.high is None or (self.p_value or 0) > significance:
            return "undecided"
        return "holds" if self.high < 0 else "fails" if self.low > 0 else "undecided"


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
    below_x, below_y = _below(x), _below(y)
    drawn = np.random.default_rng(seed).integers(0, n, size=(N_RESAMPLES, n))
    correlations = []
    for some in np.array_split(drawn, max(1, N_RESAMPLES * n * n // _CELLS)):
        counts = (some[:, :, None] == np.arange(n)).sum(axis=1).astype(np.float64)
        weights = np.repeat(counts, n - 1, axis=1)
        a, b = counts @ below_x, counts @ below_y  # ranks within each draw, but for a half
        a -= (weights * a).sum(axis=1, keepdims=True) / (n * (n - 1))
        b -= (weights * b).sum(axis=1, keepdims=True) / (n * (n - 1))
        sizes = (weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1)
        varies = sizes > 0
        correlations.append((weights * a * b).sum(axis=1)[varies] / np.sqrt(sizes[varies]))
    rhos = np.clip(np.concatenate(correlations), -1.0, 1.0)
    if not len(rhos):
        return None, None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(rhos, [tail, 1.0 - tail])
    return float(low), float(high)


def _below(x: Floats) -> Floats:
    """How many values of each row lie below each value of the matrix, equals half; (n, n (n - 1)).

    The mean rank of a value in a draw of rows is a half more than their sum over the draw.
    """
    values = x.reshape(-1)
    return np.array([(row[:, None] < values).sum(0) + (row[:, None] == values).sum(0) / 2.0
                     for row in x])  # fmt: skip


def _mantel(distances: Floats, scores: Floats, rho: float, *, seed: int) -> float:
    """The share of permutations of the datasets whose rho is at least as far from zero."""
    n = len(distances)
    off = ~np.eye(n, dtype=bool)
    # ranks go with their datasets: a permutation changes neither their mean nor their size
    ranks, other = np.zeros((n, n)), _ranks(scores[off])
    ranks[off] = _ranks(distances[off])
    ranks[off] -= ranks[off].mean()
    other -= other.mean()
    size = math.sqrt(float((ranks**2).sum()) * float(other @ other))
    if math.factorial(n) <= MAX_PERMUTATIONS:
        orders = [list(order) for order in itertools.permutations(range(n))]
    else:
        rng = np.random.default_rng(seed)
        # the order as it is counts as one of them, so that p is never zero
        orders = [list(range(n)), *(rng.permutation(n).tolist() for _ in range(MAX_PERMUTATIONS))]
    permuted = [abs(float(ranks[np.ix_(order, order)][off] @ other)) / size for order in orders]
    return float(np.mean(np.array(permuted) >= abs(rho) - _SAME))
