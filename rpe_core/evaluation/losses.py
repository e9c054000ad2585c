"""Losses: in how many groups a challenger is much worse, and how many that may be elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpe_core.errors import InputError
from rpe_core.evaluation.paired import Paired
from rpe_core.weighting.binomial import measured_rate

SHOWN_SIZE = 0.3  # of what the metric can differ by, where the policy names no size
_ROUNDING = 1e-9  # of a difference that is exactly the size


@dataclass(frozen=True)
class MaxLoss:
    """The share of groups that may lose more than `size`, in the unit of the metric.

    Raises:
        InputError: a share outside (0, 1) or a size that is not above 0.
    """

    share: float
    size: float

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise InputError("the share of max_loss must lie between 0 and 1.", expected="0.02")
        if not 0.0 < self.size < np.inf:
            raise InputError("the size of max_loss must be above 0.", expected="for example 0.3")


@dataclass(frozen=True)
class Losses:
    """`n_lost` of `n_groups` lost more than `size`; `upper` bounds their share in all groups."""

    n_lost: int
    n_groups: int
    size: float
    upper: float

    def __str__(self) -> str:
        return (
            f"{self.n_lost} of {self.n_groups} groups lost more than {self.size:g}:"
            f" up to {self.upper:.1%} may"
        )


def count_losses(paired: Paired, size: float, *, confidence: float) -> Losses:
    """The groups that lost more than `size`, and the exact one-sided bound of their share.

    Source: Clopper and Pearson, Biometrika 26, 1934.

    >>> means = np.repeat([0.0, -0.5], [57, 3])
    >>> paired = Paired(np.arange(60).astype(str), means, np.ones(60, dtype=int), 1.0, False)
    >>> str(count_losses(paired, 0.3, confidence=0.95))
    '3 of 60 groups lost more than 0.3: up to 12.4% may'
    """
    n_groups = len(paired.means)
    n_lost = int((paired.means < -size - _ROUNDING).sum())
    upper = measured_rate(n_lost, n_groups, confidence=2.0 * confidence - 1.0).high
    return Losses(n_lost, n_groups, size, upper)


def groups_without_loss(limit: MaxLoss, *, confidence: float) -> int:
    """How many groups, none of which loses so much, show that the share is within the limit.

    >>> groups_without_loss(MaxLoss(0.02, 0.3), confidence=0.95)
    149
    """
    return int(np.ceil(np.log1p(-confidence) / np.log1p(-limit.share)))
