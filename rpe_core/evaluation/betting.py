"""Betting on newly arrived groups: evidence that may be looked at every night, by an e-process.

Capital of one starts with every bet lambda_j. A group g (a patient) shows its mean paired
difference d_g in [-1, 1] and multiplies the capital by 1 + lambda_j d_g. While no challenger is
better than what it is held against, E[d_g | past] <= 0 and no bet is expected to grow; the mean
over the bets is a non-negative supermartingale, so P(it ever reaches 1 / alpha) <= alpha (Ville,
1939), whenever one looks, however often, and whichever challenger each night brings.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B
86, 2024), the diversified Kelly bettor: W = 1/J sum_j prod_g (1 + lambda_j d_g); bets on paired
differences as in Shekhar and Ramdas, "Nonparametric two-sample testing by betting" (IEEE
Transactions on Information Theory 70, 2024). Constant bets do not ask for the order of groups that
arrive together. Bets on the mean over items are kept beside those on the mean over groups, and the
poorer of the two counts.
"""

from __future__ import annotations

import math

import numpy as np

from rpe_core.evaluation.metrics import Floats

BETS = np.arange(1, 10) / 10.0  # lambda_j, a ninth of the capital on each
MEANS = 2  # over groups and over items
MAX_WEALTH = 1e9  # told in place of more: infinity never reaches a store


def log_capitals(stakes: Floats) -> Floats:
    """What stakes (..., n_groups) make of each bet, as logarithms (..., n_bets).

    >>> np.exp(log_capitals(np.array([1.0, -1.0])))[[0, 8]].round(2)
    array([0.99, 0.19])
    """
    return np.asarray(np.log1p(stakes[..., None] * BETS).sum(axis=-2), dtype=np.float64)


def wealth(logs: Floats) -> float:
    """The mean over the bets, of the poorer of the two means; one while nothing is learnt.

    >>> wealth(np.zeros((2, 9)))
    1.0
    """
    tops = np.max(logs, axis=-1, keepdims=True)
    log_wealth = float((tops[..., 0] + np.log(np.exp(logs - tops).mean(axis=-1))).min())
    return math.exp(log_wealth) if log_wealth < math.log(MAX_WEALTH) else MAX_WEALTH
