"""The spectrum of features: how their variance is shared by directions, and what that makes rare.

A mean of many features moves by chance in all directions at once. How far depends on their total
variance; how unlikely a longer way is, on how few directions hold it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]

SAMPLED = 512  # items whose features are looked at together
CELLS = 1 << 22  # numbers held for that: 32 MB
SHARES = 32  # directions that are told; the rest is told by its sum
DIGITS = 4
FEW = 16  # items; the directions of fewer say nothing of those of all


class FeatureSample:
    """The features of the first items, kept as they pass by in whatever order."""

    def __init__(self) -> None:
        self._rows: dict[int, Vector] = {}

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Hand on (indices (b,), features (b, d)), and keep the features of the first items."""
        for indices, features in batches:
            limit = min(SAMPLED, CELLS // max(features.shape[1], 1))
            for index, feature in zip(np.asarray(indices).tolist(), features, strict=True):
                if index < limit:
                    self._rows[index] = np.array(feature, dtype=np.float64)
            yield indices, features

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of variance of what was kept; none of a few items."""
        if len(self._rows) < FEW:
            return ()
        return variance_shares(np.array([self._rows[index] for index in sorted(self._rows)]))


def variance_shares(features: Vector) -> tuple[float, ...]:
    """Shares of the largest directions in the variance of features (n, d), at most `SHARES`.

    >>> rows = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> variance_shares(rows)
    (0.9, 0.1)
    """
    centred = features - features.mean(axis=0)
    small = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    values = np.clip(np.linalg.eigvalsh(small)[::-1], 0.0, None)
    total = float(values.sum())
    if not total > 0.0:
        return ()
    shares = [round(float(value) / total, DIGITS) for value in values[:SHARES]]
    return tuple(share for share in shares if share > 0.0)


def chance_beyond(ratio: float, shares: Iterable[float] = ()) -> float:
    """A bound on P(||move|| > ratio * noise), noise being the root mean square of chance moves.

    (||move|| / noise)^2 = sum_i s_i N_i^2 with the shares s_i of variance. By Chernoff it is beyond
    q = ratio^2 with at most min over t of exp(-t q) prod_i (1 - 2 t s_i)^(-1/2); what the shares do
    not tell counts as more of the last. Of unknown shares a single direction is worst beyond 1.54
    (Szekely and Bakirov, Probability Theory and Related Fields 126, 2003): P(|N(0, 1)| > ratio).

    >>> round(chance_beyond(2.0), 4), round(chance_beyond(2.0, [0.05] * 20), 9)
    (0.0455, 9.8e-08)
    """
    square = ratio * ratio
    if square <= 1.54:
        return 1.0
    alone, ordered = math.erfc(ratio / math.sqrt(2.0)), np.array(sorted(shares, reverse=True))
    if not math.isfinite(ratio) or not len(ordered):
        return alone
    times = np.ones(len(ordered))
    times[-1] += max(0.0, 1.0 - float(ordered.sum())) / ordered[-1]

    # every t gives a bound; the best of them is nowhere missed by much
    at = 0.5 / ordered[0] * (1.0 - np.logspace(-9.0, 0.0, 600))
    exponents = -at * square - 0.5 * np.log1p(-2.0 * np.outer(at, ordered)) @ times
    return min(alone, math.exp(float(exponents.min())))
