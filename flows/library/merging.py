"""Merging: adapters on record by weights, from their stored folders to a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.library.donor_grams import gram_files
from flows.library.retrieval import TargetView
from flows.workspace.bases import base_folder
from flows.workspace.plan import BASELINE_MERGES, REGMEAN
from flows.workspace.workspace import Workspace
from rpe_core.ensemble import EnsembleDraft
from rpe_core.errors import InputError
from rpe_core.merging.manifest import MergeReport
from rpe_core.merging.merge import merge


@dataclass(frozen=True)
class MergeAsk:
    """What is asked of a merge of adapters on record; the base is None where it is not at hand.

    `min_groups`: of how many groups RegMean's matrices are; by default what the plan publishes.
    """

    method: str
    rank: int | None
    base_name: str | None
    min_groups: int | None = None


def merge_members(
    workspace: Workspace, target: TargetView, draft: EnsembleDraft, out: Path
) -> MergeReport:
    """The weighted sum of the members' deltas as a target asks, from stored folders to a new one.

    Where members trained modules whole, their change counts from the base's own files.
    """
    weights = {m.adapter_id: m.weight for m in draft.members if m.weight != 0.0}
    asked = MergeAsk(target.spec.merge, target.spec.rank, target.base.name)
    return merge_stored(workspace, weights, out, asked)


def merge_stored(
    workspace: Workspace, weights: Mapping[str, float], out: Path, asked: MergeAsk
) -> MergeReport:
    """Merge adapters on record by weights, in this order; by a baseline where it is one.

    Raises:
        InputError: the base is asked for, and not at hand.
    """
    rows, artifacts = workspace.adapter_rows(weights), workspace.stores.artifacts
    members = [
        # hashed again: an adapter that was changed since it was kept must not be served
        (artifacts.folder(rows[adapter_id]["artifact_sha256"], is_verified=True), weight)
        for adapter_id, weight in weights.items()
    ]
    if asked.method in BASELINE_MERGES:
        # a baseline through PEFT, which the exact methods neither need nor import
        from rpe_core.adapters.peft_merge import merge_with_peft

        return merge_with_peft(members, out, method=asked.method)
    grams = _grams(workspace, weights, asked) if asked.method == REGMEAN else ()
    name = asked.base_name
    base = base_folder(workspace.plan.bases[name]) if name else None
    return merge(members, out, method=asked.method, rank=asked.rank, base=base, grams=grams)


def _grams(
    workspace: Workspace, weights: Mapping[str, float], asked: MergeAsk
) -> list[Path | None]:
    if asked.base_name is None:
        raise InputError(
            "RegMean asks what the members were fed under their base, and the plan has it no more.",
            remedy="put the base back into plan.yaml",
        )
    return gram_files(workspace, asked.base_name, weights, min_groups=asked.min_groups)
