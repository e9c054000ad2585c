"""The first pass of many targets at once: a matrix product per block of rows, with its bounds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rpe_core.distance import IntVector, Matrix, Vector
from rpe_core.one_thread import one_thread
from rpe_core.retrieval.compact_rows import CompactRows, Frame

Floats = npt.NDArray[np.float32]

TARGETS = 1024  # targets of one product; more are cut
ROWS = 4096  # rows of one product
_LARGEST = 1e15  # of a scaled length; beyond, a square would leave single precision
_ROUNDING = 2.0**-24
_FLOOR = 1e-36  # what underflow may take from a squared distance in single precision
_SLACK = 1.0 + 1e-9  # more than d roundings of the exact distances that come after
_LARGEST_SCORE = np.finfo(np.float32).max


class CompactBlock(NamedTuple):
    """Up to ROWS compact rows; `hidden` lists those that do not count, from 0 in the block."""

    start: int
    rows: CompactRows
    frame: Frame
    hidden: IntVector


class Pairs(NamedTuple):
    """Pairs (target, row) and between which distances they lie, in the unit of z."""

    targets: IntVector
    rows: IntVector
    lows: Vector
    highs: Vector

    def at(self, places: IntVector) -> Pairs:
        """The pairs at these places."""
        return Pairs(self.targets[places], self.rows[places], self.lows[places], self.highs[places])


@dataclass(frozen=True, eq=False)
class View:
    """Targets t (m, d) in a frame: (-2 t, 1) as weights, ||t||^2, and whether t can be coded."""

    unit: float
    weights: Floats
    squares: Vector
    is_coded: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, targets: Matrix, frame: Frame) -> View:
        """The targets in this frame; one that is too far away for single precision is zero."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            t = (targets - frame.center) / frame.unit
            is_coded = np.linalg.norm(t, axis=1) < _LARGEST
        t[~is_coded] = 0.0
        weights = np.concatenate([-2 * t, np.ones((len(t), 1))], axis=1).astype(np.float32)
        return cls(frame.unit, weights, np.einsum("ij,ij->i", t, t), is_coded)

    def bounds(self, rows: CompactRows) -> Vector:
        """How far the score of any of these rows may be off, by target."""
        length = float(np.sqrt(rows.norms.max()))
        ratio = 2 * (self.weights.shape[1] + 7) * _ROUNDING
        return np.asarray(ratio * (length + np.sqrt(self.squares)) ** 2 + _FLOOR)

    def reach(self, limits: Vector, bounds: Vector, error: float) -> Floats:
        """The largest score of each target that may lie within its limit."""
        with np.errstate(over="ignore", invalid="ignore"):
            reach = (limits / self.unit + error) ** 2 - self.squares + bounds
            reach += _ROUNDING * np.abs(np.where(np.isfinite(reach), reach, 0.0))
        reach[~self.is_coded] = np.inf
        return np.minimum(reach, _LARGEST_SCORE).astype(np.float32)

    def span(
        self, targets: IntVector, scores: Vector, bounds: Vector, errors: Vector
    ) -> tuple[Vector, Vector]:
        """Between which distances pairs with these scores lie, in the unit of z."""
        squares = scores + self.squares[targets]
        with np.errstate(over="ignore"):
            lows = self.unit * (np.sqrt(np.maximum(squares - bounds[targets], 0.0)) - errors)
            highs = self.unit * (np.sqrt(np.maximum(squares + bounds[targets], 0.0)) + errors)
        is_coded = self.is_coded[targets]
        return np.where(is_coded, lows, -np.inf), np.where(is_coded, highs, np.inf)


def likely_pairs(
    targets: Matrix, blocks: Sequence[CompactBlock], *, k: int
) -> tuple[IntVector, IntVector]:
    """Targets and rows of all pairs that may belong to the k nearest, by target, then by row.

    Each thread sees a share of the blocks with single-threaded products: what is not a product runs
    on all cores too.
    """
    views = {
        id(frame): View.of(targets, frame)
        for frame in {id(b.frame): b.frame for b in blocks}.values()
    }
    n = max(1, min(len(os.sched_getaffinity(0)), len(blocks)))

    def seen(first: int) -> BatchPass:
        found = BatchPass(len(targets), k=k)
        for block in blocks[first::n]:
            found.see(views[id(block.frame)], block)
        return found

    with one_thread(), ThreadPoolExecutor(n) as pool:
        whole, *others = pool.map(seen, range(n))
    for other in others:
        whole.absorb(other)
    return whole.pairs()


class BatchPass:
    """Pairs (target, row) that may belong to the k nearest of their target.

    With y = (z - center) / unit near its compact row q, | ||y - t|| - ||q - t|| | <= error. Scores
    s = ||q||^2 - 2 t.q in single precision differ from ||q - t||^2 - ||t||^2 by at most
    (d + 4) 2^-24 (||q|| + ||t||)^2; twice that is granted. A pair is left out only where these
    bounds prove that k rows are nearer.
    """

    def __init__(self, n_targets: int, *, k: int) -> None:
        self._k = k
        self._limits = np.full(n_targets, np.inf)  # of the k-th nearest, in the unit of z
        self._scores = np.empty((n_targets, ROWS), dtype=np.float32)
        self._loose: list[IntVector] = []  # rows that cannot be scored: near to every target
        self._pairs: list[Pairs] = []
        self._n_pairs = 0
        self._n_enough = 4 * k * n_targets  # pairs at which those beyond the limits are dropped

    def see(self, view: View, block: CompactBlock) -> None:
        """Score the rows of a block and keep what may be near."""
        rows, hidden = block.rows, block.hidden
        is_coded = np.isfinite(rows.errors)
        loose = np.setdiff1d(np.flatnonzero(~is_coded), hidden)
        self._loose.append(block.start + loose)
        n_scored = len(rows) - len(hidden) - len(loose)
        if not n_scored:
            return
        scores = np.matmul(view.weights, _features(rows).T, out=self._scores[:, : len(rows)])
        scores[:, hidden] = np.inf
        scores[:, loose] = np.inf
        bounds, error = view.bounds(rows), float(rows.errors[is_coded].max())
        if self._n_pairs == 0 and n_scored > self._k:
            everyone = np.arange(len(scores))
            kth = np.partition(scores, self._k - 1, axis=1)[:, self._k - 1].astype(np.float64)
            _, highs = view.span(everyone, kth, bounds, np.full(len(scores), error))
            self._limits = np.minimum(self._limits, _SLACK * highs)
        near = np.flatnonzero(scores <= view.reach(self._limits, bounds, error)[:, None])
        owners, places = np.divmod(near, scores.shape[1])
        found = scores[owners, places].astype(np.float64)
        span = view.span(owners, found, bounds, rows.errors[places].astype(np.float64))
        self._pairs.append(Pairs(owners, block.start + places, *span))
        self._n_pairs += len(near)
        if self._n_pairs > self._n_enough:
            self._compress()
            self._n_enough = max(self._n_enough, 2 * self._n_pairs)

    def absorb(self, other: BatchPass) -> None:
        """Take over what another pass has kept of other rows."""
        self._loose += other._loose
        self._pairs += other._pairs
        self._limits = np.minimum(self._limits, other._limits)

    def pairs(self) -> tuple[IntVector, IntVector]:
        """Targets and rows of all pairs that no bound excludes, by target, then by row."""
        self._compress()
        (found,) = self._pairs
        loose = np.concatenate([np.empty(0, dtype=np.int64), *self._loose])
        everyone = np.repeat(np.arange(len(self._limits)), len(loose))
        targets = np.concatenate([found.targets, everyone])
        rows = np.concatenate([found.rows, np.tile(loose, len(self._limits))])
        order = np.lexsort((rows, targets))
        return targets[order], rows[order]

    def _compress(self) -> None:
        """Take the limit of each target from its k-th pair, drop what lies beyond."""
        nothing, none = np.empty(0, dtype=np.int64), np.empty(0)
        targets, rows, lows, highs = zip(
            Pairs(nothing, nothing, none, none), *self._pairs, strict=True
        )
        found = Pairs(*map(np.concatenate, (targets, rows)), *map(np.concatenate, (lows, highs)))
        found = found.at(np.lexsort((found.highs, found.targets)))
        firsts = np.searchsorted(found.targets, np.arange(len(self._limits)))
        ranks = np.arange(len(found.targets)) - firsts[found.targets]
        at_k = np.flatnonzero(ranks == self._k - 1)
        owners = found.targets[at_k]
        self._limits[owners] = np.minimum(self._limits[owners], _SLACK * found.highs[at_k])
        kept = np.flatnonzero(found.lows <= self._limits[found.targets])
        self._pairs, self._n_pairs = [found.at(kept)], len(kept)


def _features(rows: CompactRows) -> Floats:
    """(q, ||q||^2) in single precision, so that one product is the whole score."""
    found = np.empty((len(rows), rows.codes.shape[1] + 1), dtype=np.float32)
    found[:, :-1] = rows.codes
    found[:, :-1] *= rows.scales[:, None]
    found[:, -1] = rows.norms
    return found
