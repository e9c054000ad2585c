"""Sum-to-one least squares in feature space, plain and with an l1 penalty."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from rpe_core.distance import Matrix, Vector, comparable
from rpe_core.errors import InputError
from rpe_core.weighting.active_set import kkt_residual_ratio, minimise_l1

RIDGE = 1e-6  # in units of tr(C)/k
LAMBDA2 = 0.1  # in units of tr(C)/k
MAX_KKT_RESIDUAL_RATIO = 1e-9
MIN_LASSO_SUM = 0.1


@dataclass(frozen=True)
class Gram:
    """C = D D' with rows D_i = z_i - z_trg, so that w'Cw = ||z_trg - sum w_i z_i||^2.

    `matrix` (k, k) is C / (tr C / k) + ridge I and `mean_square` is tr C / k, in squared feature
    units; the latter is 0 where every reference equals the target, and `matrix` then the identity.
    """

    matrix: Matrix
    mean_square: float


@dataclass(frozen=True)
class LinearSolution:
    """Weights (k,) and how far they are from the optimum of the problem they claim to solve."""

    weights: Vector
    kkt_residual_ratio: float


def gram(target: Vector, references: Matrix, *, ridge: float) -> Gram:
    """The normalised Gram matrix of the differences, with a ridge on its diagonal.

    The ridge makes duplicated references share their weight and keeps k > d solvable.
    """
    vector, matrix = comparable(target, references)
    identity = np.eye(len(matrix))
    with np.errstate(over="ignore"):
        differences = matrix - vector
    peak = float(np.abs(differences).max())
    if not np.isfinite(peak):
        raise InputError(
            "A distance is too large for a 64-bit number.", expected="smaller features"
        )
    if peak == 0:
        return Gram(identity, 0.0)
    scaled = differences / peak
    # Not BLAS: its last digit may depend on the number of threads, and weights enter hashes.
    products = np.einsum("id,jd->ij", scaled, scaled)
    mean = float(np.trace(products)) / len(matrix)
    return Gram(products / mean + ridge * identity, mean * peak * peak)


def linear_weights(target: Vector, references: Matrix, *, ridge: float = RIDGE) -> LinearSolution:
    """Affine least squares: argmin ||z_trg - sum w_i z_i||^2 with sum w_i = 1, shape (k,).

    In closed form w = C^-1 1 / (1' C^-1 1), C with the ridge. Weights may be negative.

    >>> corners = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    >>> linear_weights(np.zeros(2), corners).weights.round(3)
    array([-1.,  1.,  1.])
    """
    problem = gram(target, references, ridge=ridge)
    k = len(problem.matrix)
    # The bordered system says the same as the closed form and loses fewer digits to the inverse.
    system = np.ones((k + 1, k + 1))
    system[:k, :k], system[k, k] = 2.0 * problem.matrix, 0.0
    right = np.zeros(k + 1)
    right[k] = 1.0
    solution = np.linalg.solve(system, right)
    solution = solution + np.linalg.solve(system, right - system @ solution)
    weights = np.asarray(solution[:k], dtype=np.float64)
    return _judged(problem.matrix, np.zeros(k), weights, lambda2=0.0)


def linear_l1_weights(
    target: Vector,
    references: Matrix,
    *,
    lambda2: float = LAMBDA2,
    is_raw: bool = False,
    ridge: float = RIDGE,
) -> LinearSolution:
    """The linear objective + lambda2 ||w||_1 with sum w_i = 1, solved exactly, shape (k,).

    As the weights sum to one, ||w||_1 = 1 + 2 (mass of negative weights): lambda2 only punishes
    extrapolation, and infinity gives the nearest point of the simplex. lambda2 is relative to
    tr(C)/k; with `is_raw` it is in squared feature units, as the paper gives it.

    >>> corners = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    >>> linear_l1_weights(np.zeros(2), corners, lambda2=100.0).weights.round(3)
    array([0. , 0.5, 0.5])
    """
    problem = gram(target, references, ridge=ridge)
    penalty = _penalty(lambda2, problem, is_raw=is_raw)
    # From here on lambda2 changes nothing: the simplex solution satisfies every condition.
    penalty = min(penalty, 2.0 * float(np.abs(problem.matrix).max()))
    nothing = np.zeros(len(problem.matrix))
    weights = minimise_l1(problem.matrix, nothing, lambda2=penalty, is_affine=True)
    return _judged(problem.matrix, nothing, weights, lambda2=penalty)


def lasso_weights(
    target: Vector,
    references: Matrix,
    *,
    lambda2: float = LAMBDA2,
    is_raw: bool = False,
    ridge: float = RIDGE,
) -> LinearSolution:
    """Least squares + lambda2 ||w||_1 with a free sum, then divided by it, shape (k,).

    w = argmin ||z_trg - sum w_i z_i||^2 + lambda2 ||w||_1: probably what the paper ran. The origin
    of feature space matters here, unlike in the exact form.

    Raises:
        InputError: the weights before division sum to less than 0.1 in magnitude.
    """
    problem = gram(target, references, ridge=ridge)
    k = len(problem.matrix)
    if problem.mean_square == 0:
        return LinearSolution(np.full(k, 1.0 / k), 0.0)
    vector, matrix = comparable(target, references)
    unit = np.sqrt(problem.mean_square)
    rows, aim = matrix / unit, vector / unit
    quadratic = np.einsum("id,jd->ij", rows, rows) + ridge * np.eye(k)
    linear = np.einsum("id,d->i", rows, aim)
    penalty = _penalty(lambda2, problem, is_raw=is_raw)
    raw = minimise_l1(quadratic, linear, lambda2=penalty, is_affine=False)
    total = float(raw.sum())
    if abs(total) < MIN_LASSO_SUM:
        raise InputError(
            "The lasso weights nearly cancel, so they cannot be divided by their sum.",
            expected=f"a sum of at least {MIN_LASSO_SUM} in magnitude",
            remedy="lower lambda2, or use mode exact_qp",
        )
    residual = kkt_residual_ratio(quadratic, linear, raw, lambda2=penalty, is_affine=False)
    return _trusted(raw / total, residual)


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
    return float(np.linalg.norm(weights @ scaled)) / unit


def _penalty(lambda2: float, problem: Gram, *, is_raw: bool) -> float:
    if not is_raw:
        return lambda2
    return min(lambda2 / max(problem.mean_square, sys.float_info.min), sys.float_info.max / 16)


def _judged(
    quadratic: Matrix, linear: Vector, weights: Vector, *, lambda2: float
) -> LinearSolution:
    final = weights / weights.sum()
    residual = kkt_residual_ratio(quadratic, linear, final, lambda2=lambda2, is_affine=True)
    return _trusted(final, residual)


def _trusted(weights: Vector, residual: float) -> LinearSolution:
    if not residual <= MAX_KKT_RESIDUAL_RATIO:
        raise InputError(
            f"The weights miss their optimum: KKT residual {residual:.1e}.",
            expected=f"at most {MAX_KKT_RESIDUAL_RATIO:.0e}",
            remedy="raise the parameter `ridge`",
        )
    return LinearSolution(weights, residual)
