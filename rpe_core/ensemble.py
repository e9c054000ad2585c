"""The paper in one file: candidates -> weights -> checks; an ensemble before it is merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rpe_core.distance import Matrix, Vector, squared_distances
from rpe_core.errors import InputError, UnknownName
from rpe_core.records import Candidate, Member, StrategySpec
from rpe_core.weighting.guards import (
    MAX_RESIDUAL_RATIO,
    DomainCheck,
    check_weights,
    is_extrapolating,
)
from rpe_core.weighting.strategies import STRATEGIES, weigh


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


def draft_ensemble(
    target: Vector,
    candidates: Sequence[Candidate],
    strategy: StrategySpec,
    *,
    domain: DomainCheck,
) -> EnsembleDraft:
    """Weigh the k nearest candidates for the target (d,) and check the outcome.

    It abstains where the target is out of domain, where the weights' l1 norm exceeds 3, or where
    there is no candidate. A residual ratio above 0.9 is told in the reason and changes nothing;
    it is asked only of strategies that fit the target, since the plain average has 1 by definition.

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
    references = _stack(candidates)
    weighting = weigh(strategy, target, references)
    distances = np.sqrt(squared_distances(target, references))
    limit = MAX_RESIDUAL_RATIO if STRATEGIES[strategy.kind].is_fitted else math.inf
    raised = check_weights(weighting, max_residual_ratio=limit)
    return EnsembleDraft(
        strategy=strategy,
        members=_members(candidates, weighting.weights, distances),
        details=weighting.details,
        abstained=domain.is_far or is_extrapolating(weighting),
        reason="; ".join([*raised, domain.reason]),
        distance_ratio=domain.distance_ratio,
    )


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
