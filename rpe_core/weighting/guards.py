"""Guards against a target outside the library and against weights that extrapolate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rpe_core.distance import Matrix, Vector, comparable, squared_distances
from rpe_core.errors import require_positive
from rpe_core.weighting.strategies import Weighting

Calibration = Literal["leave_one_out", "uncalibrated"]

MIN_REFERENCES = 3  # below, the library has no spread to compare with
MIN_CALIBRATED = 20  # below, a 95th percentile is hardly more than the maximum
CALIBRATED_LIMIT = 1.0
UNCALIBRATED_LIMIT = 1.5  # lenient: a small library underestimates its own spread
MAX_L1_NORM = 3.0
MAX_RESIDUAL_RATIO = 0.9
UNKNOWN_RATIO = -1.0  # stored where no ratio can be given; NaN never reaches a store
MAX_RATIO = 1e6  # stored where the library has no spread at all, in place of infinity


@dataclass(frozen=True)
class DomainCheck:
    """Is the target inside the library's own range?

    `distance_ratio` is the target's nearest distance over the 95th percentile of the references'
    leave-one-out nearest distances: -1 where the library is too small, at most 1e6.
    """

    distance_ratio: float
    is_far: bool
    calibration: Calibration
    reason: str


def check_domain(target: Vector, library: Matrix, *, limit: float | None = None) -> DomainCheck:
    """Compare the target (d,) with the whole library (n, d), not with its candidates alone.

    Args:
        target: representation of the target.
        library: representations of all references of this encoder, the target's own left out.
        limit: largest distance ratio that counts as inside; by default 1.0 with 20 references or
            more, and a lenient 1.5 below, where the percentile is `uncalibrated`.

    >>> spread = np.arange(20.0)[:, None]
    >>> check_domain(np.array([9.5]), spread).is_far, check_domain(np.array([25.0]), spread).is_far
    (False, True)
    """
    vector, matrix = comparable(target, library)
    n = len(matrix)
    calibration: Calibration = "leave_one_out" if n >= MIN_CALIBRATED else "uncalibrated"
    if limit is None:
        limit = CALIBRATED_LIMIT if n >= MIN_CALIBRATED else UNCALIBRATED_LIMIT
    require_positive("limit", limit)
    where = f"{calibration}, {n} references"
    if n < MIN_REFERENCES:
        reason = f"too few references to judge the distance ({where})"
        return DomainCheck(UNKNOWN_RATIO, False, calibration, reason)
    spread = float(np.percentile(leave_one_out_distances(matrix), 95))
    nearest = float(np.sqrt(squared_distances(vector, matrix).min()))
    ratio = 0.0 if nearest == 0 else MAX_RATIO
    if spread > 0:
        ratio = min(nearest / spread, MAX_RATIO)
    is_far = ratio > limit
    verdict = "out of domain: " if is_far else ""
    relation = ">" if is_far else "<="
    reason = f"{verdict}distance ratio {ratio:.2f} {relation} {limit:g} ({where})"
    return DomainCheck(ratio, is_far, calibration, reason)


def leave_one_out_distances(library: Matrix) -> Vector:
    """Each reference's Euclidean distance to its nearest other reference, shape (n,), n >= 2.

    >>> leave_one_out_distances(np.array([[0.0], [1.0], [5.0]]))
    array([1., 1., 4.])
    """
    nearest = np.empty(len(library))
    for i, row in enumerate(library):
        squares = squared_distances(row, library)
        squares[i] = np.inf
        nearest[i] = np.sqrt(squares.min())
    return nearest


def check_weights(
    weighting: Weighting,
    *,
    max_l1_norm: float = MAX_L1_NORM,
    max_residual_ratio: float = MAX_RESIDUAL_RATIO,
) -> tuple[str, ...]:
    """Why these weights should not be trusted, in words; empty where nothing speaks so."""
    reasons = []
    if is_extrapolating(weighting, max_l1_norm=max_l1_norm):
        norm = float(weighting.details["l1_norm"])
        reasons.append(f"weights extrapolate: l1 norm {norm:.2f} > {max_l1_norm:g}")
    residual = float(weighting.details["residual_ratio"])
    if residual > max_residual_ratio:
        reasons.append(
            "library does not span the target: "
            f"residual ratio {residual:.2f} > {max_residual_ratio:g}"
        )
    return tuple(reasons)


def is_extrapolating(weighting: Weighting, *, max_l1_norm: float = MAX_L1_NORM) -> bool:
    """Whether ||w||_1 exceeds the limit: large weights of both signs that nearly cancel."""
    return float(weighting.details["l1_norm"]) > max_l1_norm
