"""Change: whether a score, or a representation, differs between two times by more than chance.

What is watched every night must not cry wolf: each look is held to a level that is a share of what
all looks of a night may be wrong by, `NIGHTLY_LEVEL`, so that a calm night raises a false alarm of
one kind with at most that chance, however many targets or sources there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from rpe_core.errors import InputError
from rpe_core.evaluation.gates import MIN_GROUPS
from rpe_core.evaluation.metrics import Floats, Items, find_metric
from rpe_core.spectrum import chance_beyond

NIGHTLY_LEVEL = 1e-3  # of false alarms of one kind in a calm night: thirty of them give 3 %
ROUNDING = 1e-12  # of sums of item scores: no difference
MIN_NEW_GROUPS = 10  # that must lie between two means before a move of theirs is judged


@dataclass(frozen=True)
class Change:
    """A score now, the score then, and the interval of now minus then; p is of so deep a fall."""

    metric: str
    value: float
    former_value: float
    difference: float
    ci_low: float
    ci_high: float
    confidence: float
    p_value: float
    n_items: int
    n_groups: int
    n_former_items: int
    n_former_groups: int
    result: str  # worse, steady, or too_few to tell


def change_between(now: Items, then: Items, metric: str, *, level: float) -> Change:
    """Now minus then by group: paired where both hold a group, two samples where only one does.

    The error is the delete-one-group jackknife over the groups of either; a group of both leaves
    both at once, so what the two share cancels: all of it where the items are the same, nothing
    where they are others. `worse` is an interval of confidence 1 - 2 level wholly on the bad side,
    which chance alone makes with at most `level`; t has the degrees of freedom of the smaller side.

    >>> right = Items({"correct": np.array([1] * 30)}, np.arange(30))
    >>> wrong = Items({"correct": np.array([0, 1] * 15)}, np.arange(30))
    >>> change_between(wrong, right, "accuracy", level=0.001).result
    'worse'

    Raises:
        UnknownName: no such metric.
        InputError: a level outside (0, 0.5).
    """
    if not 0.0 < level < 0.5:
        raise InputError("a level must lie between 0 and 0.5.", expected="for example 0.001")
    metric_used = find_metric(metric)
    ours, theirs = _sums(now, then, metric)
    gap, spread = jackknife_difference(ours, theirs, metric_used.from_sums)
    difference, error = float(gap), float(spread)
    freedom = min(now.n_groups, then.n_groups) - 1
    reach = float(stdtrit(freedom, 1.0 - level)) * error if freedom and error > 0 else 0.0
    fall = -difference if metric_used.is_higher_better else difference
    result = "worse" if fall > max(reach, ROUNDING) else "steady"
    return Change(
        metric=metric,
        value=metric_used.value(now),
        former_value=metric_used.value(then),
        difference=difference,
        ci_low=difference - reach,
        ci_high=difference + reach,
        confidence=1.0 - 2.0 * level,
        p_value=_chance(fall, error, freedom),
        n_items=now.n_items,
        n_groups=now.n_groups,
        n_former_items=then.n_items,
        n_former_groups=then.n_groups,
        result=result if min(now.n_groups, then.n_groups) >= MIN_GROUPS else "too_few",
    )


@dataclass(frozen=True)
class Move:
    """How far a mean moved, the distance that chance makes, and a bound on the chance of more."""

    distance: float
    noise: float
    p_value: float
    result: str  # moved, steady, or too_few to tell


def judge_move(
    distance: float, noise: float, *, shares: Sequence[float], n_new_groups: int, level: float
) -> Move:
    """Whether a move of `distance` is beyond what chance makes; see `chance_beyond` for `shares`.

    >>> judge_move(3.0, 1.0, shares=(), n_new_groups=40, level=0.001).result
    'steady'
    >>> judge_move(3.0, 1.0, shares=(0.1,) * 10, n_new_groups=40, level=0.001).result
    'moved'
    """
    ratio = distance / noise if noise > 0 else math.inf if distance > 0 else 0.0
    chance = chance_beyond(ratio, shares)
    verdict = "moved" if chance <= level else "steady"
    return Move(distance, noise, chance, verdict if n_new_groups >= MIN_NEW_GROUPS else "too_few")


def jackknife_difference(
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


def _sums(now: Items, then: Items, metric: str) -> tuple[Floats, Floats]:
    """The metric's statistics by group of either, (n_groups, m) each; zeros where one has none."""
    shared = sorted(set(now.statistics) & set(then.statistics))
    both = Items(
        {name: np.concatenate([now[name], then[name]]) for name in shared},
        np.concatenate([now.groups.astype(str), then.groups.astype(str)]),
    )
    statistics, codes = find_metric(metric).statistics(both), both.group_codes
    by_group = []
    for part in (slice(None, now.n_items), slice(now.n_items, None)):
        sums = np.zeros((both.n_groups, statistics.shape[1]))
        np.add.at(sums, codes[part], statistics[part])
        by_group.append(sums)
    return by_group[0], by_group[1]


def _chance(fall: float, error: float, freedom: int) -> float:
    if not error > 0:  # every group alike
        return 0.0 if fall > ROUNDING else 1.0
    return float(stdtr(freedom, -fall / error)) if freedom else 1.0
