"""The first pass of many targets at once: one matrix product per block of rows, with its bounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rpe_core.distance import IntVector, Matrix, Vector

Floats = npt.NDArray[np.float32]

TARGETS = 1024  # targets of one product; more are cut
ROWS = 1024  # rows of one product: its scores stay in the processor's cache
_LARGEST = 1e15  # of a scaled length; beyond, a square would leave single precision
_ROUNDING = 2.0**-24
_FLOOR = 1e-36  # what underflow may take from a squared distance in single precision


class BatchPass:
    """Pairs (target, row) that may belong to the k nearest of their target.

    Scores s = ||y||^2 - 2 t.y in single precision differ from ||y - t||^2 - ||t||^2 by at most
    (d + 4) 2^-24 (||y|| + ||t||)^2; twice that is granted, which covers the exact distances' own
    rounding. A pair is left out only where this bound proves that k rows are nearer.
    """

    def __init__(self, targets: Matrix, *, k: int, center: Vector, unit: float) -> None:
        self._k, self._center, self._unit = k, center, unit
        with np.errstate(over="ignore", invalid="ignore"):
            t = (targets - center) / unit
            self._lengths = np.linalg.norm(t, axis=1)
        self._is_coded = self._lengths < _LARGEST
        t[~self._is_coded] = 0.0
        self._lengths[~self._is_coded] = 0.0
        self._ratio = 2 * (t.shape[1] + 8) * _ROUNDING
        self._weights = np.concatenate([-2 * t, np.ones((len(t), 1))], axis=1).astype(np.float32)
        self._limits = np.full(len(t), np.inf)  # of s + bound, for each target's k-th nearest
        self._scores = np.empty((len(t), ROWS), dtype=np.float32)
        self._largest = np.zeros(len(t))  # bound of each target over all blocks
        self._loose: list[IntVector] = []  # rows that cannot be scored: near to every target
        self._pairs: list[tuple[IntVector, IntVector, Vector]] = []
        self._n_pairs = 0

    def see(self, start: int, z: Matrix, hidden: IntVector) -> None:
        """Score the rows (b, d) that stand at `start`; hidden ones do not count."""
        rows, is_coded = self._rows(z)
        loose = np.setdiff1d(np.flatnonzero(~is_coded), hidden)
        self._loose.append(start + loose)
        scores = np.matmul(self._weights, rows.T, out=self._scores[:, : len(z)])
        scores[:, hidden] = np.inf
        scores[:, loose] = np.inf
        length = float(np.sqrt(rows[:, -1].max()))
        bounds = self._ratio * (length + self._lengths) ** 2 + _FLOOR
        if self._n_pairs == 0 and len(z) - len(hidden) > self._k:
            kth = np.partition(scores, self._k - 1, axis=1)[:, self._k - 1]
            self._limits = kth.astype(np.float64) + bounds
        reach = self._limits + bounds
        reach += _ROUNDING * np.abs(np.where(np.isfinite(reach), reach, 0.0))
        reach[~self._is_coded] = np.inf
        near = scores <= np.minimum(reach, np.finfo(np.float32).max).astype(np.float32)[:, None]
        self._keep(start, near, scores, bounds)

    def _rows(self, z: Matrix) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """(y, ||y||^2) in single precision, so that one product is the whole score.

        Rows that single precision cannot hold are zero and told apart.
        """
        rows = np.empty((len(z), z.shape[1] + 1), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            rows[:, :-1] = (z - self._center) * (1.0 / self._unit)
            rows[:, -1] = np.einsum("ij,ij->i", rows[:, :-1], rows[:, :-1])
        is_coded = rows[:, -1] < _LARGEST**2
        rows[~is_coded] = 0.0
        return rows, is_coded

    def pairs(self) -> tuple[IntVector, IntVector]:
        """Targets and rows of all pairs that no bound excludes, by target, then by row."""
        self._compress()
        targets, rows, _ = self._pairs[0]
        loose = np.concatenate([np.empty(0, dtype=np.int64), *self._loose])
        everyone = np.repeat(np.arange(len(self._limits)), len(loose))
        targets = np.concatenate([targets, everyone])
        rows = np.concatenate([rows, np.tile(loose, len(self._limits))])
        order = np.lexsort((rows, targets))
        return targets[order], rows[order]

    def _keep(
        self, start: int, near: npt.NDArray[np.bool_], scores: Floats, bounds: Vector
    ) -> None:
        flat = np.flatnonzero(near)
        targets, rows = np.divmod(flat, near.shape[1])
        found = scores.ravel()[flat].astype(np.float64)
        self._pairs.append((targets, start + rows, found - bounds[targets]))
        self._n_pairs += len(flat)
        self._largest = np.maximum(self._largest, bounds)
        if self._n_pairs > 4 * self._k * len(near):
            self._compress()

    def _compress(self) -> None:
        """Sort the pairs of each target, take its limit from the k-th, drop what lies beyond."""
        nothing = np.empty(0, dtype=np.int64)
        pairs = [(nothing, nothing, np.empty(0)), *self._pairs]
        targets, rows, lows = (np.concatenate(part) for part in zip(*pairs, strict=True))
        order = np.lexsort((lows, targets))
        targets, rows, lows = targets[order], rows[order], lows[order]
        firsts = np.searchsorted(targets, np.arange(len(self._limits)))
        ranks = np.arange(len(targets)) - firsts[targets]
        at_k = np.flatnonzero(ranks == self._k - 1)
        # a low is a score less its bound, so twice the largest bound leads to the high
        limits = lows[at_k] + 2 * self._largest[targets[at_k]]
        self._limits[targets[at_k]] = np.minimum(self._limits[targets[at_k]], limits)
        is_kept = (lows <= self._limits[targets]) | ~self._is_coded[targets]
        self._pairs = [(targets[is_kept], rows[is_kept], lows[is_kept])]
        self._n_pairs = int(is_kept.sum())
