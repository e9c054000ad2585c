"""One solution of an l1-penalised quadratic at one lambda2: block pivoting, the path behind it."""

from __future__ import annotations

import numpy as np

from rpe_core.distance import IntVector, Matrix, Vector
from rpe_core.errors import InputError
from rpe_core.weighting.homotopy import affine_path, free_solution
from rpe_core.weighting.one_thread import one_thread

_TOLERANCE = 1e-13  # of the mean of diag(Q): a bound crossed by less is met
_PATIENCE = 3  # sweeps in a row that may leave as many signs wrong as the best one did
_FIRST_SHARE = 8  # one of so many references is active at the start, the nearest ones


def minimise_l1(quadratic: Matrix, linear: Vector, *, lambda2: float, is_affine: bool) -> Vector:
    """argmin_w w'Qw - 2q'w + lambda2 ||w||_1, with sum(w) = 1 where `is_affine`, shape (k,).

    Q (k, k) is symmetric positive definite, q (k,) is 0 where `is_affine`, lambda2 >= 0 in the
    units of Q.

    Block pivoting: solve for the signs assumed, then correct all that prove wrong at once (Kim and
    Park, 2011). A handful of systems lead to the exact solution; where they do not, the path is
    followed instead, which always ends.

    Raises:
        InputError: Q is not positive definite to working precision.
    """
    with one_thread():
        signs = _first_signs(quadratic, linear, is_affine=is_affine)
        tolerance = _TOLERANCE * float(np.diagonal(quadratic).mean())
        fewest, patience = len(signs) + 1, _PATIENCE
        while patience >= 0:
            point, low = _stationary(quadratic, linear, lambda2, signs, is_affine=is_affine)
            found = _signs_of(quadratic @ point, point, signs, low, low + lambda2, tolerance)
            if is_affine and not found.any():  # a sum of one needs somebody
                found[int(np.argmin(np.diagonal(quadratic)))] = 1
            n_wrong = int(np.count_nonzero(found != signs))
            if n_wrong == 0:
                return point
            patience = _PATIENCE if n_wrong < fewest else patience - 1
            signs, fewest = found, min(fewest, n_wrong)
        if not is_affine:
            return free_solution(quadratic, linear, lambda2=lambda2)
        return point_on(*affine_path(quadratic, down_to=lambda2), lambda2)


def point_on(breakpoints: Vector, weights: Matrix, lambda2: float) -> Vector:
    """The weights at lambda2: linear between breakpoints (m,), constant after the last.

    >>> point_on(np.array([0.0, 1.0]), np.array([[-1.0, 2.0], [0.0, 1.0]]), 0.25)
    array([-0.75,  1.75])
    """
    after = int(np.searchsorted(breakpoints, lambda2, side="right"))
    if after == len(breakpoints):
        return np.asarray(weights[-1])
    width = breakpoints[after] - breakpoints[after - 1]
    share = (lambda2 - breakpoints[after - 1]) / width
    return np.asarray((1.0 - share) * weights[after - 1] + share * weights[after])


def _first_signs(quadratic: Matrix, linear: Vector, *, is_affine: bool) -> IntVector:
    """A share of the references that lie nearest, or that the linear term pulls most."""
    pull = -np.diagonal(quadratic) if is_affine else np.abs(linear)
    signs = np.zeros(len(linear), dtype=np.int64)
    first = np.argsort(-pull, kind="stable")[: 1 + len(linear) // _FIRST_SHARE]
    signs[first] = 1 if is_affine else np.where(linear[first] < 0, -1, 1)
    return signs


def _stationary(
    quadratic: Matrix, linear: Vector, lambda2: float, signs: IntVector, *, is_affine: bool
) -> tuple[Vector, Vector]:
    """The optimum for fixed signs, and the bound that Qw keeps where a weight is positive.

    Where the sum is fixed the weights are t a + lambda2 b with Q a = 1 and Q b = [w < 0] on the
    active set, and t makes them sum to one.
    """
    point = np.zeros(len(signs))
    active = np.flatnonzero(signs)
    if not active.size:
        return point, linear - lambda2 / 2
    is_negative = (signs[active] < 0).astype(np.float64)
    right = [linear[active] + lambda2 * (is_negative - 0.5)]
    if is_affine:
        right = [np.ones(len(active)), is_negative]
    try:
        solved = np.linalg.solve(quadratic[np.ix_(active, active)], np.stack(right, axis=1))
    except np.linalg.LinAlgError:
        raise InputError(
            "The weights are not determined: references coincide.",
            expected="a positive definite quadratic",
            remedy="raise the parameter `ridge`",
        ) from None
    if not is_affine:
        point[active] = solved[:, 0]
        return point, linear - lambda2 / 2
    a, b = solved.T
    low = (1.0 - lambda2 * b.sum()) / a.sum()
    point[active] = low * a + lambda2 * b
    return point, np.full(len(signs), low)


def _signs_of(
    product: Vector, point: Vector, signs: IntVector, low: Vector, high: Vector, tolerance: float
) -> IntVector:
    """The signs that the conditions ask for: a weight that changed sign is released first."""
    kept = np.where(np.sign(point) == signs, signs, 0)
    entering = np.where(product < low - tolerance, 1, np.where(product > high + tolerance, -1, 0))
    return np.where(signs == 0, entering, kept)
