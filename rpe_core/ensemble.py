"""The paper in one file: candidates -> weights -> checks; an ensemble before it is merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rpe_core.distance import Matrix, Vector, squared_distances
from rpe_core.errors import InputError, UnknownName
from rpe_core.records import Candidate, Member, StrategySpec
from rpe_core.weighting.guards import (
    FIXED_LIMITS,
    DomainCheck,
    WeightLimits,
    check_weights,
    is_extrapolating,
)
from rpe_core.weighting.strategies import STRATEGIES, weigh
from rpe_core.weighting.tuning import Tuning, resolve


@dataclass(frozen=True)
class EnsembleDraft:
    """Who enters with which weight, what the weights were made with, and which guards were raised.

    An abstained draft keeps its members for the record; it is not to be served. `members` is empty
    only where there were no candidates, and `details` then too.
    """

    strategy: StrategySpec
    members: tuple[Member, ...]
    details: dict[str, float | str]
    abstained: bool
    reason: str
    distance_ratio: float
    tuning: Tuning | None = None


def draft_ensemble(
    target: Vector,
    candidates: Sequence[Candidate],
    strategy: StrategySpec,
    *,
    domain: DomainCheck,
    limits: WeightLimits = FIXED_LIMITS,
    tuning: Tuning | None = None,
) -> EnsembleDraft:
    """Weigh the k nearest candidates for the target (d,) and check the outcome.

    It abstains where the target is out of domain, where the weights' l1 norm exceeds its limit, or
    where there is no candidate. A residual ratio above its limit is told in the reason and changes
    nothing; it is asked only of strategies that fit the target, since the plain average has 1 by
    definition. The limits in use and their false-abstain rates stand in the details. What the
    strategy leaves to leave-one-out is taken from `tuning`, which stays with the draft.

    Raises:
        UnknownName: the strategy is not known.
        InputError: a wrong parameter, shapes that differ, or an adapter listed twice.
    """
    if strategy.kind not in STRATEGIES:
        raise UnknownName("strategy", strategy.kind, STRATEGIES)
    if not candidates:
        reason = f"no candidate to weigh; {domain.reason}"
        return EnsembleDraft(strategy, (), {}, True, reason, domain.distance_ratio)
    if len({candidate.adapter_id for candidate in candidates}) != len(candidates):
        raise InputError(
            "An adapter is listed twice among the candidates.", expected="distinct ids"
        )
    setting = tuning.chosen if tuning else {}
    candidates = candidates[: int(setting.get("k", len(candidates)))]
    references = _stack(candidates)
    weighting = weigh(resolve(strategy, setting, target, references), target, references)
    distances = np.sqrt(squared_distances(target, references))
    if not STRATEGIES[strategy.kind].is_fitted:
        limits = replace(limits, max_residual_ratio=math.inf)
    raised = check_weights(weighting, limits)
    return EnsembleDraft(
        strategy=strategy,
        members=_members(candidates, weighting.weights, distances),
        details={**weighting.details, **_guard_details(domain, limits)},
        abstained=domain.is_far or is_extrapolating(weighting, limits),
        reason="; ".join([*raised, domain.reason]),
        distance_ratio=domain.distance_ratio,
        tuning=tuning,
    )


def _guard_details(domain: DomainCheck, limits: WeightLimits) -> dict[str, float | str]:
    details: dict[str, float | str] = {
        "domain_calibration": domain.calibration,
        "weight_calibration": limits.calibration,
        "max_l1_norm": limits.max_l1_norm,
    }
    if math.isfinite(limits.max_residual_ratio):
        details["max_residual_ratio"] = limits.max_residual_ratio
    for guard, rate in (("domain", domain.false_abstain), ("weight", limits.false_abstain)):
        if rate is not None:
            details[f"{guard}_false_abstain_ratio"] = rate.ratio
            details[f"{guard}_false_abstain_low"] = rate.low
            details[f"{guard}_false_abstain_high"] = rate.high
            details[f"{guard}_n_references"] = float(rate.n)
    return details


def _members(
    candidates: Sequence[Candidate], weights: Vector, distances: Vector
) -> tuple[Member, ...]:
    return tuple(
        Member(candidate.adapter_id, float(weight), float(distance))
        for candidate, weight, distance in zip(candidates, weights, distances, strict=True)
    )


def _stack(candidates: Sequence[Candidate]) -> Matrix:
    if len({len(candidate.z) for candidate in candidates}) != 1:
        raise InputError("Candidates of different encoders cannot be weighed together.")
    return np.array([candidate.z for candidate in candidates], dtype=np.float64)
