"""The gate over 1,000 histories of 200 nights: how often noise is promoted, how often merit.

    python -m tests.experiments.gate_histories [--histories 1000] [--nights 200] [--seed 0]
        [--only nulls search hopes merits] [--keep]

A history ends with its first promotion. The chance and the wealth of all histories are found at
once, by the gate's own arithmetic; wherever a guard would license, `compare`, `put_to_test` and
`decide` of the gate itself give the verdict. The search looks for the two-point and three-point
differences of mean zero that are promoted most often, and asks the worst again with another seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import bdtrc, stdtr

from rpe_core.evaluation import betting, spending
from rpe_core.evaluation.chance import best_capitals, drawing_order
from rpe_core.evaluation.gates import GateHistory, GatePolicy, decide, put_to_test
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import Items, make_items
from rpe_core.weighting.binomial import Rate, measured_rate
from tests.experiments.gate_worlds import HOPES, MERITS, NULLS, Drawn, World, cases
from tests.experiments.result_files import ResultTable, markdown, rate_cell

ALPHA = 1.0 - GatePolicy("accuracy").confidence
GROUPS = (40, 60, 100, 300)
NIGHTS = (1, 10, 30, 200)
NULL_PARTS = ("nulls", "search")
WHOLE = {"histories": 1000, "nights": 200, "seed": 0}  # what is kept as a result
HEADS = {
    "nulls": [
        "no better than the base",
        "histories with a promotion",
        "with a bare t-test at .025",
    ],
    "search": ["nulls of two or three points, searched", "histories with a promotion"],
    "hopes": ["one challenger, better by", *(f"{n} groups" for n in GROUPS)],
    "merits": ["better than the base, every night", *(f"by night {n}" for n in NIGHTS)],
}
TWO_DIGITS = {
    "nulls": HEADS["nulls"][2:],
    "hopes": HEADS["hopes"][1:],
    "merits": HEADS["merits"][1:],
}
Row = tuple[Any, ...]  # the name of a world, and a cell for each other column
LOSSES = (-1.0, -0.6, -0.3, -0.1)
CHANCES = (0.005, 0.02, 0.05, 0.1, 0.3, 0.5)
TIED = (0.0, 0.9)
SEARCHED = ((60, 0), (300, 0), (60, 5))  # groups first, and new each night


@dataclass(frozen=True)
class Outcome:
    """The night of the first promotion of each history (0: never), and of the first bare win."""

    promoted: np.ndarray
    unguarded: np.ndarray

    def by(self, night: int) -> Rate:
        """How many histories promoted by this night."""
        return measured_rate(int(((self.promoted > 0) & (self.promoted <= night)).sum()), self.n)

    @property
    def n(self) -> int:
        """Histories."""
        return len(self.promoted)


class Histories:
    """What was answered so far in many histories of one world, and what bets on it are worth."""

    def __init__(self, world: World, rng: np.random.Generator, n: int) -> None:
        self.world, self.rng, self.n = world, rng, n
        self.policy = GatePolicy(world.metric)
        self.names = np.array([f"g{i:05}" for i in range(world.n_first + 200 * world.n_nightly)])
        self.parts: list[Drawn] = []
        self.n_seen = 0
        self.logs = np.zeros((n, betting.MEANS, len(betting.BETS)))

    def ask(self, night: int, open_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether the gate promotes in each open history, and whether a bare test would."""
        world, before = self.world, self.n_seen
        n = world.n_first + world.n_nightly * (night - 1)
        if world.n_nightly or not self.parts:
            fresh = world.at(night)(self.rng, (self.n, n - before), before)
            self.parts.append(fresh)
        else:  # the same test set under another challenger
            self.parts = [world.at(night)(self.rng, (self.n, n), 0)]
        means = np.concatenate([part.means for part in self.parts], axis=1)
        sizes = np.concatenate([part.sizes for part in self.parts], axis=1)
        stakes = np.stack([means, means * sizes / sizes.max(axis=1, keepdims=True)], axis=1)
        gains = betting.log_capitals(stakes[:, :, before:n])
        level = spending.level(night, self.policy.budget)
        p = self._chances(stakes, sizes, level)
        is_rich = (n > before) & (_poorer(self.logs + gains) >= 1.0 / self.policy.budget)
        licensed = open_ & ((p <= level * (1 + 1e-9)) | is_rich)
        past = GateHistory(night - 1, frozenset(self.names[:before].tolist()))
        verdicts = np.zeros(self.n, dtype=bool)
        for row in np.flatnonzero(licensed):
            verdicts[row] = self._verdict(
                row, GateHistory(past.n_tried, past.groups, self.logs[row])
            )
        self.logs, self.n_seen = self.logs + gains, n
        return verdicts, _t_chances(means) <= ALPHA / 2

    def _chances(self, stakes: np.ndarray, sizes: np.ndarray, level: float) -> np.ndarray:
        """The p of every history, as `chance` finds it of one."""
        if self.world.metric == "accuracy" and (sizes == 1).all():
            won, lost = ((sign * stakes[:, 0] > 0).sum(axis=1) for sign in (1, -1))
            return np.where(won > 0, bdtrc(won - 1, np.maximum(won + lost, 1), 0.5), 1.0)
        is_even = (sizes == sizes[:, :1]).all()
        order = drawing_order(self.names[: sizes.shape[1]])
        capitals = best_capitals(stakes[:, : 1 if is_even else 2, order], level)
        return 1.0 / capitals.min(axis=1)

    def _verdict(self, row: int, past: GateHistory) -> bool:
        parts = [[one[row][part.is_there[row]] for one in part[:2]] for part in self.parts]
        ours, base = (np.concatenate(scores) for scores in zip(*parts, strict=True))
        counts = np.concatenate([part.sizes[row] for part in self.parts])
        groups = np.repeat(self.names[: len(counts)], counts)
        mine, theirs = (self._items(scores, groups) for scores in (ours, base))
        policy = self.policy
        comparison = compare(mine, theirs, policy.metric, confidence=policy.confidence)
        return decide(policy, put_to_test(policy, comparison, mine, theirs, past), None).is_promoted

    def _items(self, scores: np.ndarray, groups: np.ndarray) -> Items:
        if self.world.metric == "accuracy":
            return make_items(1 - scores.astype(int), np.zeros(len(scores), dtype=int), groups)
        return Items({self.world.metric: scores}, groups)


def simulate(world: World, *, histories: int, nights: int, seed: int) -> Outcome:
    """Ask the gate every night."""
    asked = Histories(world, np.random.default_rng(seed), histories)
    promoted, unguarded = np.zeros((2, histories), dtype=int)
    for night in range(1, nights + 1):
        verdicts, bare = asked.ask(night, promoted == 0)
        promoted[verdicts] = night
        unguarded[(unguarded == 0) & bare] = night
    return Outcome(promoted, unguarded)


def search(*, histories: int, nights: int, seed: int) -> tuple[str, Outcome, int]:
    """The null of two or three points that is promoted most often, and how many were tried."""
    worst, n_tried = ("", 0.0, None), 0
    few = max(histories // 5, 50)
    for n_first, n_nightly in SEARCHED:
        for chance in CHANCES:
            for loss in LOSSES:
                for tied in TIED:
                    if chance + tied >= 1.0:
                        continue
                    points = [(chance, loss), (tied, 0.0)] if tied else [(chance, loss)]
                    if -chance * loss / (1.0 - chance - tied) > 1.0:
                        continue  # no gain makes up for it
                    world, n_tried = World(cases(points), n_first, n_nightly), n_tried + 1
                    rate = simulate(world, histories=few, nights=nights, seed=seed).by(nights)
                    if rate.ratio >= worst[1]:
                        name = f"{chance:.1%} of cases lose {-loss:g}, {tied:.0%} are ties"
                        more = f"{n_first} groups, {n_nightly} new each night"
                        worst = (f"{name}; {more}", rate.ratio, world)
    assert worst[2] is not None
    return worst[0], simulate(worst[2], histories=histories, nights=nights, seed=seed + 1), n_tried


def _poorer(logs: np.ndarray) -> np.ndarray:
    return np.exp(logs).mean(axis=-1).min(axis=-1)


def _t_chances(means: np.ndarray) -> np.ndarray:
    """One-sided p of a t-test over groups: what a bare interval goes by."""
    n = means.shape[1]
    error = means.std(axis=1, ddof=1) / np.sqrt(n)
    certain = np.where(means.mean(axis=1) > 0, np.inf, -np.inf)  # every group alike
    t = np.divide(means.mean(axis=1), error, out=certain, where=error > 1e-12)
    return stdtr(n - 1, -t)


def measure(part: str, *, histories: int, nights: int, seed: int) -> Iterator[Row]:
    """The rows of one table, each as it is found."""
    how = {"histories": histories, "nights": nights, "seed": seed}
    if part == "search":
        name, found, n_tried = search(**how)
        yield f"the worst of {n_tried}: {name}", rate_cell(found.by(nights))
    if part == "hopes":
        for name, make in HOPES.items():
            rates = [simulate(make(n), **{**how, "nights": 1}).by(1).ratio for n in GROUPS]
            yield name, *rates
    for name, world in {"nulls": NULLS, "merits": MERITS}.get(part, {}).items():
        found = simulate(world, **how)
        if part == "nulls":
            yield name, rate_cell(found.by(nights)), float((found.unguarded > 0).mean())
        else:
            yield name, *(found.by(n).ratio for n in NIGHTS)


def table(part: str, rows: Iterable[Row] = ()) -> ResultTable:
    """The rows of one table under their columns."""
    styles = dict.fromkeys(TWO_DIGITS.get(part, ()), "two_digits")
    return ResultTable(tuple(HEADS[part]), tuple(rows), styles)


def highest_end(part: str, rows: Sequence[Row]) -> float:
    """The highest rate that the interval of a null allows; 0 where the rows are of no null."""
    return max((row[1]["high"] for row in rows), default=0.0) if part in NULL_PARTS else 0.0


def main() -> int:
    """Print the tables; 1 if the interval of some null reaches beyond alpha."""
    parser = argparse.ArgumentParser(prog="python -m tests.experiments.gate_histories")
    for name, default in WHOLE.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", nargs="+", choices=HEADS, default=tuple(HEADS))
    parser.add_argument("--keep", action="store_true", help="as result; the pages are written anew")
    asked = parser.parse_args()
    how = {name: getattr(asked, name) for name in WHOLE}
    if asked.keep and how != WHOLE:
        parser.error(f"only the whole is kept: {WHOLE}")
    tables = {}
    for part in asked.only:
        print(markdown(table(part)), flush=True)
        rows = []
        for row in measure(part, **how):
            rows.append(row)
            print(markdown(table(part, [row])).splitlines()[-1], flush=True)
        tables[part] = table(part, rows)
        print()
    if asked.keep:
        # the protocols name this file
        from tests.experiments.keep import keep_and_write

        keep_and_write("gate_histories", tables, ["python -m tests.experiments.gate_histories"])
    return int(max(highest_end(part, found.rows) for part, found in tables.items()) > ALPHA)


if __name__ == "__main__":
    sys.exit(main())
