"""Spending: what the n-th challenger on one test set may be wrong by.

A test set that is used again gives every null challenger another chance. The n-th is held to
alpha_n = alpha / (n (n + 1)); these sum to alpha over all n, so by the union bound the chance that
any of them ever passes is at most alpha (alpha-spending over a sequence of hypotheses: Foster and
Stine, JRSS B 70, 2008). It holds because challengers are made without labels of the test set.
"""

from __future__ import annotations

from rpe_core.errors import InputError


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
