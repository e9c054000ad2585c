"""Cards: what registration keeps of an adapter or an ensemble, and the lake rows they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from catalog.stores.registry.model_versions import ModelVersionRef
from catalog.stores.registry.sums import Sums
from catalog.stores.vectors.rows import vector_sha256
from rpe_core.fingerprint import canonical_json
from rpe_core.records import BaseModel, Member, Representation, StrategySpec, TaskSpec

Row = dict[str, Any]


@dataclass(frozen=True)
class AdapterCard:
    """A trained adapter as it is to be kept; `weights_sha256` is of adapter_model.safetensors."""

    adapter_id: str
    source: str
    dataset_version_id: str
    base: BaseModel
    task: TaskSpec
    recipe_id: str
    recipe: Mapping[str, Any]
    representation_id: str
    license: str
    weights_sha256: str
    rank: int
    n_parameters: int
    n_steps: int
    validation_score: float | None  # none where it had no validation rows
    threads: int
    versions: Mapping[str, str] = field(default_factory=dict)
    train_seconds: float | None = None
    peak_memory_bytes: int | None = None
    origin: str = "trained"


@dataclass(frozen=True)
class EnsembleCard:
    """A merged ensemble as it is to be kept; details are what the strategy derived.

    `tuning` tells how parameters that say `loo` were chosen, with the alternatives; `attributions`
    are rows of core.attributions; `asked` is what a replay must know of the plan.
    """

    ensemble_id: str
    sha256: str
    target_name: str
    dataset_version_id: str
    base: BaseModel
    task: TaskSpec
    strategy: StrategySpec
    details: Mapping[str, float | str]
    merge: str
    members: tuple[Member, ...]
    representation_id: str
    weights_sha256: str
    rank: int
    merge_error_ratio: float
    distance_ratio: float
    abstained: bool
    reason: str
    license: str
    threads: int
    tuning: Mapping[str, Any] | None = None
    attributions: Sequence[Row] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MergedEnsemble:
    """An ensemble whose members have been merged, and the sha256 of its folder in the store."""

    card: EnsembleCard
    artifact_sha256: str


@dataclass(frozen=True)
class Challenger:
    """A kept ensemble that is to get a version, and the kind of evidence that it stands on."""

    ensemble_id: str
    base: BaseModel
    task: TaskSpec
    evidence: str


def representation_row(representation: Representation) -> Row:
    """Row of core.representations: length and standard error of z, not z itself."""
    z, variance = np.asarray(representation.z), np.asarray(representation.variance)
    return {
        "representation_id": representation.representation_id,
        "dataset_version_id": representation.dataset_version_id,
        "encoder_id": representation.encoder_id,
        "role": representation.role,
        "n_items": representation.n_items,
        "n_groups": representation.n_groups,
        "norm": float(np.linalg.norm(z)),
        "standard_error": float(np.sqrt(variance.sum() / representation.n_items)),
        "shares_json": canonical_json(representation.shares) if representation.shares else None,
        "vector_sha256": vector_sha256(z, variance),
    }


def base_row(base: BaseModel, ref: ModelVersionRef, *, model: str, revision: str) -> Row:
    """The row of core.bases; `model` is a name or hub id, never a path."""
    return {
        "base_id": base.base_id,
        "base_name": base.name,
        "family": base.family,
        "model": model,
        "revision": revision,
        "base_sha256": base.sha256,
        "model_name": ref.name,
        "model_version": ref.version,
    }


def adapter_row(card: AdapterCard, ref: ModelVersionRef, artifact_sha256: str) -> Row:
    """The row of core.adapters; an empty ref stands for an adapter without a version."""
    return {
        "adapter_id": card.adapter_id,
        "source": card.source,
        "dataset_version_id": card.dataset_version_id,
        "base_id": card.base.base_id,
        "recipe_id": card.recipe_id,
        "recipe_json": canonical_json(card.recipe),
        "representation_id": card.representation_id,
        "license": card.license,
        "task_json": canonical_json(card.task.declared),
        "origin": card.origin,
        "weights_sha256": card.weights_sha256,
        "artifact_sha256": artifact_sha256,
        "rank": card.rank,
        "n_parameters": card.n_parameters,
        "n_steps": card.n_steps,
        "validation_score": card.validation_score,
        "threads": card.threads,
        "train_seconds": card.train_seconds,
        "peak_memory_bytes": card.peak_memory_bytes,
        "versions_json": canonical_json(card.versions),
        "model_name": ref.name,
        "model_version": ref.version,
    }


def ensemble_row(card: EnsembleCard, artifact_sha256: str) -> Row:
    """The row of core.ensembles."""
    parameters: Row = {"details": card.details, "strategy": card.strategy}
    if card.tuning is not None:
        parameters["tuning"] = card.tuning
    return {
        "ensemble_id": card.ensemble_id,
        "target_name": card.target_name,
        "dataset_version_id": card.dataset_version_id,
        "base_id": card.base.base_id,
        "strategy": card.strategy.name,
        "parameters": canonical_json(parameters),
        "merge": card.merge,
        "weights_sha256": card.weights_sha256,
        "artifact_sha256": artifact_sha256,
        "rank": card.rank,
        "merge_error_ratio": card.merge_error_ratio,
        "kkt_residual_ratio": _detail(card, "kkt_residual_ratio"),
        "residual_ratio": _detail(card, "residual_ratio"),
        "l1_norm": float(sum(abs(member.weight) for member in card.members)),
        "distance_ratio": card.distance_ratio,
        "abstained": card.abstained,
        "reason": card.reason,
        "license": card.license,
        "asked_json": canonical_json(card.asked),
        "threads": card.threads,
        "versions_json": canonical_json(card.versions),
    }


def _detail(card: EnsembleCard, name: str) -> float | None:
    value = card.details.get(name)
    return None if value is None else float(value)


def member_rows(card: EnsembleCard) -> list[Row]:
    """The rows of core.ensemble_members, sorted by adapter."""
    return [
        {
            "ensemble_id": card.ensemble_id,
            "strategy": card.strategy.name,
            "adapter_id": member.adapter_id,
            "weight": member.weight,
            "distance": member.distance,
        }
        for member in sorted(card.members, key=lambda member: member.adapter_id)
    ]


def model_row(
    ref: ModelVersionRef, kind: str, record_id: str, *, served_sha256: str, sums: Sums
) -> Row:
    """The row of core.model_versions."""
    return {
        "model_name": ref.name,
        "model_version": ref.version,
        "kind": kind,
        "record_id": record_id,
        "served_sha256": served_sha256,
        **asdict(sums),
    }
