"""A measured rate and its exact interval."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import betaincinv

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
    (Clopper and Pearson, Biometrika 26, 1934): quantiles of beta distributions. Of 0 of 0 nothing
    is known.

    >>> rate = measured_rate(1, 20)
    >>> round(rate.low, 4), round(rate.high, 4)
    (0.0013, 0.2487)
    >>> measured_rate(0, 0).low, measured_rate(0, 0).high
    (0.0, 1.0)

    Raises:
        InputError: not 0 <= n_hits <= n.
    """
    if not 0 <= n_hits <= n:
        raise InputError("A rate needs hits between none and all.", expected="0 <= n_hits <= n")
    tail = (1.0 - confidence) / 2
    low = 0.0 if n_hits == 0 else float(betaincinv(n_hits, n - n_hits + 1, tail))
    high = 1.0 if n_hits == n else float(betaincinv(n_hits + 1, n - n_hits, 1.0 - tail))
    return Rate(n_hits, n, low, high)
