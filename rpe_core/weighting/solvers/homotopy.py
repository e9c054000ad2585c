"""The whole path of lin+R: exact weights for every lambda2, from the simplex to the affine end.

With v = w / t, where t is the multiplier of the sum, the constrained problem becomes a free one:
v minimises v'Qv/2 - sum(v) + tau (mass of its negative part), and lambda2 = tau / sum(v), which
grows with tau. v is piecewise linear in tau (Osborne, Presnell and Turlach, 2000), w in lambda2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rpe_core.distance import Matrix, Vector
from rpe_core.errors import InputError
from rpe_core.one_thread import one_thread
from rpe_core.weighting.solvers.sweep import BoolVector, SweptMatrix

_TIE = 1e-14  # crossings nearer than this, relatively, are one
Note = Callable[[float, Vector], bool]  # told t and v; answers whether that is far enough


@dataclass(frozen=True)
class Bounds:
    """l0 + l1 t <= (Qv)_i <= u0 + u1 t, equal to the lower where v_i > 0, the upper where < 0."""

    lower: tuple[Vector, Vector]
    upper: tuple[Vector, Vector] | None  # none: no weight may be negative


def affine_path(quadratic: Matrix, *, down_to: float = 0.0) -> tuple[Vector, Matrix]:
    """Breakpoints lambda2 (m,), not descending, and the weights (m, k) at each; sum(w) = 1.

    Weights are linear between breakpoints and constant after the last. The first breakpoint is 0,
    or the first at or below `down_to`. Q must be positive definite.

    >>> affine_path(np.array([[2.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.1]]))[0].round(3)
    array([0.   , 0.476])

    Raises:
        InputError: the path does not end, because Q is not positive definite in fp64.
    """
    ones, zeros = np.ones(len(quadratic)), np.zeros(len(quadratic))
    taus: list[float] = []
    points: list[Vector] = []

    def note(tau: float, point: Vector) -> bool:
        taus.append(tau)
        points.append(point)
        return tau <= down_to * float(point.sum())

    with one_thread():
        swept = SweptMatrix(quadratic)
        # First down to the simplex: nearer references, whose slope is smaller, enter first.
        covering = -1.0 - np.diagonal(quadratic)
        walk(swept, Bounds((ones, covering), None), stop=0.0, note=lambda *_: False)
        swept.right[1] = swept.values[1] = 0.0
        swept.refine()
        walk(swept, Bounds((ones, zeros), (ones, ones)), stop=0.0, note=note)
    totals = np.array([point.sum() for point in points])
    # rounding may not turn two meetings round; both ends of a step of no length are kept, because
    # the pieces beside it end in the one and begin in the other
    lambda2 = np.minimum.accumulate(np.array(taus) / totals)
    return lambda2[::-1], (np.array(points) / totals[:, None])[::-1]


def free_solution(quadratic: Matrix, linear: Vector, *, lambda2: float) -> Vector:
    """argmin_w w'Qw - 2q'w + lambda2 ||w||_1 with a free sum, shape (k,), down from w = 0.

    Raises:
        InputError: the path does not end, because Q is not positive definite in fp64.
    """
    ones = np.ones(len(linear))
    points: list[Vector] = []

    def note(_: float, point: Vector) -> bool:
        points[:] = [point]
        return False

    with one_thread():
        bounds = Bounds((linear, -ones), (linear, ones))
        walk(SweptMatrix(quadratic), bounds, stop=lambda2 / 2, note=note)
    return points[0]


def walk(swept: SweptMatrix, bounds: Bounds, *, stop: float, note: Note) -> None:
    """Follow v from t = infinity down to `stop`, noting t and v at each breakpoint and at the end.

    At a breakpoint the index whose bound is met changes sides; of several, the first (Murty's rule,
    which cannot cycle: Q is positive definite).
    """
    k = len(swept.active)
    sign = np.ones(k)  # of the active values; 1 for the others
    now = np.inf
    for _ in range(1000 + 50 * k):
        falling, is_upper = _meetings(swept, sign, bounds)
        if not falling.max() > stop:
            note(stop, _point(swept, sign, stop))
            return
        falling = np.minimum(falling, now)
        now = float(falling.max())
        j = int(np.argmax(falling >= now * (1.0 - _TIE)))
        point = _point(swept, sign, now)
        point[j] = 0.0
        if note(now, point):
            return
        if swept.active[j]:
            swept.leave(j)
            sign[j] = 1.0
        elif bounds.upper and is_upper[j]:
            swept.enter(j, bounds.upper[0][j], bounds.upper[1][j])
            sign[j] = -1.0
        else:
            swept.enter(j, bounds.lower[0][j], bounds.lower[1][j])
    raise InputError(
        "The path of the l1 weights does not end.",
        where=f"{k} references",
        expected="a positive definite Gram matrix",
        remedy="raise the parameter `ridge`",
    )


def _meetings(swept: SweptMatrix, sign: Vector, bounds: Bounds) -> tuple[Vector, BoolVector]:
    """For each index the t at which, going down, its next bound is met, and whether the upper one.

    An active value meets zero, another index its lower or upper bound; -infinity where never.
    """
    signed = sign * swept.values
    constant = np.where(swept.active, signed[0], signed[0] - bounds.lower[0])
    slope = np.where(swept.active, signed[1], signed[1] - bounds.lower[1])
    first = _root(constant, slope, slope > 0)
    if bounds.upper is None:
        return first, np.zeros(len(sign), dtype=bool)
    constant, slope = bounds.upper[0] - signed[0], bounds.upper[1] - signed[1]
    second = _root(constant, slope, (slope > 0) & ~swept.active)
    return np.maximum(first, second), second > first


def _root(constant: Vector, slope: Vector, is_met: BoolVector) -> Vector:
    never = np.full(len(slope), -np.inf)
    return np.asarray(-np.divide(constant, slope, out=-never, where=is_met), dtype=np.float64)


def _point(swept: SweptMatrix, sign: Vector, t: float) -> Vector:
    """The v at t; a value that rounding took over zero is zero."""
    constant, slope = swept.values
    v = constant + t * slope if np.isfinite(t) else constant
    return np.where(swept.active & (sign * v > 0), v, 0.0)
