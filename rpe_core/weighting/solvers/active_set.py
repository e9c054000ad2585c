"""One solution of an l1-penalised quadratic: signs guessed, proven by block pivoting, or walked."""

from __future__ import annotations

import numpy as np

from rpe_core.distance import IntVector, Matrix, Vector
from rpe_core.errors import InputError
from rpe_core.one_thread import one_thread
from rpe_core.weighting.solvers.homotopy import affine_path, free_solution
from rpe_core.weighting.solvers.proximal import likely_signs

_TOLERANCE = 1e-13  # of the mean of diag(Q): a bound crossed by less is met
_SMALL = 256  # rows of a system that one call of LAPACK solves
_COLUMNS = 64  # of a triangular system that are solved at a time


def minimise_l1(quadratic: Matrix, linear: Vector, *, lambda2: float, is_affine: bool) -> Vector:
    """argmin_w w'Qw - 2q'w + lambda2 ||w||_1, with sum(w) = 1 where `is_affine`, shape (k,).

    Q (k, k) is symmetric positive definite, q (k,) is 0 where `is_affine`, lambda2 >= 0 in the
    units of Q.

    Block pivoting: solve for the signs guessed, then correct all that prove wrong at once (Kim and
    Park, 2011). Two to four systems lead to the exact solution; where one of them leaves no fewer
    signs wrong, the path is followed, which always ends.

    Raises:
        InputError: Q is not positive definite to working precision.
    """
    with one_thread():
        signs = likely_signs(quadratic, linear, lambda2=lambda2, is_affine=is_affine)
        tolerance = _TOLERANCE * float(np.diagonal(quadratic).mean())
        fewest = len(signs) + 1
        while True:
            point, low = _stationary(quadratic, linear, lambda2, signs, is_affine=is_affine)
            signs_now = _signs_of(quadratic @ point, point, signs, low, low + lambda2, tolerance)
            if is_affine and not signs_now.any():  # a sum of one needs somebody
                signs_now[int(np.argmin(np.diagonal(quadratic)))] = 1
            n_wrong = int(np.count_nonzero(signs_now != signs))
            if n_wrong == 0:
                return point
            if n_wrong >= fewest:
                break
            signs, fewest = signs_now, n_wrong
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
        solved = _solve(quadratic.take(active, 0).take(active, 1), np.stack(right, axis=1))
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


def _solve(matrix: Matrix, right: Matrix) -> Matrix:
    """The solution of a system; its Cholesky factor refuses what is not positive definite.

    Python's steps through the factor cost a small system more than to factor it once more by LU.
    """
    factor, solved = np.linalg.cholesky(matrix), right.copy()
    if len(matrix) <= _SMALL:
        return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
    starts = range(0, len(matrix), _COLUMNS)
    for start in starts:
        block = slice(start, start + _COLUMNS)
        solved[block] -= factor[block, :start] @ solved[:start]
        solved[block] = np.linalg.solve(factor[block, block], solved[block])
    for start in reversed(starts):
        block, after = slice(start, start + _COLUMNS), slice(start + _COLUMNS, None)
        solved[block] -= factor[after, block].T @ solved[after]
        solved[block] = np.linalg.solve(factor[block, block].T, solved[block])
    return solved


def _signs_of(
    product: Vector, point: Vector, signs: IntVector, low: Vector, high: Vector, tolerance: float
) -> IntVector:
    """The signs that the conditions ask for: a weight that changed sign is released first."""
    kept = np.where(np.sign(point) == signs, signs, 0)
    entering = np.where(product < low - tolerance, 1, np.where(product > high + tolerance, -1, 0))
    return np.where(signs == 0, entering, kept)
