"""Sum-to-one least squares with an l1 penalty: one solution, the whole path, the paper's lasso."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from rpe_core.distance import Matrix, Vector, comparable
from rpe_core.errors import InputError
from rpe_core.one_thread import one_thread
from rpe_core.weighting.solvers.active_set import minimise_l1, point_on
from rpe_core.weighting.solvers.gram import RIDGE, Gram, gram, products_of
from rpe_core.weighting.solvers.homotopy import affine_path
from rpe_core.weighting.solvers.linear import LinearSolution, require_optimal, with_residuals
from rpe_core.weighting.solvers.optimality import judge

LAMBDA2 = 0.1  # in units of tr(C)/k
MIN_LASSO_SUM = 0.1


@dataclass(frozen=True, eq=False)
class Path:
    """Every solution of lin+R: the breakpoints and how far the weights at each are from optimal.

    Attributes:
        lambda2: (m,), ascending from 0, where the weights are the affine least squares; from the
            last on they are those of the simplex.
        weights: (m, k), each row sums to one; linear in lambda2 between breakpoints.
        kkt_residual_ratio: (m,), see `optimality.judge`.
        duality_gap: (m,), in units of tr(C)/k.
        problem: the Gram matrix that was solved for.
        unit: what lambda2 is divided by to be relative to tr(C)/k: 1, or tr(C)/k if it is raw.
    """

    lambda2: Vector
    weights: Matrix
    kkt_residual_ratio: Vector
    duality_gap: Vector
    problem: Gram
    unit: float

    def at(self, lambda2: float) -> LinearSolution:
        """The weights at any lambda2 >= 0, judged anew: between breakpoints they are linear.

        Raises:
            InputError: lambda2 is negative or not finite.
        """
        if not 0 <= lambda2 < np.inf:
            raise InputError("lambda2 must be finite and not negative.", expected="lambda2 >= 0")
        weights = point_on(self.lambda2, self.weights, lambda2)
        penalty = min(lambda2, float(self.lambda2[-1])) / self.unit
        with one_thread():
            return require_optimal(
                with_residuals(
                    self.problem.matrix, weights, lambda2=penalty, floor=self.problem.ridge
                )
            )


def linear_l1_path(
    target: Vector, references: Matrix, *, is_raw: bool = False, ridge: float = RIDGE
) -> Path:
    """The linear objective + lambda2 ||w||_1 with sum w_i = 1, solved for every lambda2 at once.

    >>> corners = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    >>> path = linear_l1_path(np.zeros(2), corners)
    >>> path.lambda2.round(3), path.weights.round(3)
    (array([0.   , 0.375]), array([[-1. ,  1. ,  1. ],
           [ 0. ,  0.5,  0.5]]))
    >>> path.at(0.1875).weights.round(3)
    array([-0.5 ,  0.75,  0.75])

    Raises:
        InputError: a solution misses its optimum, because C is not positive definite in fp64.
    """
    problem = gram(target, references, ridge=ridge)
    with one_thread():
        lambda2, weights = affine_path(problem.matrix)
        verdicts = judge(
            problem.matrix,
            np.zeros(len(problem.matrix)),
            weights,
            lambda2=lambda2,
            floor=ridge,
            is_affine=True,
        )
    worst = int(np.argmax(verdicts.kkt_residual_ratio))
    require_optimal(
        LinearSolution(
            weights[worst],
            float(verdicts.kkt_residual_ratio[worst]),
            float(verdicts.duality_gap[worst]),
        )
    )
    unit = max(problem.mean_square, sys.float_info.min) if is_raw else 1.0
    return Path(
        lambda2 * unit, weights, verdicts.kkt_residual_ratio, verdicts.duality_gap, problem, unit
    )


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
    with one_thread():
        raw = minimise_l1(problem.matrix, nothing, lambda2=penalty, is_affine=True)
        weights = raw / raw.sum()
        return require_optimal(
            with_residuals(problem.matrix, weights, lambda2=penalty, floor=ridge)
        )


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
    of feature space matters here, unlike in the exact form. Residual and gap are those of the
    weights before division.

    Raises:
        InputError: the weights before division sum to less than 0.1 in magnitude.
    """
    problem = gram(target, references, ridge=ridge)
    k = len(problem.matrix)
    if problem.mean_square == 0:
        return LinearSolution(np.full(k, 1.0 / k), 0.0, 0.0)
    vector, matrix = comparable(target, references)
    unit = np.sqrt(problem.mean_square)
    rows, aim = matrix / unit, vector / unit
    quadratic = products_of(rows) + ridge * np.eye(k)
    penalty = _penalty(lambda2, problem, is_raw=is_raw)
    with one_thread():
        pull = rows @ aim
        raw = minimise_l1(quadratic, pull, lambda2=penalty, is_affine=False)
        total = float(raw.sum())
        if abs(total) < MIN_LASSO_SUM:
            raise InputError(
                "The lasso weights nearly cancel, so they cannot be divided by their sum.",
                expected=f"a sum of at least {MIN_LASSO_SUM} in magnitude",
                remedy="lower lambda2, or use mode exact_qp",
            )
        solution = with_residuals(quadratic, raw, lambda2=penalty, floor=ridge, linear=pull)
    return require_optimal(
        LinearSolution(raw / total, solution.kkt_residual_ratio, solution.duality_gap)
    )


def _penalty(lambda2: float, problem: Gram, *, is_raw: bool) -> float:
    if not is_raw:
        return lambda2
    return min(lambda2 / max(problem.mean_square, sys.float_info.min), sys.float_info.max / 16)
