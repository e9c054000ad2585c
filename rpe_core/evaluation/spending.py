"""Spending: what the n-th challenger on one test set may be wrong by, and the test that it faces.

A test set that is used again gives every null challenger another chance. The n-th is held to
alpha_n = alpha / (n (n + 1)); these sum to alpha over all n, so by the union bound the chance that
any of them ever passes is at most alpha (alpha-spending over a sequence of hypotheses: Foster and
Stine, JRSS B 70, 2008). It holds because challengers are made without labels of the test set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import stdtr

from rpe_core.errors import InputError
from rpe_core.evaluation.bootstrap import group_sums, require_paired
from rpe_core.evaluation.metrics import Floats, Items, find_metric


def level(n_tried: int, alpha: float) -> float:
    """alpha_n of the n-th challenger, the first being 1; after it alpha / (n + 1) is left.

    >>> level(1, 0.025), round(sum(level(n, 0.025) for n in range(1, 100)), 5)
    (0.0125, 0.02475)

    Raises:
        InputError: no challenger, or an alpha outside (0, 1).
    """
    if n_tried < 1 or not 0.0 < alpha < 1.0:
        raise InputError("a level is for a challenger.", expected="n_tried >= 1, 0 < alpha < 1")
    return alpha / (n_tried * (n_tried + 1))


def chance(challenger: Items, baseline: Items, metric: str) -> float:
    """How likely so good a challenger would be if it were no better: one-sided, by `p_values`.

    Raises:
        ShapeMismatch: the arms did not answer the same items in the same order.
        UnknownName: no such metric.
    """
    require_paired(challenger, baseline)
    found = find_metric(metric)
    ours, theirs = group_sums(challenger, found), group_sums(baseline, found)
    sign = 1.0 if found.is_higher_better else -1.0
    return float(p_values(ours, theirs, lambda sums: sign * found.from_sums(sums)))


def p_values(ours: Floats, theirs: Floats, score: Callable[[Floats], Floats]) -> Floats:
    """One-sided p of score(ours) > score(theirs) from sums by group (..., n_groups, m), (...).

    t = difference / se with n_groups - 1 degrees of freedom; se is the delete-one-group jackknife
    (Tukey, 1958), se^2 = (G - 1) / G sum_g (diff_(g) - mean)^2. Percentiles of resamples would be
    far too sure in such tails where few items differ.

    >>> ours, theirs = np.ones((4, 2)), np.ones((4, 2))
    >>> ours[:, 0], theirs[:, 0] = [1, 1, 1, 0], 0
    >>> float(p_values(ours, theirs, lambda sums: sums[..., 0] / sums[..., 1]).round(4))
    0.0288
    """
    difference, error = jackknifed(ours, theirs, score)
    certain = np.where(difference > 0, np.inf, -np.inf)  # every group alike
    t = np.divide(difference, error, out=certain, where=error > 0)
    return np.asarray(stdtr(ours.shape[-2] - 1, -t), dtype=np.float64)


def jackknifed(
    ours: Floats, theirs: Floats, score: Callable[[Floats], Floats]
) -> tuple[Floats, Floats]:
    """score(ours) - score(theirs) and its standard error, from sums by group (..., n_groups, m).

    A group that only one of them has is zeros in the other: then their samples differ, and the
    error takes in what they share and what they do not.
    """

    def gap(mine: Floats, other: Floats) -> Floats:
        return score(mine) - score(other)

    n_groups = ours.shape[-2]
    all_ours, all_theirs = (sums.sum(axis=-2, keepdims=True) for sums in (ours, theirs))
    left_out = gap(all_ours - ours, all_theirs - theirs)
    spread = np.square(left_out - left_out.mean(axis=-1, keepdims=True)).sum(axis=-1)
    error = np.sqrt((n_groups - 1) / n_groups * spread)
    return gap(all_ours, all_theirs)[..., 0], np.asarray(error, dtype=np.float64)
