"""How far weights are from optimal: the KKT residual and the duality gap, from Q, q and w alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpe_core.distance import Matrix, Vector

_ROWS = 256  # solutions judged at a time


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One number for each of m solutions, shape (m,): both are 0 at an exact optimum."""

    kkt_residual_ratio: Vector
    duality_gap: Vector


def judge(
    quadratic: Matrix,
    linear: Vector,
    weights: Matrix,
    *,
    lambda2: Vector,
    floor: float,
    is_affine: bool,
) -> Verdicts:
    """Judge weights (m, k) for w'Qw - 2q'w + lambda2 ||w||_1, lambda2 (m,), without the solver.

    With g = Qw - q the optimum asks g_i = t of positive weights, g_i = t + lambda2 of negative
    ones and t <= g_i <= t + lambda2 of zeros; t is -lambda2 / 2, or free where the sum is fixed to
    one (`is_affine`): then the t with the smallest worst violation is taken.

    The KKT residual is the worst violation in the gradient 2g, or of the sum, relative to the
    largest that its terms can be. The duality gap, in units of the objective, is against the dual
    point that clipping g into [t, t + lambda2] makes feasible: with delta = clipped - g it is
    2 sum |w_i| |clipped_i - wanted_i| + ||delta||^2 / floor, a sum of terms that are none
    negative, and it bounds how much lower the objective could be.

    Args:
        quadratic: Q, (k, k), symmetric.
        linear: q, (k,).
        weights: (m, k).
        lambda2: (m,), in units of Q.
        floor: a number that no eigenvalue of Q is below, the ridge for instance.
        is_affine: whether sum(w) = 1 is asked.
    """
    parts = [
        _judge(
            quadratic,
            linear,
            weights[start : start + _ROWS],
            lambda2[start : start + _ROWS, None],
            floor,
            is_affine,
        )
        for start in range(0, len(weights), _ROWS)
    ]
    residuals, gaps = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Verdicts(residuals, gaps)


def _judge(
    quadratic: Matrix, linear: Vector, w: Matrix, lambda2: Matrix, floor: float, is_affine: bool
) -> tuple[Vector, Vector]:
    g = w @ quadratic - linear
    upper = g - lambda2
    low = np.where(w > 0, g, upper).max(axis=1, keepdims=True)
    high = np.where(w < 0, upper, g).min(axis=1, keepdims=True)
    t = (low + high) / 2 if is_affine else -lambda2 / 2
    # both halves count in the gradient 2g
    violation = np.maximum(2 * np.maximum(low - t, t - high), 0.0)[:, 0]
    off = np.abs(w.sum(axis=1) - 1.0) if is_affine else np.zeros(len(w))
    clipped = np.clip(g, t, t + lambda2)
    distance = np.where(w > 0, clipped - t, t + lambda2 - clipped)
    gap = 2 * (np.abs(w) * distance).sum(axis=1) + ((clipped - g) ** 2).sum(axis=1) / floor
    gap += off * np.abs(2 * t + lambda2)[:, 0]
    return np.maximum(violation / _scale(quadratic, linear, w), off), gap


def _scale(quadratic: Matrix, linear: Vector, w: Matrix) -> Vector:
    """The largest that a term of the gradient can be; |Q_ij|^2 <= Q_ii Q_jj saves a product."""
    diagonal = np.diagonal(quadratic)
    lengths = np.sqrt(diagonal)
    terms = 2.0 * (lengths.max() * (np.abs(w) @ lengths) + np.abs(linear).max())
    return np.asarray(np.maximum(terms, diagonal.mean()), dtype=np.float64)
