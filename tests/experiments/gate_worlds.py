"""Worlds that the gate is asked in: how the scores of challenger and base differ, by group.

A world draws the items of groups of (histories, n_groups); in a null the mean difference is exactly
zero, over groups unless it says over items, whatever the shape of the differences is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RIGHT, SPREAD = 0.7, 0.15  # share of right answers, and how much groups differ in it
DICE = 0.9  # the base's score of a case, as far as the difference leaves room


class Drawn(NamedTuple):
    """Scores of both arms, (histories, n_groups, items), and which of the items there are."""

    ours: np.ndarray
    base: np.ndarray
    is_there: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Items of each group, (histories, n_groups)."""
        return self.is_there.sum(axis=2)

    @property
    def means(self) -> np.ndarray:
        """The mean difference of each group, (histories, n_groups)."""
        return np.where(self.is_there, self.ours - self.base, 0.0).sum(axis=2) / self.sizes


Shape = tuple[int, int]  # histories, groups
Draw = Callable[[np.random.Generator, Shape, int], Drawn]  # the last: how many groups are before


@dataclass(frozen=True)
class World:
    """What is drawn, by which metric it is judged, how many groups there are and come, who asks.

    `n_nightly` of 0 is one test set with a new challenger every night. From night `since` on
    challengers are drawn by `draw`, before by `before`.
    """

    draw: Draw
    n_first: int
    n_nightly: int
    metric: str = "dice"
    since: int = 1
    before: Draw | None = None

    def at(self, night: int) -> Draw:
        """What is drawn this night."""
        return self.draw if night >= self.since or self.before is None else self.before


def cases(points: Sequence[tuple[float, float]], *, gain: float | None = None) -> Draw:
    """Single cases whose differences are `(chance, difference)` points, else a gain.

    The gain makes the mean zero, if it is not given.
    """
    chances, values = np.array([p for p, _ in points]), np.array([d for _, d in points])
    rest = 1.0 - chances.sum()
    gained = -float(chances @ values) / rest if gain is None else gain

    def draw(rng: np.random.Generator, shape: Shape, n_before: int) -> Drawn:
        which = rng.choice(len(values) + 1, size=shape, p=[*chances, rest])
        return one_case(np.append(values, gained)[which])

    return draw


def skewed(scale: float, *, sign: float = -1.0) -> Draw:
    """Single cases of differences scale * (1 - e), e exponential: skewness -2, or 2."""

    def draw(rng: np.random.Generator, shape: Shape, n_before: int) -> Drawn:
        return one_case(-sign * scale * (1.0 - rng.exponential(size=shape)))

    return draw


def bell(mean: float, spread: float) -> Draw:
    """Single cases of normal differences."""

    def draw(rng: np.random.Generator, shape: Shape, n_before: int) -> Drawn:
        return one_case(rng.normal(mean, spread, shape))

    return draw


def one_case(gaps: np.ndarray) -> Drawn:
    """Groups of one case each with these differences, as far as scores of 0 to 1 can differ."""
    gaps = np.clip(gaps, -1.0, 1.0)[..., None]
    base = np.clip(DICE, np.maximum(-gaps, 0.0), 1.0 - np.maximum(gaps, 0.0))
    return Drawn(np.clip(base + gaps, 0.0, 1.0), base, np.ones(gaps.shape, dtype=bool))


def answers(
    effect: float = 0.0,
    *,
    items: int = 3,
    most: int = 0,
    alike: float = 0.0,
    drift: float = 0.0,
    fail: float = 0.0,
) -> Draw:
    """Right or wrong answers in groups that share a difficulty.

    Args:
        effect: how much likelier the challenger is to be right.
        items: of a group, or the fewest where `most` is larger.
        most: the most items of a group; sizes say nothing of the answers.
        alike: share of items that the challenger answers as the base does.
        drift: by how much groups get harder, for a hundred of them.
        fail: share of groups that the challenger fails wholly; the others gain as much.
    """

    def draw(rng: np.random.Generator, shape: Shape, n_before: int) -> Drawn:
        harder = drift * (n_before + np.arange(shape[1])) / 100.0
        right = np.clip(RIGHT + SPREAD * rng.standard_normal(shape) - harder, 0.05, 0.95)
        width = max(items, most)
        base = rng.random((*shape, width)) < right[..., None]
        ours = rng.random(base.shape) < (right + effect)[..., None]
        ours = np.where(rng.random(base.shape) < alike, base, ours)
        if fail:
            # the others keep what is right, and mend of what is wrong what the failed ones lose
            mended = fail * right.mean() / ((1.0 - fail) * (1.0 - right.mean()))
            failed = rng.random(shape) < fail
            ours = np.where(failed[..., None], False, base | (rng.random(base.shape) < mended))
        sizes = rng.integers(items, width + 1, size=shape)
        return Drawn(ours.astype(float), base.astype(float), np.arange(width) < sizes[..., None])

    return draw


def told_by_size(gap: float = 0.15, large: int = 12) -> Draw:
    """Single items are `gap` likelier to be right, groups of twelve less: over items it is nothing.

    One group in thirteen is large, so that items of either kind are equally many.
    """

    def draw(rng: np.random.Generator, shape: Shape, n_before: int) -> Drawn:
        is_large = rng.random(shape) < 1.0 / (large + 1)
        right = np.where(is_large, RIGHT - gap, RIGHT + gap)[..., None]
        base = rng.random((*shape, large)) < RIGHT
        ours = rng.random(base.shape) < right
        sizes = np.where(is_large, large, 1)
        return Drawn(ours.astype(float), base.astype(float), np.arange(large) < sizes[..., None])

    return draw


RARE = cases([(0.02, -0.8)])
HEAVY = cases([(0.05, -0.6)])
NULLS = {
    "Dice: 2 % of cases lose .8, the others gain a little; 60 groups, 5 new each night": World(
        RARE, 60, 5
    ),
    "the same, a new challenger every night on one set of 60": World(RARE, 60, 0),
    "5 % of cases lose .6; one set of 60": World(HEAVY, 60, 0),
    "5 % of cases lose .6; one set of 300": World(HEAVY, 300, 0),
    "skewness -2; one set of 60": World(skewed(0.1), 60, 0),
    "skewness -2; one set of 200": World(skewed(0.1), 200, 0),
    "skewness 2; one set of 60": World(skewed(0.1, sign=1.0), 60, 0),
    "accuracy, 2 % of groups fail wholly; 60 groups, 5 new each night": World(
        answers(fail=0.02), 60, 5, "accuracy"
    ),
    "accuracy, 2 % of groups fail wholly; one set of 60": World(
        answers(fail=0.02), 60, 0, "accuracy"
    ),
    "accuracy, size tells the sign, nothing over items; 60 groups, 5 new each night": World(
        told_by_size(), 60, 5, "accuracy"
    ),
    "accuracy, 98 % of answers alike; 60 groups, 5 new each night": World(
        answers(alike=0.98), 60, 5, "accuracy"
    ),
    "accuracy, groups of 1 to 12 items; 60 groups, 5 new each night": World(
        answers(items=1, most=12), 60, 5, "accuracy"
    ),
    "accuracy, ever harder groups; 60 groups, 5 new each night": World(
        answers(drift=0.03), 60, 5, "accuracy"
    ),
    "accuracy, single items; one set of 300": World(answers(items=1), 300, 0, "accuracy"),
    "accuracy; 40 groups, 5 new each night": World(answers(), 40, 5, "accuracy"),
    "accuracy; 20 groups, 1 new each night": World(answers(), 20, 1, "accuracy"),
    "accuracy; one set of 60": World(answers(), 60, 0, "accuracy"),
    "accuracy; one set of 20": World(answers(), 20, 0, "accuracy"),
}
MERITS = {
    "accuracy .05 better, 40 groups and 5 new each night": World(answers(0.05), 40, 5, "accuracy"),
    "accuracy .10 better, 40 groups and 5 new each night": World(answers(0.10), 40, 5, "accuracy"),
    "accuracy .10 better, groups of 1 to 12, 40 and 5 new each night": World(
        answers(0.10, items=1, most=12), 40, 5, "accuracy"
    ),
    "accuracy .10 better, a new challenger every night on 60": World(
        answers(0.10), 60, 0, "accuracy"
    ),
    "accuracy .10 better from the tenth on, 60 groups": World(
        answers(0.10), 60, 0, "accuracy", since=10, before=answers()
    ),
    "accuracy .20 better from the tenth on, 60 groups": World(
        answers(0.20), 60, 0, "accuracy", since=10, before=answers()
    ),
    "Dice .03 better, spread .08, 60 groups and 5 new each night": World(bell(0.03, 0.08), 60, 5),
    "Dice .10 better, spread .20, 60 groups and 5 new each night": World(bell(0.10, 0.20), 60, 5),
}
HOPES = {  # of one challenger, by how much better it is, for 40, 60, 100 and 300 groups
    "accuracy .05, three items a group": lambda n: World(answers(0.05), n, 0, "accuracy"),
    "accuracy .10, three items a group": lambda n: World(answers(0.10), n, 0, "accuracy"),
    "accuracy .20, three items a group": lambda n: World(answers(0.20), n, 0, "accuracy"),
    "accuracy .10, single items": lambda n: World(answers(0.10, items=1), n, 0, "accuracy"),
    "accuracy .06, single items, 80 % alike, else right": lambda n: World(
        answers(1.0, items=1, alike=0.8), n, 0, "accuracy"
    ),
    "Dice .03, spread .08": lambda n: World(bell(0.03, 0.08), n, 0),
    "Dice .10, spread .20": lambda n: World(bell(0.10, 0.20), n, 0),
}
