"""Guards against a target outside the library and against weights that extrapolate."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from rpe_core.errors import require_positive
from rpe_core.weighting.binomial import Rate
from rpe_core.weighting.calibration import (
    MIN_CALIBRATED,
    LibraryCalibration,
    WeightCalibration,
    usual_limit,
)
from rpe_core.weighting.strategies import Weighting

Calibration = Literal["leave_one_out", "uncalibrated"]

MIN_REFERENCES = 3  # below, the library has no spread to compare with
CALIBRATED_LIMIT = 1.0
UNCALIBRATED_LIMIT = 1.5  # lenient: a small library underestimates its own spread
MAX_L1_NORM = 3.0
MAX_RESIDUAL_RATIO = 0.9
UNKNOWN_RATIO = -1.0  # stored where no ratio can be given; NaN never reaches a store
MAX_RATIO = 1e6  # stored where the library has no spread at all, in place of infinity
_SAME = 1e-9  # a norm this much above its limit differs by rounding only


@dataclass(frozen=True)
class DomainCheck:
    """Is the target inside the library's own range?

    `distance_ratio` is the target's nearest distance over what the references' leave-one-out
    nearest distances usually stay within: -1 where the library is too small, at most 1e6.
    `false_abstain` is how often this guard would refuse a reference of the library itself.
    """

    distance_ratio: float
    is_far: bool
    calibration: Calibration
    reason: str
    false_abstain: Rate | None = None


@dataclass(frozen=True)
class WeightLimits:
    """The largest l1 norm and residual ratio that count as usual, and where that comes from."""

    max_l1_norm: float = MAX_L1_NORM
    max_residual_ratio: float = MAX_RESIDUAL_RATIO
    calibration: Calibration = "uncalibrated"
    false_abstain: Rate | None = None


FIXED_LIMITS = WeightLimits()


def check_domain(
    nearest: float,
    library: LibraryCalibration,
    *,
    without: Collection[str] = (),
    limit: float | None = None,
) -> DomainCheck:
    """Compare the target's distance to its nearest reference with the library's own distances.

    Args:
        nearest: Euclidean distance of the target to the nearest reference that it may use.
        library: the calibration of all references of this encoder.
        without: at most two sources that count as never seen, the target's own for instance; the
            limit leaves them out exactly. The false-abstain rate is that of the whole library,
            which one source changes by a rank or two.
        limit: largest distance ratio that counts as inside; by default 1.0 with 20 references or
            more, and a lenient 1.5 below, where what is usual is `uncalibrated`.
    """
    distances = library.distances(without)
    n = len(distances)
    is_calibrated = n >= MIN_CALIBRATED
    calibration: Calibration = "leave_one_out" if is_calibrated else "uncalibrated"
    if limit is None:
        limit = CALIBRATED_LIMIT if is_calibrated else UNCALIBRATED_LIMIT
    require_positive("limit", limit)
    where = f"{calibration}, {n} references"
    if n < MIN_REFERENCES:
        reason = f"too few references to judge the distance ({where})"
        return DomainCheck(UNKNOWN_RATIO, False, calibration, reason)
    rate = library.false_abstain if is_calibrated else None
    if rate is not None:
        where += f", false-abstain rate {rate.ratio:.3f} [{rate.low:.3f}, {rate.high:.3f}]"
    spread = usual_limit(distances)
    ratio = 0.0 if nearest == 0 else MAX_RATIO
    if spread > 0:
        ratio = min(nearest / spread, MAX_RATIO)
    is_far = ratio > limit
    verdict = "out of domain: " if is_far else ""
    relation = ">" if is_far else "<="
    reason = f"{verdict}distance ratio {ratio:.2f} {relation} {limit:g} ({where})"
    return DomainCheck(ratio, is_far, calibration, reason, rate)


def weight_limits(library: WeightCalibration, *, without: Collection[str] = ()) -> WeightLimits:
    """What is usual in the library from 20 references on, else the fixed limits 3 and 0.9."""
    norm, residual, n = library.limits(without)
    if n < MIN_CALIBRATED:
        return FIXED_LIMITS
    return WeightLimits(norm, residual, "leave_one_out", library.false_abstain)


def check_weights(weighting: Weighting, limits: WeightLimits = FIXED_LIMITS) -> tuple[str, ...]:
    """Why these weights should not be trusted, in words; empty where nothing speaks so."""
    reasons = []
    if is_extrapolating(weighting, limits):
        norm = float(weighting.details["l1_norm"])
        reasons.append(f"weights extrapolate: l1 norm {norm:.2f} > {limits.max_l1_norm:.3g}")
    residual = float(weighting.details["residual_ratio"])
    if residual > limits.max_residual_ratio:
        reasons.append(
            "library does not span the target: "
            f"residual ratio {residual:.2f} > {limits.max_residual_ratio:.3g}"
        )
    return tuple(reasons)


def is_extrapolating(weighting: Weighting, limits: WeightLimits = FIXED_LIMITS) -> bool:
    """Whether ||w||_1 exceeds the limit: large weights of both signs that nearly cancel."""
    return float(weighting.details["l1_norm"]) > limits.max_l1_norm * (1.0 + _SAME)
