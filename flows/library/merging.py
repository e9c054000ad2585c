"""Merging: adapters on record by weights, from their stored folders to a new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.library.retrieval import TargetView
from flows.workspace.bases import base_folder
from flows.workspace.plan import BASELINE_MERGES
from flows.workspace.workspace import Workspace
from rpe_core.ensemble import EnsembleDraft
from rpe_core.merging.manifest import MergeReport
from rpe_core.merging.merge import merge


def merge_members(
    workspace: Workspace, target: TargetView, draft: EnsembleDraft, out: Path
) -> MergeReport:
    """The weighted sum of the members' deltas as a target asks, from stored folders to a new one.

    Where members trained modules whole, their change counts from the base's own files.
    """
    weights = {m.adapter_id: m.weight for m in draft.members if m.weight != 0.0}
    spec, base = target.spec, base_folder(workspace.plan.bases[target.base.name])
    return merge_stored(workspace, weights, out, method=spec.merge, rank=spec.rank, base=base)


def merge_stored(
    workspace: Workspace,
    weights: Mapping[str, float],
    out: Path,
    *,
    method: str,
    rank: int | None,
    base: Path | None,
) -> MergeReport:
    """Merge adapters on record by weights, in this order; by a baseline where it is one."""
    rows, artifacts = workspace.adapter_rows(weights), workspace.stores.artifacts
    members = [
        # hashed again: an adapter that was changed since it was kept must not be served
        (artifacts.folder(rows[adapter_id]["artifact_sha256"], is_verified=True), weight)
        for adapter_id, weight in weights.items()
    ]
    if method in BASELINE_MERGES:
        # a baseline through PEFT, which the exact methods neither need nor import
        from rpe_core.adapters.peft_merge import merge_with_peft

        return merge_with_peft(members, out, method=method)
    return merge(members, out, method=method, rank=rank, base=base)
