"""Weighing: drafts of a target, of a reference in its place, and of a library without a source."""

from __future__ import annotations

import numpy as np

from flows.library.calibration import distances_within, limits_within
from flows.library.retrieval import TargetView
from flows.workspace.workspace import Workspace
from rpe_core.ensemble import EnsembleDraft, draft_ensemble
from rpe_core.records import Candidate, StrategySpec
from rpe_core.retrieval.left_out import nearest_to_reference
from rpe_core.weighting.guards import WeightLimits, check_domain
from rpe_core.weighting.tuning import Tuning, in_general


def draft_of_target(
    workspace: Workspace, target: TargetView, spec: StrategySpec, tuning: Tuning | None
) -> EnsembleDraft:
    """The ensemble of a target by a strategy; `tuning` holds what the strategy leaves open."""
    return draft_ensemble(
        target.z,
        target.candidates,
        spec,
        domain=target.domain,
        limits=_limits(workspace, target, spec, tuning, target.hidden),
        tuning=tuning,
    )


def leave_out(
    workspace: Workspace,
    target: TargetView,
    adapter: Candidate,
    spec: StrategySpec,
    tuning: Tuning | None,
) -> EnsembleDraft | None:
    """The ensemble that a reference would have got as a target, its own source left out."""
    nearest = nearest_to_reference(adapter, target.library, k=target.spec.k_most)
    if not nearest:
        return None
    hidden = target.hidden | {adapter.source}
    calibration = distances_within(workspace, target.whole)
    domain = check_domain(nearest[0].distance, calibration, without=hidden)
    limits = _limits(workspace, target, spec, tuning, hidden)
    z = np.asarray(adapter.z)
    return draft_ensemble(z, nearest, spec, domain=domain, limits=limits, tuning=tuning)


def without_source(
    workspace: Workspace,
    target: TargetView,
    spec: StrategySpec,
    tuning: Tuning | None,
    source: str,
) -> EnsembleDraft:
    """The ensemble of a target as it would be had a source never been in the library."""
    others = [c for c in target.library if c.source != source][: target.spec.k_most]
    hidden = target.hidden | {source}
    domain = target.domain
    if others:
        calibration = distances_within(workspace, target.whole)
        domain = check_domain(others[0].distance, calibration, without=hidden)
    limits = _limits(workspace, target, spec, tuning, hidden)
    return draft_ensemble(target.z, others, spec, domain=domain, limits=limits, tuning=tuning)


def _limits(
    workspace: Workspace,
    target: TargetView,
    spec: StrategySpec,
    tuning: Tuning | None,
    hidden: frozenset[str],
) -> WeightLimits:
    setting = tuning.chosen if tuning else {}
    k = int(setting.get("k", target.spec.k_most))
    general = in_general(spec, setting)
    return limits_within(workspace, target.whole, general, k=k, hidden=hidden)
