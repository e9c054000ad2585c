"""A measured rate and its exact interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rpe_core.errors import InputError


@dataclass(frozen=True)
class Rate:
    """n_hits of n, with the exact (Clopper-Pearson) interval of the rate behind it."""

    n_hits: int
    n: int
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """The share of hits; 0 of 0 is 0."""
        return self.n_hits / self.n if self.n else 0.0


def measured_rate(n_hits: int, n: int, *, confidence: float = 0.95) -> Rate:
    """The rate with its Clopper-Pearson interval: what n_hits or more, or less, would still allow.

    low solves P(X >= n_hits | low) = (1 - confidence) / 2, high the same for X <= n_hits
    (Clopper and Pearson, 1934).

    >>> rate = measured_rate(1, 20)
    >>> round(rate.low, 4), round(rate.high, 4)
    (0.0013, 0.2487)

    Raises:
        InputError: not 0 <= n_hits <= n.
    """
    if not 0 <= n_hits <= n:
        raise InputError("A rate needs hits between none and all.", expected="0 <= n_hits <= n")
    tail = (1.0 - confidence) / 2
    low = 0.0 if n_hits == 0 else _solve(lambda p: 1 - _at_most(n_hits - 1, n, p) >= tail)
    high = 1.0 if n_hits == n else _solve(lambda p: _at_most(n_hits, n, p) <= tail)
    return Rate(n_hits, n, low, high)


def _solve(is_beyond: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if is_beyond(middle):
            high = middle
        else:
            low = middle
    return high


def _at_most(hits: int, n: int, p: float) -> float:
    """P(X <= hits) of a binomial, summed in logarithms: n may be thousands."""
    if p <= 0.0 or p >= 1.0:
        return 1.0 if p <= 0.0 else float(hits >= n)
    logs = [
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(p)
        + (n - i) * math.log1p(-p)
        for i in range(hits + 1)
    ]
    return math.fsum(math.exp(value) for value in logs)
