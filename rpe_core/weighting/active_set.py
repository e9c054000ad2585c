"""The exact solver of small l1-penalised quadratics, and the KKT residual that judges it."""

from __future__ import annotations

import numpy as np

from rpe_core.distance import IntVector, Matrix, Vector
from rpe_core.errors import InputError

_TOLERANCE = 1e-15  # of the gradient's scale: a reduced gradient below it is rounding


def minimise_l1(quadratic: Matrix, linear: Vector, *, lambda2: float, is_affine: bool) -> Vector:
    """argmin_w w'Qw - 2q'w + lambda2 ||w||_1, with sum(w) = 1 where `is_affine`, shape (k,).

    Q (k, k) is symmetric positive definite, q (k,), lambda2 >= 0 in the units of Q.

    A primal active-set method: on the active set with its signs the optimum is one linear system;
    walk there, stop at the first weight that reaches zero and release it; at the optimum activate
    the zero weight whose sub-gradient condition is hurt most. Each walk lowers a strictly convex
    objective, so no sign pattern comes twice and the end is the exact solution.

    Raises:
        InputError: Q is not positive definite to working precision.
    """
    k = len(linear)
    weights, signs = np.zeros(k), np.zeros(k, dtype=np.int64)
    if is_affine:
        first = int(np.argmin(np.diagonal(quadratic)))
        weights[first], signs[first] = 1.0, 1
    entering = -1
    for _ in range(100 + 50 * k):
        goal, multiplier = _stationary_point(quadratic, linear, lambda2, signs, is_affine=is_affine)
        leaving, share = _first_crossing(weights, goal, signs)
        if leaving.size and entering in leaving and share == 0.0:
            return _released(weights, entering)  # it entered by rounding alone: already optimal
        weights = weights + share * (goal - weights) if leaving.size else goal
        weights[leaving], signs[leaving] = 0.0, 0
        entering = -1
        if not leaving.size:
            entering, sign = _worst_zero(quadratic, linear, lambda2, weights, signs, multiplier)
            if entering < 0:
                return weights
            signs[entering] = sign
    raise InputError(
        "The l1 weights did not converge.",
        where=f"{k} references",
        expected="a positive definite quadratic",
        remedy="raise the parameter `ridge`",
    )


def kkt_residual_ratio(
    quadratic: Matrix, linear: Vector, weights: Vector, *, lambda2: float, is_affine: bool
) -> float:
    """How far the weights are from optimal: the worst violation of the KKT conditions, relative.

    Computed from Q, q and w alone, without anything the solver knew. With the multiplier nu
    (0 where the sum is free) each weight asks 2(Qw - q)_i + lambda2 s_i = nu with s_i = sign(w_i),
    or any s_i in [-1, 1] for a zero weight; nu is chosen to make the worst violation smallest.
    The scale is the largest sum of the terms' magnitudes, and at least the mean of diag(Q).

    >>> kkt_residual_ratio(np.eye(2), np.zeros(2), np.array([0.5, 0.5]), lambda2=1, is_affine=True)
    0.0
    """
    gradient = 2.0 * (quadratic @ weights - linear)
    terms = 2.0 * (np.abs(quadratic) @ np.abs(weights) + np.abs(linear))
    scale = max(float(terms.max()), float(np.diagonal(quadratic).mean()))
    # nu is measured from lambda2 upwards: then no digit is lost where lambda2 is large.
    low = np.where(weights > 0, gradient, gradient - 2.0 * lambda2)
    high = np.where(weights < 0, gradient - 2.0 * lambda2, gradient)
    if not is_affine:
        worst = float(np.maximum(low + lambda2, -(high + lambda2)).max())
        return max(worst, 0.0) / scale
    spread = (float(low.max()) - float(high.min())) / 2.0
    return max(spread / scale, abs(float(weights.sum()) - 1.0), 0.0)


def _stationary_point(
    quadratic: Matrix, linear: Vector, lambda2: float, signs: IntVector, *, is_affine: bool
) -> tuple[Vector, float]:
    """The optimum for fixed signs, zero outside the active set, and the multiplier nu."""
    active = np.flatnonzero(signs)
    n = len(active)
    system = np.zeros((n + is_affine, n + is_affine))
    system[:n, :n] = 2.0 * quadratic[np.ix_(active, active)]
    right = np.zeros(n + is_affine)
    right[:n] = 2.0 * linear[active] - lambda2 * signs[active]
    if is_affine:
        system[:n, n] = system[n, :n] = right[n] = 1.0
    try:
        solution = np.linalg.solve(system, right)
        solution = solution + np.linalg.solve(system, right - system @ solution)
    except np.linalg.LinAlgError:
        raise InputError(
            "The weights are not determined: references coincide.",
            expected="a positive definite quadratic",
            remedy="raise the parameter `ridge`",
        ) from None
    point = np.zeros(len(linear))
    point[active] = solution[:n]
    return point, -float(solution[n]) if is_affine else 0.0


def _first_crossing(weights: Vector, goal: Vector, signs: IntVector) -> tuple[IntVector, float]:
    """The active weights that reach zero first on the way to the goal, and the share of the way."""
    crossing = np.flatnonzero((signs != 0) & (goal * signs <= 0))
    if not crossing.size:
        return crossing, 1.0
    step = weights[crossing] - goal[crossing]
    shares = np.divide(weights[crossing], step, out=np.zeros(len(crossing)), where=step != 0)
    share = max(0.0, float(shares.min()))
    return crossing[shares <= share], share


def _worst_zero(
    quadratic: Matrix,
    linear: Vector,
    lambda2: float,
    weights: Vector,
    signs: IntVector,
    multiplier: float,
) -> tuple[int, int]:
    """The zero weight that would lower the objective fastest and its sign, or (-1, 0)."""
    pull = multiplier - 2.0 * (quadratic @ weights - linear)
    excess = np.where(signs == 0, np.abs(pull) - lambda2, -np.inf)
    scale = float((np.abs(quadratic) @ np.abs(weights) + np.abs(linear)).max())
    worst = int(np.argmax(excess))
    limit = _TOLERANCE * max(2.0 * scale, float(np.diagonal(quadratic).mean()))
    return (worst, int(np.sign(pull[worst]))) if excess[worst] > limit else (-1, 0)


def _released(weights: Vector, index: int) -> Vector:
    kept = weights.copy()
    kept[index] = 0.0
    return kept
