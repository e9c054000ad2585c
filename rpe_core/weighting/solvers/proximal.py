"""Where an l1-penalised quadratic has its zeros, guessed: accelerated proximal gradients."""

from __future__ import annotations

import numpy as np

from rpe_core.distance import IntVector, Matrix, Vector

_STEPS = 64  # at most
_SETTLED = 1024  # one sign of so many may still change when the guess is taken
_SHIFTS = 3  # Newton steps towards a sum of one, at most; the next step starts where they end
_NEAR_ONE = 1e-3


def likely_signs(
    quadratic: Matrix, linear: Vector, *, lambda2: float, is_affine: bool
) -> IntVector:
    """Signs of argmin_w w'Qw - 2q'w + lambda2 ||w||_1, shape (k,): near the truth, not proven.

    FISTA (Beck and Teboulle, 2009), restarted where it overshoots (O'Donoghue and Candes, 2015).
    A step costs one product with Q, and its length follows the largest curvature met so far. It
    ends when hardly a sign changes any more, long before the weights themselves have settled.

    >>> corners = np.array([[2.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.1]])
    >>> likely_signs(corners, np.zeros(3), lambda2=0.1, is_affine=True)
    array([-1,  1,  1])
    """
    k = len(linear)
    weights = np.full(k, 1.0 / k if is_affine else 0.0)
    slope = quadratic @ weights - linear
    signs, ahead, slope_ahead = np.zeros(k), weights, slope
    curvature, momentum, shift = float(np.diagonal(quadratic).mean()) or 1.0, 1.0, 0.0
    for _ in range(_STEPS):
        aim, threshold = ahead - slope_ahead / curvature, lambda2 / (2.0 * curvature)
        if is_affine:
            shift = _shift_to_one(aim, threshold, shift)
        shrunk = _shrunk(aim + shift, threshold)
        found_slope = quadratic @ shrunk - linear
        step, bend = shrunk - weights, found_slope - slope
        curvature = max(curvature, float(step @ bend) / max(float(step @ step), 1e-300))
        if float((ahead - shrunk) @ step) > 0.0:
            momentum = 1.0
        following = (1.0 + (1.0 + 4.0 * momentum**2) ** 0.5) / 2.0
        share, momentum = (momentum - 1.0) / following, following
        ahead, slope_ahead = shrunk + share * step, found_slope + share * bend
        weights, slope, before, signs = shrunk, found_slope, signs, np.sign(shrunk)
        if np.count_nonzero(signs != before) <= k // _SETTLED:
            break
    return signs.astype(np.int64)


def _shift_to_one(aim: Vector, threshold: float, shift: float) -> float:
    """What is added to every coordinate so that the shrunk ones sum to one, to first order."""
    for _ in range(_SHIFTS):
        shrunk = _shrunk(aim + shift, threshold)
        missing = 1.0 - float(shrunk.sum())
        if abs(missing) < _NEAR_ONE:
            break
        n = np.count_nonzero(shrunk)
        shift = shift + missing / n if n else threshold - float(aim.max()) + 1.0 / len(aim)
    return shift


def _shrunk(values: Vector, threshold: float) -> Vector:
    """Soft thresholding: the proximal map of the l1 norm."""
    return np.copysign(np.maximum(np.abs(values) - threshold, 0.0), values)
