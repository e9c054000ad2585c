"""Betting on newly arrived items: evidence that may be looked at every night, by an e-process.

Capital of one starts with every bet lambda_j. A group g (a patient) shows its mean paired
difference d_g in [-1, 1] and multiplies the capital by 1 + lambda_j d_g. While no challenger is
better than what it is held against, E[d_g | past] <= 0 and no bet is expected to grow; the mean
over the bets is a non-negative supermartingale, so P(it ever reaches 1 / alpha) <= alpha (Ville,
1939), whenever one looks and however often.

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B
86, 2024), the diversified Kelly bettor: W = 1/J sum_j prod_g (1 + lambda_j d_g); bets on paired
differences as in Shekhar and Ramdas, "Nonparametric two-sample testing by betting" (IEEE
Transactions on Information Theory 70, 2024). Constant bets do not ask for the order of groups that
arrive together. What is tested is the mean over groups; the bootstrap takes the mean over items.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rpe_core.evaluation.bootstrap import require_paired
from rpe_core.evaluation.metrics import Floats, Items, find_metric

BETS = np.arange(1, 10) / 10.0  # lambda_j, a ninth of the capital on each
MAX_WEALTH = 1e9  # told in place of more: infinity never reaches a store


def group_differences(
    challenger: Items, baseline: Items, metric: str
) -> tuple[npt.NDArray[np.str_], Floats]:
    """Names of the groups, ascending, and how much better the challenger is in each, (n_groups,).

    None for a metric that cannot be bet on: it is no mean of item scores between 0 and 1.

    Raises:
        ShapeMismatch: the arms did not answer the same items in the same order.
        UnknownName: no such metric.
    """
    require_paired(challenger, baseline)
    found = find_metric(metric)
    if not found.is_unit_mean:
        return np.array([], dtype=str), np.empty(0)
    sign = 1.0 if found.is_higher_better else -1.0
    gaps = sign * (found.statistics(challenger)[:, 0] - found.statistics(baseline)[:, 0])
    codes = challenger.group_codes
    return np.unique(challenger.groups.astype(str)), np.bincount(codes, gaps) / np.bincount(codes)


def log_capitals(differences: Floats) -> Floats:
    """What groups of differences (..., n_groups) make of each bet, as logarithms (..., n_bets).

    >>> np.exp(log_capitals(np.array([1.0, -1.0])))[[0, 8]].round(2)
    array([0.99, 0.19])
    """
    return np.asarray(np.log1p(differences[..., None] * BETS).sum(axis=-2), dtype=np.float64)


def wealth(logs: Floats) -> float:
    """The mean over the bets: one at the start, and while nothing is learnt.

    >>> wealth(np.zeros(9))
    1.0
    """
    top = float(np.max(logs))
    told = top + math.log(float(np.exp(logs - top).mean()))
    return math.exp(told) if told < math.log(MAX_WEALTH) else MAX_WEALTH
