"""Attribution: every ensemble of a target once more without each source of its library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flows.workspace.bases import base_folder
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.attribution import attribute
from rpe_core.delta_gram import delta_gram, whole_gram
from rpe_core.distance import Matrix
from rpe_core.ensemble import EnsembleDraft
from rpe_core.merging.peft_folders import read_adapter, read_base_tensors

MAX_ADAPTERS = 32  # whose factors are held at once; of ensembles with more, nothing is attributed
GRAMS = CacheSection[tuple[str, ...], Matrix]("inner products of adapters")


def attributions_of(
    workspace: Workspace,
    base_name: str,
    ensemble_id: str,
    draft: EnsembleDraft,
    without: Mapping[str, EnsembleDraft],
    sources: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Rows of core.attributions: how weights and merged delta change without each source."""
    drafts = [draft, *without.values()]
    ids = sorted({member.adapter_id for variant in drafts for member in variant.members})
    if len(ids) > MAX_ADAPTERS:
        return []
    attributions = attribute(
        weights_of(draft),
        {source: weights_of(other) for source, other in without.items()},
        sources=sources,
        adapter_ids=ids,
        gram=_gram(workspace, base_name, ids),
    )
    return [
        {
            "ensemble_id": ensemble_id,
            **asdict(attribution),
            "abstained": without[attribution.source].abstained,
        }
        for attribution in attributions
    ]


def weights_of(draft: EnsembleDraft) -> dict[str, float]:
    """Weight by adapter."""
    return {member.adapter_id: member.weight for member in draft.members}


def _gram(workspace: Workspace, base_name: str, adapter_ids: list[str]) -> Matrix:
    """Inner products of adapters, shared by the strategies of a target."""

    def find() -> Matrix:
        rows, artifacts = workspace.adapter_rows(adapter_ids), workspace.stores.artifacts
        folders = [artifacts.folder(rows[i]["artifact_sha256"]) for i in adapter_ids]
        adapters = [read_adapter(folder) for folder in folders]
        gram = delta_gram([adapter.deltas for adapter in adapters])
        if names := {name for adapter in adapters for name in adapter.whole}:
            base = read_base_tensors(base_folder(workspace.plan.bases[base_name]), names)
            gram += whole_gram([adapter.whole for adapter in adapters], base)
        return gram + whole_gram([adapter.prompts for adapter in adapters])

    return workspace.cache.get(GRAMS, tuple(adapter_ids), find)
