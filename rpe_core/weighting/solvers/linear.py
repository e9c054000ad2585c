"""Sum-to-one least squares in feature space, in closed form, and how well weights fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpe_core.distance import Matrix, Vector, comparable
from rpe_core.errors import InputError
from rpe_core.one_thread import one_thread
from rpe_core.weighting.solvers.gram import RIDGE, gram
from rpe_core.weighting.solvers.optimality import judge

MAX_KKT_RESIDUAL_RATIO = 1e-9
_REFINED_ABOVE = 1e-12  # a KKT residual that one step of refinement is worth its second solution


@dataclass(frozen=True, eq=False)
class LinearSolution:
    """Weights (k,) and how far they are from the optimum of the problem they claim to solve.

    `duality_gap` is in units of tr(C)/k, as the objective w'Cw + lambda2 ||w||_1 is: no weights
    are better by more.
    """

    weights: Vector
    kkt_residual_ratio: float
    duality_gap: float


def linear_weights(target: Vector, references: Matrix, *, ridge: float = RIDGE) -> LinearSolution:
    """Affine least squares: argmin ||z_trg - sum w_i z_i||^2 with sum w_i = 1, shape (k,).

    In closed form w = C^-1 1 / (1' C^-1 1), C with the ridge. Weights may be negative.

    >>> corners = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    >>> linear_weights(np.zeros(2), corners).weights.round(3)
    array([-1.,  1.,  1.])

    Raises:
        InputError: the weights miss their optimum, because C is not positive definite in fp64.
    """
    problem = gram(target, references, ridge=ridge)
    ones = np.ones(len(problem.matrix))
    with one_thread():
        raw = _solved(problem.matrix, ones)
        solution = with_residuals(problem.matrix, raw / raw.sum(), lambda2=0.0, floor=ridge)
        if solution.kkt_residual_ratio > _REFINED_ABOVE:
            raw = raw + _solved(problem.matrix, ones - problem.matrix @ raw)
            solution = with_residuals(problem.matrix, raw / raw.sum(), lambda2=0.0, floor=ridge)
    return require_optimal(solution)


def with_residuals(
    quadratic: Matrix,
    weights: Vector,
    *,
    lambda2: float,
    floor: float,
    linear: Vector | None = None,
) -> LinearSolution:
    """The weights with their KKT residual and duality gap; the sum is one unless `linear` is given.

    `floor` is a number that no eigenvalue of the quadratic is below.
    """
    verdicts = judge(
        quadratic,
        np.zeros(len(weights)) if linear is None else linear,
        weights[None],
        lambda2=np.array([lambda2]),
        floor=floor,
        is_affine=linear is None,
    )
    residual, gap = verdicts.kkt_residual_ratio[0], verdicts.duality_gap[0]
    return LinearSolution(weights, float(residual), float(gap))


def require_optimal(solution: LinearSolution) -> LinearSolution:
    """The solution itself.

    Raises:
        InputError: its KKT residual exceeds 1e-9.
    """
    residual = solution.kkt_residual_ratio
    if not residual <= MAX_KKT_RESIDUAL_RATIO:
        raise InputError(
            f"The weights miss their optimum: KKT residual {residual:.1e}.",
            expected=f"at most {MAX_KKT_RESIDUAL_RATIO:.0e}",
            remedy="raise the parameter `ridge`",
        )
    return solution


def residual_ratio(target: Vector, references: Matrix, weights: Vector) -> float:
    """||z_trg - sum w_i z_i|| / ||z_trg - mean z_i||: 1 where the weights do as the average does.

    Where the plain mean hits the target, the root mean square distance takes its place below.

    >>> residual_ratio(np.zeros(1), np.array([[1.0], [3.0]]), np.array([1.0, 0.0]))
    0.5
    """
    vector, matrix = comparable(target, references)
    differences = matrix - vector
    peak = float(np.abs(differences).max())
    if peak == 0:
        return 0.0
    scaled = differences / peak
    typical = float(np.sqrt((scaled**2).sum() / len(scaled)))
    average = float(np.linalg.norm(scaled.mean(axis=0)))
    unit = average if average > 1e-12 * typical else typical
    with one_thread():
        return float(np.linalg.norm(weights @ scaled)) / unit


def _solved(quadratic: Matrix, right: Vector) -> Vector:
    try:
        return np.asarray(np.linalg.solve(quadratic, right), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise InputError(
            "The weights are not determined: references coincide.",
            expected="a positive definite Gram matrix",
            remedy="raise the parameter `ridge`",
        ) from None
