"""Chance: how likely so good a challenger would be if it were no better, for every distribution.

Two tests, both one-sided and exact at any number of groups, however skewed their differences are:

- right or wrong answers, one item a group: McNemar's test. Given how many groups differ, those won
  are binomial, and their chance is at most 1/2 while the mean is not above zero.
- all else: betting on groups one after another. While the mean of bounded differences is not above
  zero, no bet is expected to grow the capital, so P(it ever reaches 1 / level) <= level (Ville,
  1939; Waudby-Smith and Ramdas, JRSS B 86, 2024). How much is bet follows Voracek and Orabona,
  "STaR-Bets: Sequential Target-Recalculating Bets for Tighter Confidence Intervals" (NeurIPS 2025).

No test that holds for every distribution can do more with few groups: what takes place in one group
of fifty is not seen among sixty in three of ten draws.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc

from rpe_core.evaluation.metrics import Floats
from rpe_core.evaluation.paired import Paired

MCNEMAR, BETTING = "mcnemar", "betting"
_ASSUMED_SQUARE, _ASSUMED_GROUPS = 0.1, 5  # of differences, before any is seen, and its weight
_STEPS = np.linspace(0.0, 1.0, 201)[1:]  # bets that are tried to find how many groups would do


def one_sided_p_value(paired: Paired, level: float) -> tuple[float, str]:
    """The p of a challenger whose bets aim at this level, and the test that found it.

    The larger p of the mean over groups and of the mean over items: whoever must not err in either
    must have both.
    """
    if paired.is_binary and paired.is_ungrouped:
        return mcnemar(paired.means), MCNEMAR
    order = drawing_order(paired.names)
    stakes = paired.stakes()[: 1 if paired.is_even else 2, order]
    return float(1.0 / best_capitals(stakes, level).min()), BETTING


def mcnemar(differences: Floats) -> float:
    """P(as many or more groups won | how many differ) at even chances, of differences -1, 0, 1.

    >>> mcnemar(np.array([1.0, 1, 1, 1, 0, 0]))
    0.0625

    Source: McNemar, Psychometrika 12, 1947, exact as in its binomial form.
    """
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return float(bdtrc(won - 1, won + lost, 0.5)) if won else 1.0


def best_capitals(stakes: Floats, level: float) -> Floats:
    """The largest capital on the way, at least 1, of bets on stakes (..., n_groups) in [-1, 1].

    Of a capital W, sqrt(2 log(1 / (level W)) / (v m)) is bet, all of it at most, with m groups to
    come and a mean square of v so far; and nothing once the target of 1 / level is reached.

    >>> round(float(best_capitals(np.full(100, 0.2), 0.01)), 1) >= 100
    True
    """
    n_groups = stakes.shape[-1]
    capital = np.ones(stakes.shape[:-1])
    best, squares = capital.copy(), np.zeros_like(capital)
    for turn in range(n_groups):
        stake = stakes[..., turn]
        square = (_ASSUMED_SQUARE * _ASSUMED_GROUPS + squares) / (_ASSUMED_GROUPS + turn)
        with np.errstate(divide="ignore"):  # a capital of 0 stays 0
            lacking = np.maximum(-np.log(level * capital), 0.0)
        bet = np.minimum(np.sqrt(2.0 * lacking / (square * (n_groups - turn))), 1.0)
        capital = np.maximum(capital * (1.0 + bet * stake), 0.0)
        best, squares = np.maximum(best, capital), squares + stake**2
    return best


def drawing_order(names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """An order of groups that nobody chose and that no score enters: by the hash of their names."""
    hashed = [sha256(name.encode()).hexdigest() for name in names.tolist()]
    return np.argsort(np.array(hashed, dtype=str), kind="stable").astype(np.int64)


def groups_needed(paired: Paired, level: float) -> int | None:
    """How many groups such as these would be likely to decide; None where none would.

    log(1 / level) by what the best steady bet gains a group: as if the differences seen were all
    that there are, so it is a hope and no promise.

    >>> paired = Paired(np.array(["a", "b"]), np.array([1.0, 0.0]), np.array([1, 1]), 1.0, True)
    >>> groups_needed(paired, 2**-8)
    16
    """
    gains = [_best_gain(stakes) for stakes in paired.stakes()]
    worst = min(gains)
    return int(np.ceil(-np.log(level) / worst - 1e-9)) if worst > 0 else None


def _best_gain(stakes: Floats) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log1p(_STEPS[:, None] * stakes).mean(axis=-1).max())
