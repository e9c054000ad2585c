"""Drafts of model versions: name, tags, card and files of a base, an adapter and an ensemble."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catalog.records.cards import AdapterCard
from catalog.records.ensemble_file import ensemble_file
from catalog.records.model_card import (
    EnsembleFacts,
    adapter_card,
    base_about,
    base_card,
    ensemble_card,
    source_about,
    target_about,
)
from catalog.stores.outgoing import HubName
from catalog.stores.registry.base_code import base_input, write_base
from catalog.stores.registry.model_code import ServedParts, write_served_model
from catalog.stores.registry.model_versions import (
    DatasetRef,
    RegisteredBase,
    VersionDraft,
    ref_of,
)
from catalog.stores.served_model import read_config, served_name, served_sha256, served_task
from rpe_core.fingerprint import canonical_json
from rpe_core.records import BaseModel, TaskSpec


def base_name(name: str) -> str:
    """The registered model of a base.

    >>> base_name("minilm")
    'rpe-base-minilm'
    """
    return f"rpe-base-{name}"


def adapter_name(source: str) -> str:
    """The registered model of a source's adapters.

    >>> adapter_name("site_a")
    'rpe-adapter-site_a'
    """
    return f"rpe-adapter-{source}"


def registered_base_of(row: Mapping[str, Any]) -> RegisteredBase:
    """What drafts are told of a row of core.bases; only a hub base has a revision there."""
    hub = HubName(row["model"], row["revision"]) if row["revision"] else None
    return RegisteredBase(ref_of(row), hub)


def base_draft(base: BaseModel, files: Sequence[Path], *, model: str, is_hub: bool) -> VersionDraft:
    """A base: its files under `model/`, or their names where the hub holds them."""
    card = base_card(base, model=model, is_hub=is_hub, column=base_input(base.family)[0])

    def write(folder: Path) -> None:
        write_base(folder, base, files, model=model, is_hub=is_hub, card=card)

    tags = {**_base_tags(base), "rpe.kind": "base"}
    return VersionDraft(
        base_name(base.name), "rpe.base", tags, card, write, about=base_about(base.name)
    )


def adapter_draft(
    card: AdapterCard, *, registered_base: RegisteredBase, folder: Path
) -> VersionDraft:
    """A trained adapter on its base; `folder` is its plain PEFT folder."""
    name = adapter_name(card.source)
    text = adapter_card(card, name=name)
    sha256 = _served_sha256(card.base, card.task, folder, card.weights_sha256)
    parts = ServedParts(card.base, registered_base, card.task, folder, text)
    tags = {
        **_base_tags(card.base),
        **_served_tags(name, sha256),
        "rpe.adapter_id": card.adapter_id,
        "rpe.dataset_version_id": card.dataset_version_id,
        "rpe.kind": "adapter",
        "rpe.license": card.license,
        "rpe.recipe_id": card.recipe_id,
        "rpe.weights_sha256": card.weights_sha256,
    }
    trained_on = (DatasetRef(card.dataset_version_id, "training"),)
    about = source_about(card.source)
    return _served(name, "rpe.adapter_id", tags, parts, trained_on, about=about)


def ensemble_draft(
    facts: EnsembleFacts,
    base: BaseModel,
    task: TaskSpec,
    *,
    registered_base: RegisteredBase,
    folder: Path,
    weights_sha256: str,
) -> VersionDraft:
    """A challenger: the merged adapter on its base, with every member's weight and licence."""
    sha256 = _served_sha256(base, task, folder, weights_sha256)
    content = ensemble_file(
        facts,
        base,
        base_model=registered_base.ref.name,
        weights_sha256=weights_sha256,
        sha256=sha256,
    )
    card = ensemble_card(facts, base, task, served_name=served_name(facts.target_name, sha256))
    parts = ServedParts(base, registered_base, task, folder, card, content)
    tags = {
        **_base_tags(base),
        **_served_tags(facts.target_name, sha256),
        "rpe.dataset_version_id": facts.dataset_version_id,
        "rpe.ensemble_file_sha256": hashlib.sha256(content).hexdigest(),
        "rpe.ensemble_id": facts.ensemble_id,
        "rpe.evidence": facts.evidence,
        "rpe.kind": "ensemble",
        "rpe.license": facts.license,
        "rpe.members": canonical_json(_members_told(facts)),
        "rpe.merge": facts.merge,
        "rpe.strategy": facts.strategy,
        "rpe.weights_sha256": weights_sha256,
    }
    about = target_about(facts.target_name, task, base_name=base.name)
    return _served(facts.target_name, "rpe.ensemble_id", tags, parts, _behind(facts), about=about)


def _members_told(facts: EnsembleFacts) -> list[dict[str, Any]]:
    return [
        {
            "adapter_id": m.adapter_id,
            "dataset_version_id": m.dataset_version_id,
            "license": m.license,
            "weight": m.weight,
            "weights_sha256": m.weights_sha256,
        }
        for m in sorted(facts.members, key=lambda m: m.adapter_id)
    ]


def _behind(facts: EnsembleFacts) -> tuple[DatasetRef, ...]:
    """The target's dataset version, then those that members were trained on."""
    trained_on = sorted({m.dataset_version_id for m in facts.members})
    references = [DatasetRef(dataset, "reference") for dataset in trained_on]
    return (DatasetRef(facts.dataset_version_id, "target"), *references)


def _served(
    name: str,
    id_tag: str,
    tags: dict[str, str],
    parts: ServedParts,
    datasets: tuple[DatasetRef, ...],
    *,
    about: str,
) -> VersionDraft:
    def write(folder: Path) -> None:
        write_served_model(folder, parts)

    return VersionDraft(name, id_tag, tags, parts.card, write, datasets, about)


def _served_sha256(base: BaseModel, task: TaskSpec, folder: Path, weights_sha256: str) -> str:
    config = read_config(folder)
    return served_sha256(weights_sha256, config, base.sha256, served_task(base, task))


def _served_tags(name: str, sha256: str) -> dict[str, str]:
    return {"rpe.served_name": served_name(name, sha256), "rpe.served_sha256": sha256}


def _base_tags(base: BaseModel) -> dict[str, str]:
    return {"rpe.base": base.base_id, "rpe.base_sha256": base.sha256}
