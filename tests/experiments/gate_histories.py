"""The gate over 1,000 histories of 200 nights: how often noise is promoted, how often merit.

    python -m tests.experiments.gate_histories [--histories 1000] [--nights 200] [--seed 0]

Items are right or wrong; a group (patient) of items has a difficulty that both arms share. A
history ends with its first promotion. The p and the wealth of all histories are found at once, by
the gate's own arithmetic; wherever a guard would vouch, `compare`, `put_to_test` and `decide` of
the gate itself give the verdict.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np

from rpe_core.evaluation import betting, spending
from rpe_core.evaluation.gates import GatePolicy, Past, decide, put_to_test
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import Items, make_items
from rpe_core.weighting.binomial import Rate, measured_rate

POLICY = GatePolicy("accuracy")
ALPHA = 1.0 - POLICY.confidence
ITEMS = 3  # of a group
RIGHT, SPREAD = 0.7, 0.15  # share of right answers, and how much groups differ in it


@dataclass(frozen=True)
class World:
    """What happens every night: how many groups there are first, how many come, who asks.

    `effect` is how much likelier a challenger is to be right, from night `since` on; `alike` is the
    share of items that it answers as the base did, like an adapter that changes little.
    """

    n_first: int
    n_nightly: int  # 0: one test set, and a new challenger every night
    effect: float = 0.0
    since: int = 1
    alike: float = 0.0


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


def simulate(world: World, *, histories: int, nights: int, seed: int) -> Outcome:
    """Ask the gate every night."""
    rng = np.random.default_rng(seed)
    n_groups = world.n_first + world.n_nightly * nights
    hard = np.clip(RIGHT + SPREAD * rng.standard_normal((histories, n_groups)), 0.05, 0.95)
    base = rng.random((histories, n_groups, ITEMS)) < hard[..., None]
    ours = np.empty_like(base)
    promoted, unguarded = np.zeros((2, histories), dtype=int)
    logs = np.zeros((histories, len(betting.BETS)))
    n_seen = 0
    for night in range(1, nights + 1):
        n = world.n_first + world.n_nightly * (night - 1)
        better = hard + (world.effect if night >= world.since else 0.0)
        fresh = slice(n_seen if world.n_nightly else 0, n)
        shape = (histories, fresh.stop - fresh.start, ITEMS)
        own = rng.random(shape) < better[:, fresh, None]
        ours[:, fresh] = np.where(rng.random(shape) < world.alike, base[:, fresh], own)
        gaps = ours[:, n_seen:n].mean(axis=2) - base[:, n_seen:n].mean(axis=2)
        gains = betting.log_capitals(gaps)
        p = spending.p_values(_sums(ours[:, :n]), _sums(base[:, :n]), _share)
        unguarded[(unguarded == 0) & (p <= ALPHA / 2)] = night
        is_rich = (n > n_seen) & (_wealth(logs + gains) >= 1.0 / POLICY.budget)
        is_vouched = (p <= spending.level(night, POLICY.budget)) | is_rich
        for row in np.flatnonzero(is_vouched & (promoted == 0)):
            past = Past(night - 1, frozenset(_names(n_seen)), logs[row])
            if _is_promoted(ours[row, :n], base[row, :n], past):
                promoted[row] = night
        logs, n_seen = logs + gains, n
    return Outcome(promoted, unguarded)


def _sums(right: np.ndarray) -> np.ndarray:
    hits = right.sum(axis=2, dtype=float)
    return np.stack([hits, np.full_like(hits, ITEMS)], axis=-1)


def _share(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def _wealth(logs: np.ndarray) -> np.ndarray:
    return np.exp(logs).mean(axis=-1)


def _names(n: int) -> list[str]:
    return [f"g{i:05}" for i in range(n)]


def _is_promoted(ours: np.ndarray, base: np.ndarray, past: Past) -> bool:
    groups = np.repeat(_names(len(ours)), ITEMS)
    mine, theirs = (_items(right, groups) for right in (ours, base))
    comparison = compare(mine, theirs, "accuracy", confidence=POLICY.confidence)
    return decide(POLICY, put_to_test(POLICY, comparison, mine, theirs, past), None).is_promoted


def _items(right: np.ndarray, groups: np.ndarray) -> Items:
    return make_items(np.where(right.ravel(), 0, 1), np.zeros(right.size, dtype=int), groups)


NULLS = {
    "no better, asked every night: 40 groups, 5 new each night": World(40, 5),
    "the same from 20 groups, 1 new each night": World(20, 1),
    "a new challenger every night on one test set of 60 groups": World(60, 0),
    "the same of 20 groups": World(20, 0),
}
MERITS = {
    "0.05 better, 40 groups and 5 new each night": World(40, 5, effect=0.05),
    "0.10 better, 40 groups and 5 new each night": World(40, 5, effect=0.10),
    "0.10 better from the 1st challenger on, 60 groups": World(60, 0, effect=0.10),
    "0.10 better from the 10th on, 60 groups": World(60, 0, effect=0.10, since=10),
    "0.20 better from the 10th on, 60 groups": World(60, 0, effect=0.20, since=10),
}


def main() -> int:
    """Print both tables; 1 if some null was promoted in more than alpha of the histories."""
    parser = argparse.ArgumentParser(prog="python -m tests.experiments.gate_histories")
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--nights", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = vars(parser.parse_args())
    nights, worst = asked["nights"], 0.0
    print("| null | histories with a promotion | a bare interval |\n|---|---|---|")
    for name, world in NULLS.items():
        found = simulate(world, **asked)
        rate, bare = found.by(nights), measured_rate(int((found.unguarded > 0).sum()), found.n)
        worst = max(worst, rate.ratio)
        print(f"| {name} | {told(rate)} | {bare.ratio:.2f} |", flush=True)
    shown = [night for night in (1, 10, 30, nights) if night <= nights]
    print(f"\n| challenger | {' | '.join(f'by night {n}' for n in shown)} |")
    print("|---" * (len(shown) + 1) + "|")
    for name, world in MERITS.items():
        found = simulate(world, **asked)
        rates = " | ".join(told(found.by(night)) for night in shown)
        print(f"| {name} | {rates} |", flush=True)
    return int(worst > ALPHA)


def told(rate: Rate) -> str:
    """The share with its exact 95 % interval."""
    return f"{rate.ratio:.3f} [{rate.low:.3f}, {rate.high:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
