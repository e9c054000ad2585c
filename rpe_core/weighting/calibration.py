"""What the library says about itself: leave-one-out distances, norms and residuals, and limits."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rpe_core.distance import IntVector, Matrix, Vector, comparable, squared_distances
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.one_thread import one_thread
from rpe_core.records import StrategySpec
from rpe_core.weighting.binomial import Rate, measured_rate
from rpe_core.weighting.strategies import weigh

MIN_CALIBRATED = 20  # references; of fewer no limit would hold for 95 of 100 targets
COVERAGE = 0.95  # of what is like the library
MAX_REFERENCES = 10_000  # that distances are calibrated on; of more, evenly spaced ones
MAX_WEIGHED = 256  # that weights are calibrated on; of more, evenly spaced ones
_DEPTH = 3  # nearest other sources kept, so that any two sources can be left out exactly
_BLOCK = 1 << 22  # elements of a block of distances: 32 MiB


@dataclass(frozen=True, eq=False)
class LibraryCalibration:
    """How far each reference lies from the others, computed once per library.

    Attributes:
        sources: index of each reference's source, (n,).
        names: the source names that these indices mean.
        nearest: Euclidean distance to the nearest reference of each of the three nearest other
            sources, ascending, infinite where there are fewer, (n, 3).
        nearest_source: whose they are, -1 where there are fewer, (n, 3).
        false_abstain: how often a reference, its source left out of the library, lies beyond the
            limit that the rest sets; none below 20 references.
    """

    sources: IntVector
    names: tuple[str, ...]
    nearest: Matrix
    nearest_source: npt.NDArray[np.int64]
    false_abstain: Rate | None

    def distances(self, without: Collection[str] = ()) -> Vector:
        """Leave-one-out nearest distances, (m,), as if up to two sources had never been there."""
        codes = [i for i, name in enumerate(self.names) if name in without]
        return _distances(self.sources, self.nearest, self.nearest_source, codes)


@dataclass(frozen=True, eq=False)
class WeightCalibration:
    """What one strategy's weights did with each reference served by the others, (m,) each.

    References whose weights could not be solved for are left out. `false_abstain` is the share
    whose norm exceeds the limit of the others (jackknife); none below 20 references.
    """

    sources: tuple[str, ...]
    l1_norm: Vector
    residual_ratio: Vector
    false_abstain: Rate | None

    def limits(self, without: Collection[str] = ()) -> tuple[float, float, int]:
        """What l1 norm and residual ratio usually stay within, and of how many references.

        The rows of sources left out do not count; what they did as candidates of others stays.
        """
        kept = np.array([source not in without for source in self.sources], dtype=bool)
        if not kept.any():
            return np.inf, np.inf, 0
        norm, residual = (usual_limit(v[kept]) for v in (self.l1_norm, self.residual_ratio))
        return norm, residual, int(kept.sum())


def usual_limit(values: Vector) -> float:
    """What one more value like these n stays within with probability 0.95 or more.

    The ceil(0.95 (n + 1))-th smallest: one more of the same kind is as likely to fall on any of
    n + 1 ranks (conformal prediction: Vovk, Gammerman and Shafer, 2005). A 95th percentile of
    twenty promises only nine in ten. Below 19 values no rank would do, and the percentile stands.

    >>> usual_limit(np.arange(20.0)), usual_limit(np.arange(200.0))
    (19.0, 190.0)
    """
    rank = math.ceil(COVERAGE * (len(values) + 1))
    if rank > len(values):
        return float(np.percentile(values, 100.0 * COVERAGE))
    return float(np.sort(values)[rank - 1])


def calibrate_library(library: Matrix, sources: Sequence[str]) -> LibraryCalibration:
    """Measure the library (n, d) against itself; distances within a source do not count.

    A block of rows is compared with all by |a|^2 - 2ab + |b|^2 to find the nearest, whose distance
    is then taken from the difference itself; so a near tie may be settled by rounding, which moves
    a distance by less than 1e-7 of the library's extent.

    >>> calibrate_library(np.array([[0.0], [1.0], [5.0]]), ["a", "b", "c"]).distances()
    array([1., 1., 4.])

    Raises:
        ShapeMismatch: not one source for each reference.
    """
    matrix, codes, names = _thinned(library, sources, MAX_REFERENCES)
    nearest = np.full((len(matrix), _DEPTH), np.inf)
    nearest_source = np.full((len(matrix), _DEPTH), -1, dtype=np.int64)
    centred = matrix - matrix.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    rows = max(1, _BLOCK // len(matrix))
    with one_thread():
        for start in range(0, len(matrix), rows):
            block = slice(start, start + rows)
            gaps = squares[block, None] + squares - 2.0 * (centred[block] @ centred.T)
            gaps[codes[block, None] == codes] = np.inf
            for depth in range(_DEPTH):
                columns = gaps.argmin(axis=1)
                is_there = np.isfinite(gaps[np.arange(len(columns)), columns])
                apart = np.linalg.norm(matrix[block] - matrix[columns], axis=1)
                nearest[block, depth] = np.where(is_there, apart, np.inf)
                nearest_source[block, depth] = np.where(is_there, codes[columns], -1)
                gaps[codes[columns, None] == codes] = np.inf
    order = np.argsort(nearest, axis=1, kind="stable")
    nearest = np.take_along_axis(nearest, order, axis=1)
    nearest_source = np.take_along_axis(nearest_source, order, axis=1)
    rate = None
    if len(matrix) >= MIN_CALIBRATED:
        rate = _nested_rate(codes, nearest, nearest_source)
    return LibraryCalibration(codes, names, nearest, nearest_source, rate)


def calibrate_weights(
    library: Matrix, sources: Sequence[str], strategy: StrategySpec, *, k: int
) -> WeightCalibration:
    """Serve each reference (at most 256 of them) from its k nearest of other sources.

    Below 20 references nothing is computed and no limit follows.
    """
    matrix, codes, names = _thinned(library, sources, MAX_REFERENCES)
    if len(matrix) < MIN_CALIBRATED:
        return WeightCalibration((), np.empty(0), np.empty(0), None)
    measured = []
    for i in _spaced(len(matrix), MAX_WEIGHED):
        others = np.flatnonzero(codes != codes[i])
        if not others.size:
            continue
        squares = squared_distances(matrix[i], matrix[others])
        chosen = others[np.argsort(squares, kind="stable")[:k]]
        try:
            details = weigh(strategy, matrix[i], matrix[chosen]).details
        except InputError:
            continue
        measured.append(
            (names[codes[i]], float(details["l1_norm"]), float(details["residual_ratio"]))
        )
    norms = np.array([norm for _, norm, _ in measured])
    residuals = np.array([residual for _, _, residual in measured])
    rate = _jackknife_rate(norms) if len(norms) >= MIN_CALIBRATED else None
    return WeightCalibration(tuple(name for name, _, _ in measured), norms, residuals, rate)


def _thinned(
    library: Matrix, sources: Sequence[str], most: int
) -> tuple[Matrix, IntVector, tuple[str, ...]]:
    _, matrix = comparable(np.zeros(np.shape(library)[-1]), library)
    if len(sources) != len(matrix):
        raise ShapeMismatch("Every reference has one source.", expected=f"{len(matrix)} names")
    kept = _spaced(len(matrix), most)
    names, codes = np.unique(np.array(sources, dtype=str)[kept], return_inverse=True)
    return matrix[kept], codes.astype(np.int64), tuple(str(name) for name in names)


def _spaced(n: int, most: int) -> IntVector:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _distances(
    sources: IntVector, nearest: Matrix, nearest_source: npt.NDArray[np.int64], codes: list[int]
) -> Vector:
    is_seen = (nearest_source >= 0) & ~np.isin(nearest_source, codes)
    rows = is_seen.any(axis=1) & ~np.isin(sources, codes)
    first = is_seen.argmax(axis=1)
    return np.asarray(nearest[np.arange(len(nearest)), first][rows], dtype=np.float64)


def _nested_rate(
    sources: IntVector, nearest: Matrix, nearest_source: npt.NDArray[np.int64]
) -> Rate:
    """Each source in turn is a target; the limit comes from a library that never held it."""
    n_far = n = 0
    for code in np.unique(sources):
        own = nearest[sources == code, 0]
        others = _distances(sources, nearest, nearest_source, [int(code)])
        own = own[np.isfinite(own)]
        if others.size and own.size:
            n_far += int((own > usual_limit(others)).sum())
            n += len(own)
    return measured_rate(n_far, n)


def _jackknife_rate(values: Vector) -> Rate:
    rest = (np.delete(values, i) for i in range(len(values)))
    limits = np.array([usual_limit(others) for others in rest])
    return measured_rate(int((values > limits * (1.0 + 1e-9)).sum()), len(values))
