"""Registration: keep what was made - artifact, registry version, vectors, lake row, in that order.

A record is true once its lake row has committed; a redo after a kill finds what is there by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog import lineage
from catalog.errors import RecordConflict, RecordNotFound
from catalog.records import intents, version_drafts
from catalog.records.cards import (
    AdapterCard,
    Challenger,
    EnsembleCard,
    MergedEnsemble,
    adapter_row,
    base_row,
    ensemble_row,
    member_rows,
    model_row,
    representation_row,
)
from catalog.records.ensemble_facts import facts_of
from catalog.records.version_drafts import registered_base_of
from catalog.stores.lake import chain
from catalog.stores.lake.chain import head_of
from catalog.stores.registry.model_versions import (
    ModelVersionRef,
    RegisteredBase,
    VersionDraft,
    ref_of,
)
from catalog.stores.registry.registry import require_target_name
from catalog.stores.registry.sums import Sums
from catalog.stores.stores import Stores
from catalog.tables.model_tables import MODEL_VERSIONS
from rpe_core.errors import InputError
from rpe_core.records import BaseModel, Representation, RunRef

__all__ = [
    "AdapterCard",
    "Challenger",
    "EnsembleCard",
    "MergedEnsemble",
    "keep_representations",
    "register_adapter",
    "register_base",
    "register_challengers",
    "register_ensembles",
]

Row = dict[str, Any]
_REFILED = "repair: its files were made again by another release"


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
        return ref_of(known)
    if stores.artifacts.hash_files(files) != base.sha256:
        raise RecordConflict(
            "The files of the base model changed after it was identified.",
            where=base.base_id,
            remedy="start the run again; it identifies the base again",
        )
    intents.intend(stores.lake, [base.base_id], run=run)
    # a local folder is known by its name, because a path names a machine
    shown = base.model if is_hub or base.model.startswith("builtin:") else Path(base.model).name
    draft = version_drafts.base_draft(base, files, model=shown, is_hub=is_hub)
    ref, sums = _kept(stores, draft)
    revision = base.revision if is_hub else ""
    with stores.lake.transaction(message="register base", run=run) as commit:
        commit.insert_new("bases", [base_row(base, ref, model=shown, revision=revision)])
        commit.insert_new(
            "model_versions", [model_row(ref, "base", base.base_id, served_sha256="", sums=sums)]
        )
        intents.fulfil(commit, [base.base_id])
    return ref


def keep_representations(
    stores: Stores,
    representations: Sequence[Representation],
    *,
    drifts: Sequence[Row] = (),
    run: RunRef,
) -> None:
    """File each z in LoRA-VecDB, its length, standard error and drift in the lake, in one commit.

    Raises:
        InputError: a z or its variance is not finite, or they differ in length.
    """
    ids = [representation.representation_id for representation in representations]
    intents.intend(stores.lake, ids, run=run)
    stores.vectors.put_many([(representation, None) for representation in representations])
    edges = [
        edge
        for representation in representations
        for edge in lineage.edges(
            representation.representation_id, [("dataset", representation.dataset_version_id)]
        )
    ]
    with stores.lake.transaction(message="keep representations", run=run) as commit:
        commit.insert_new(
            "representations",
            [representation_row(representation) for representation in representations],
        )
        commit.insert_new("drifts", drifts)
        commit.insert_new("lineage", edges)
        intents.fulfil(commit, ids)


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
        return ref_of(known)
    intents.intend(stores.lake, [card.adapter_id], run=run)
    artifact_sha256 = stores.artifacts.put_folder(folder)
    draft = version_drafts.adapter_draft(
        card,
        registered_base=_registered_base(stores, card.base),
        folder=stores.artifacts.folder(artifact_sha256, is_verified=True),
    )
    ref, sums = _kept(stores, draft)
    served = draft.served_sha256
    filed = stores.vectors.representation(card.representation_id)
    stores.vectors.put(filed, adapter_id=card.adapter_id)
    parents = [
        ("dataset", card.dataset_version_id),
        ("representation", card.representation_id),
        ("base", card.base.base_id),
    ]
    with stores.lake.transaction(message="register adapter", run=run) as commit:
        commit.insert_new("adapters", [adapter_row(card, ref, artifact_sha256)])
        commit.insert_new(
            "model_versions",
            [model_row(ref, "adapter", card.adapter_id, served_sha256=served, sums=sums)],
        )
        commit.insert_new("lineage", lineage.edges(card.adapter_id, parents))
        intents.fulfil(commit, [card.adapter_id])
    return ref


def register_ensembles(stores: Stores, merged: Sequence[MergedEnsemble], *, run: RunRef) -> None:
    """Keep merged ensembles in one commit; only a challenger gets a version in the registry.

    Whoever put their folders into the artifact store has called `intents.intend` before.

    Args:
        stores: where to.
        merged: cards, each with its folder in the artifact store.
        run: the run that merged them.

    Raises:
        RecordConflict: an ensemble of this id with other weights is on record.
        InputError: a member belongs to another base, or weights do not sum to one.
    """
    cards = [ensemble.card for ensemble in merged]
    known = _find_all(stores, "ensembles", "ensemble_id", [card.ensemble_id for card in cards])
    for card in cards:
        require_target_name(card.target_name)
        if card.ensemble_id in known:
            _require_weights(known[card.ensemble_id], card.ensemble_id, card.weights_sha256)
    new = [ensemble for ensemble in merged if ensemble.card.ensemble_id not in known]
    new_cards = [ensemble.card for ensemble in new]
    _require_members(stores, new_cards)
    with stores.lake.transaction(message="register ensembles", run=run) as commit:
        commit.insert_new("ensembles", [ensemble_row(e.card, e.artifact_sha256) for e in new])
        commit.insert_new("ensemble_members", [r for card in new_cards for r in member_rows(card)])
        commit.insert_new("attributions", [row for card in new_cards for row in card.attributions])
        commit.insert_new("lineage", [edge for card in new_cards for edge in _edges(card)])
        intents.fulfil(commit, [card.ensemble_id for card in cards])


def register_challengers(
    stores: Stores, challengers: Sequence[Challenger], *, run: RunRef
) -> list[ModelVersionRef]:
    """Give kept ensembles a version of their target's registered model; a second call finds them.

    Raises:
        RecordNotFound: no such ensemble, or its base was not registered before.
        InputError: base is not the one that the ensemble was merged for.
    """
    ids = [challenger.ensemble_id for challenger in challengers]
    known = _find_all(stores, "model_versions", "record_id", ids)
    refs = {ensemble_id: ref_of(row) for ensemble_id, row in known.items()}
    new = [challenger for challenger in challengers if challenger.ensemble_id not in refs]
    new_ids = [challenger.ensemble_id for challenger in new]
    rows = _find_all(stores, "ensembles", "ensemble_id", new_ids)
    for challenger in new:
        if challenger.ensemble_id not in rows:
            raise RecordNotFound("There is no such ensemble.", where=challenger.ensemble_id)
        lineage.require_same_base(
            challenger.base.base_id,
            {challenger.ensemble_id: rows[challenger.ensemble_id]["base_id"]},
        )
    evidence = {challenger.ensemble_id: challenger.evidence for challenger in new}
    facts = facts_of(stores, rows, evidence)
    bases = {base: _registered_base(stores, base) for base in {each.base for each in new}}
    intents.intend(stores.lake, new_ids, run=run)
    made = []
    for challenger in new:
        draft = version_drafts.ensemble_draft(
            facts[challenger.ensemble_id],
            challenger.base,
            challenger.task,
            registered_base=bases[challenger.base],
            # hashed again: what is registered now is sealed as what was kept
            folder=stores.artifacts.folder(
                rows[challenger.ensemble_id]["artifact_sha256"], is_verified=True
            ),
            weights_sha256=rows[challenger.ensemble_id]["weights_sha256"],
        )
        refs[challenger.ensemble_id], sums = _kept(stores, draft)
        named = (refs[challenger.ensemble_id], "ensemble", challenger.ensemble_id)
        made.append(model_row(*named, served_sha256=draft.served_sha256, sums=sums))
    with stores.lake.transaction(message="register challengers", run=run) as commit:
        commit.insert_new("model_versions", made)
        intents.fulfil(commit, new_ids)
    return [refs[ensemble_id] for ensemble_id in ids]


def _kept(stores: Stores, draft: VersionDraft) -> tuple[ModelVersionRef, Sums]:
    """Register a version under the chain's head, and what is to be on record of its files."""
    ref = stores.registry.register(draft, head=head_of(stores.lake))
    return ref, stores.registry.sums(ref)


def refile(stores: Stores, ref: ModelVersionRef, sums: Sums, *, run: RunRef) -> None:
    """Put on record what the files of a version are that another release has made again.

    It answers as before: weights, configuration, base, task and prompts are what they were.
    """
    with (
        stores.lake.transaction(message="refile version", run=run) as commit,
        chain.record_amendment(commit, reason=_REFILED, tables=[MODEL_VERSIONS]),
    ):
        commit.execute(
            "UPDATE core.model_versions SET sums_sha256 = ?, n_files = ?, n_bytes = ?"
            " WHERE model_name = ? AND model_version = ?",
            [sums.sums_sha256, sums.n_files, sums.n_bytes, ref.name, ref.version],
        )


def _edges(card: EnsembleCard) -> list[Row]:
    parents = [("member", member.adapter_id) for member in card.members]
    parents += [
        ("target", card.dataset_version_id),
        ("representation", card.representation_id),
        ("base", card.base.base_id),
    ]
    return lineage.edges(card.ensemble_id, parents)


def _require_members(stores: Stores, cards: Sequence[EnsembleCard]) -> None:
    wanted = sorted({member.adapter_id for card in cards for member in card.members})
    rows = _find_all(stores, "adapters", "adapter_id", wanted)
    for card in cards:
        total = float(sum(member.weight for member in card.members))
        if not abs(total - 1.0) <= 1e-9:
            raise InputError("The weights of an ensemble must sum to one.", where=card.ensemble_id)
        ids = [member.adapter_id for member in card.members]
        missing = sorted(set(ids) - set(rows))
        if missing:
            raise RecordNotFound(
                "An ensemble names adapters that are not on record.", where=", ".join(missing)
            )
        lineage.require_same_base(card.base.base_id, {i: rows[i]["base_id"] for i in ids})


def _require_weights(known: Row, record_id: str, weights_sha256: str) -> None:
    if known["weights_sha256"] != weights_sha256:
        raise RecordConflict(
            "A record of this id is kept with other weights.",
            where=record_id,
            expected=f"weights {known['weights_sha256'][:12]}, given {weights_sha256[:12]}",
            remedy="bytes depend on thread count and library versions; both are on record",
        )


def _registered_base(stores: Stores, base: BaseModel) -> RegisteredBase:
    row = _find(stores, "bases", "base_id", base.base_id)
    if row is None:
        raise RecordNotFound(
            "The base model is not registered yet.",
            where=base.base_id,
            remedy="register the base before what is made on it",
        )
    return registered_base_of(row)


def _find(stores: Stores, table: str, column: str, value: str) -> Row | None:
    return _find_all(stores, table, column, [value]).get(value)


def _find_all(stores: Stores, table: str, column: str, values: Sequence[str]) -> dict[str, Row]:
    rows = stores.lake.rows(
        f"SELECT * FROM core.{table} WHERE list_contains(?, {column}) AND retracted_at IS NULL",
        [list(values)],
    )
    return {row[column]: row for row in rows}
