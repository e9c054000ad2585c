"""Weighing: drafts of a target, of a reference in its place, and of a library without a source."""

from __future__ import annotations

import numpy as np

from flows.library.calibration import distances_within, limits_within
from flows.library.retrieval import Retrieval
from flows.workspace.workspace import Workspace
from rpe_core.ensemble import EnsembleDraft, draft_ensemble
from rpe_core.records import Candidate, StrategySpec
from rpe_core.weighting.guards import WeightLimits, check_domain
from rpe_core.weighting.tuning import Tuning, in_general


def draft_of_target(
    workspace: Workspace, retrieval: Retrieval, spec: StrategySpec, tuning: Tuning | None
) -> EnsembleDraft:
    """The ensemble of a target by a strategy; `tuning` holds what the strategy leaves open."""
    return draft_ensemble(
        retrieval.z,
        retrieval.candidates,
        spec,
        domain=retrieval.domain,
        limits=_limits(workspace, retrieval, spec, tuning, retrieval.hidden),
        tuning=tuning,
    )


def leave_out(
    workspace: Workspace,
    retrieval: Retrieval,
    adapter: Candidate,
    spec: StrategySpec,
    tuning: Tuning | None,
) -> EnsembleDraft | None:
    """The ensemble that a reference would have got as a target, its own source left out."""
    others = [c for c in retrieval.library if c.source != adapter.source]
    if not others:
        return None
    z = np.asarray(adapter.z)
    distances = [float(np.linalg.norm(np.asarray(c.z) - z)) for c in others]
    order = sorted(range(len(others)), key=lambda i: (distances[i], others[i].adapter_id))
    nearest = [
        Candidate(o.adapter_id, o.source, o.dataset_version_id, distances[i], o.z)
        for i in order[: retrieval.target.k_most]
        for o in [others[i]]
    ]
    hidden = retrieval.hidden | {adapter.source}
    calibration = distances_within(workspace, retrieval.whole)
    domain = check_domain(nearest[0].distance, calibration, without=hidden)
    limits = _limits(workspace, retrieval, spec, tuning, hidden)
    return draft_ensemble(z, nearest, spec, domain=domain, limits=limits, tuning=tuning)


def without_source(
    workspace: Workspace,
    retrieval: Retrieval,
    spec: StrategySpec,
    tuning: Tuning | None,
    source: str,
) -> EnsembleDraft:
    """The ensemble of a target as it would be had a source never been in the library."""
    others = [c for c in retrieval.library if c.source != source][: retrieval.target.k_most]
    hidden = retrieval.hidden | {source}
    domain = retrieval.domain
    if others:
        calibration = distances_within(workspace, retrieval.whole)
        domain = check_domain(others[0].distance, calibration, without=hidden)
    limits = _limits(workspace, retrieval, spec, tuning, hidden)
    return draft_ensemble(retrieval.z, others, spec, domain=domain, limits=limits, tuning=tuning)


def _limits(
    workspace: Workspace,
    retrieval: Retrieval,
    spec: StrategySpec,
    tuning: Tuning | None,
    hidden: frozenset[str],
) -> WeightLimits:
    setting = tuning.chosen if tuning else {}
    k = int(setting.get("k", retrieval.target.k_most))
    general = in_general(spec, setting)
    return limits_within(workspace, retrieval.whole, general, k=k, hidden=hidden)
