"""Registration: keep what was made - artifact, registry version, vectors, lake row, in that order.

A record is true once its lake row has committed; a redo after a kill finds what is there by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalog import lineage
from catalog.errors import RecordConflict, RecordNotFound
from catalog.stores import drafts
from catalog.stores.bundle import Stores
from catalog.stores.cards import (
    AdapterCard,
    EnsembleCard,
    adapter_row,
    base_row,
    ensemble_row,
    member_rows,
    model_row,
)
from catalog.stores.model_card import EnsembleFacts, MemberLine, ScoreLine
from catalog.stores.registry import ModelVersionRef, require_target_name
from rpe_core.errors import InputError
from rpe_core.records import BaseModel, Representation, RunRef, TaskSpec

__all__ = [
    "AdapterCard",
    "EnsembleCard",
    "keep_representation",
    "register_adapter",
    "register_base",
    "register_challenger",
    "register_ensemble",
]

Row = dict[str, Any]


def register_base(
    stores: Stores,
    base: BaseModel,
    files: Sequence[Path],
    *,
    is_hub: bool = False,
    run: RunRef,
) -> ModelVersionRef:
    """Register a base once: with its files, or, if it lies on the hub, by id and revision.

    Raises:
        RecordConflict: the files are not those that base.sha256 was taken over.
    """
    known = _find(stores, "bases", "base_id", base.base_id)
    if known:
        return _ref(known)
    if stores.artifacts.hash_files(files) != base.sha256:
        raise RecordConflict(
            "The files of the base model changed after it was identified.",
            where=base.base_id,
            remedy="start the run again; it identifies the base anew",
        )
    # a local folder is known by its name, because a path names a machine
    shown = base.model if is_hub or base.model.startswith("builtin:") else Path(base.model).name
    ref = stores.registry.register(drafts.base_draft(base, files, model=shown, is_hub=is_hub))
    revision = base.revision if is_hub else ""
    with stores.lake.transaction(message="register base", run=run) as commit:
        commit.insert_new("bases", [base_row(base, ref, model=shown, revision=revision)])
        commit.insert_new("model_versions", [model_row(ref, "base", base.base_id)])
    return ref


def keep_representation(stores: Stores, representation: Representation, *, run: RunRef) -> None:
    """File z in LoRA-VecDB and its length and standard error in the lake.

    Raises:
        InputError: z or its variance is not finite, or they differ in length.
    """
    stores.vectors.put(representation)
    z, variance = np.asarray(representation.z), np.asarray(representation.variance)
    row = {
        "representation_id": representation.representation_id,
        "dataset_version_id": representation.dataset_version_id,
        "encoder_id": representation.encoder_id,
        "role": representation.role,
        "n_items": representation.n_items,
        "norm": float(np.linalg.norm(z)),
        "standard_error": float(np.sqrt(variance.sum() / representation.n_items)),
    }
    parents = [("dataset", representation.dataset_version_id)]
    with stores.lake.transaction(message="keep representation", run=run) as commit:
        commit.insert_new("representations", [row])
        commit.insert_new("lineage", lineage.edges(representation.representation_id, parents))


def register_adapter(
    stores: Stores, card: AdapterCard, folder: Path, *, run: RunRef
) -> ModelVersionRef:
    """Keep a trained adapter and file it under its representation in LoRA-VecDB.

    Raises:
        RecordNotFound: its base or its representation was not registered before.
        RecordConflict: an adapter of this id with other weights is on record.
    """
    known = _find(stores, "adapters", "adapter_id", card.adapter_id)
    if known:
        _require_weights(known, card.adapter_id, card.weights_sha256)
        return _ref(known)
    artifact_sha256 = stores.artifacts.put_folder(folder)
    ref = stores.registry.register(
        drafts.adapter_draft(
            card,
            registered_base=_registered_base(stores, card.base),
            folder=stores.artifacts.folder(artifact_sha256),
        )
    )
    filed = stores.vectors.representation(card.representation_id)
    stores.vectors.put(filed, adapter_id=card.adapter_id)
    parents = [
        ("dataset", card.dataset_version_id),
        ("representation", card.representation_id),
        ("base", card.base.base_id),
    ]
    with stores.lake.transaction(message="register adapter", run=run) as commit:
        commit.insert_new("adapters", [adapter_row(card, ref, artifact_sha256)])
        commit.insert_new("model_versions", [model_row(ref, "adapter", card.adapter_id)])
        commit.insert_new("lineage", lineage.edges(card.adapter_id, parents))
    return ref


def register_ensemble(stores: Stores, card: EnsembleCard, folder: Path, *, run: RunRef) -> None:
    """Keep a merged ensemble; only a challenger gets a version in the registry.

    Raises:
        RecordConflict: an ensemble of this id with other weights is on record.
        InputError: a member belongs to another base, or the weights do not sum to one.
    """
    known = _find(stores, "ensembles", "ensemble_id", card.ensemble_id)
    if known:
        _require_weights(known, card.ensemble_id, card.weights_sha256)
        return
    require_target_name(card.target_name)
    _require_members(stores, card)
    artifact_sha256 = stores.artifacts.put_folder(folder)
    parents = [("member", member.adapter_id) for member in card.members]
    parents += [
        ("target", card.dataset_version_id),
        ("representation", card.representation_id),
        ("base", card.base.base_id),
    ]
    with stores.lake.transaction(message="register ensemble", run=run) as commit:
        commit.insert_new("ensembles", [ensemble_row(card, artifact_sha256)])
        commit.insert_new("ensemble_members", member_rows(card))
        commit.insert_new("attributions", list(card.attributions))
        commit.insert_new("lineage", lineage.edges(card.ensemble_id, parents))


def register_challenger(
    stores: Stores,
    ensemble_id: str,
    *,
    base: BaseModel,
    task: TaskSpec,
    evidence: str,
    run: RunRef,
) -> ModelVersionRef:
    """Give a kept ensemble a version of its target's registered model; a second call finds it.

    Raises:
        RecordNotFound: no such ensemble, or its base was not registered before.
        InputError: base is not the one that the ensemble was merged for.
    """
    known = _find(stores, "model_versions", "record_id", ensemble_id)
    if known:
        return _ref(known)
    row = _find(stores, "ensembles", "ensemble_id", ensemble_id)
    if row is None:
        raise RecordNotFound("There is no such ensemble.", where=ensemble_id)
    lineage.require_same_base(base.base_id, {ensemble_id: row["base_id"]})
    ref = stores.registry.register(
        drafts.ensemble_draft(
            _ensemble_facts(stores, row, evidence),
            base,
            task,
            registered_base=_registered_base(stores, base),
            folder=stores.artifacts.folder(row["artifact_sha256"]),
            weights_sha256=row["weights_sha256"],
        )
    )
    with stores.lake.transaction(message="register challenger", run=run) as commit:
        commit.insert_new("model_versions", [model_row(ref, "ensemble", ensemble_id)])
    return ref


def _require_members(stores: Stores, card: EnsembleCard) -> None:
    total = float(sum(member.weight for member in card.members))
    if not abs(total - 1.0) <= 1e-9:
        raise InputError("The weights of an ensemble must sum to one.", where=card.ensemble_id)
    ids = [member.adapter_id for member in card.members]
    rows = stores.lake.rows(
        "SELECT adapter_id, base_id FROM core.adapters WHERE list_contains(?, adapter_id)", [ids]
    )
    found = {row["adapter_id"]: row["base_id"] for row in rows}
    missing = sorted(set(ids) - set(found))
    if missing:
        raise RecordNotFound(
            "An ensemble names adapters that are not on record.", where=", ".join(missing)
        )
    lineage.require_same_base(card.base.base_id, found)


def _require_weights(known: Row, record_id: str, weights_sha256: str) -> None:
    if known["weights_sha256"] != weights_sha256:
        raise RecordConflict(
            "A record of this id is kept with other weights.",
            where=record_id,
            expected=f"weights {known['weights_sha256'][:12]}, given {weights_sha256[:12]}",
            remedy="bytes depend on thread count and library versions; both are on record",
        )


def _registered_base(stores: Stores, base: BaseModel) -> tuple[str, str]:
    row = _find(stores, "bases", "base_id", base.base_id)
    if row is None:
        raise RecordNotFound(
            "The base model is not registered yet.",
            where=base.base_id,
            remedy="register the base before what is made on it",
        )
    return row["model_name"], row["model_version"]


def _ensemble_facts(stores: Stores, row: Row, evidence: str) -> EnsembleFacts:
    members = stores.lake.rows(
        "SELECT m.adapter_id, a.dataset_version_id, m.weight, m.distance, a.license,"
        " a.weights_sha256 FROM core.ensemble_members m JOIN core.adapters a USING (adapter_id)"
        " WHERE m.ensemble_id = ? ORDER BY m.adapter_id",
        [row["ensemble_id"]],
    )
    scores = stores.lake.rows(
        "SELECT arm, split, metric, value, ci_low, ci_high, n_items FROM core.scores"
        " WHERE target_name = ? AND dataset_version_id = ? AND slice = ''"
        " AND (ensemble_id = ? OR arm = 'base') AND split <> 'train'"
        " QUALIFY row_number() OVER (PARTITION BY arm, split, metric"
        " ORDER BY recorded_at DESC, evaluation_id) = 1 ORDER BY split, metric, arm",
        [row["target_name"], row["dataset_version_id"], row["ensemble_id"]],
    )
    return EnsembleFacts(
        row["ensemble_id"],
        row["target_name"],
        row["dataset_version_id"],
        row["strategy"],
        row["merge"],
        evidence,
        row["license"],
        row["reason"],
        row["rank"],
        tuple(MemberLine(**member) for member in members),
        tuple(ScoreLine(**score) for score in scores),
    )


def _find(stores: Stores, table: str, column: str, value: str) -> Row | None:
    rows = stores.lake.rows(
        f"SELECT * FROM core.{table} WHERE {column} = ? AND retracted_at IS NULL", [value]
    )
    return rows[0] if rows else None


def _ref(row: Row) -> ModelVersionRef:
    return ModelVersionRef(row["model_name"], row["model_version"])
