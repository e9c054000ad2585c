"""Filing: adapters that were trained elsewhere enter the library by the thousand, or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog import lineage
from catalog.errors import RecordConflict
from catalog.queries.withdrawn import withdrawn_sources
from catalog.records import intents, version_drafts
from catalog.records.cards import AdapterCard, adapter_row, model_row, representation_row
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.chain import head_of
from catalog.stores.registry.model_versions import ModelVersionRef
from catalog.stores.stores import Stores
from rpe_core.errors import InputError
from rpe_core.fingerprint import canonical_json
from rpe_core.records import Representation, RunRef

_ORDERED = ("rank_pattern", "alpha_pattern")  # of several that fit, PEFT takes the first
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
COMMITTED = 512  # adapters of one commit
_UNREGISTERED = ModelVersionRef("", "")


@dataclass(frozen=True)
class AdapterToImport:
    """An adapter to file: its card, its z, where its weights lie, and its configuration.

    `recipe_ids` are those that one of its id may have on record, where that is to be looked at.
    """

    card: AdapterCard
    representation: Representation
    folder: Path
    config: dict[str, Any]
    recipe_ids: tuple[str, ...] = ()


def config_text(config: Mapping[str, Any]) -> str:
    """Canonical JSON, but for patterns: their order is part of what they say.

    >>> config_text({"r": 2, "alpha_pattern": {"b": 1, "a": 2}})
    '{"alpha_pattern":{"b":1,"a":2},"r":2}'
    """
    values = json.loads(canonical_json(config))
    ordered = {key: config[key] for key in _ORDERED if isinstance(config.get(key), dict)}
    return json.dumps(
        {**values, **ordered}, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def file_adapters(
    stores: Stores, filed: Sequence[AdapterToImport], *, is_registered: bool, run: RunRef
) -> list[str]:
    """File adapters in the order of every record: artifacts, versions, vectors, then one commit.

    Those that are on record already are left as they are. A kill leaves nothing that is true, and
    the same import goes on from there.

    Raises:
        RecordConflict: an adapter of this id with other weights or another recipe is on record.
        InputError: a source of them was withdrawn.
    """
    gone = sorted(withdrawn_sources(stores.lake) & {adapter.card.source for adapter in filed})
    if gone:
        raise InputError(
            f"{len(gone)} sources of these adapters were withdrawn.",
            where=", ".join(gone),
            remedy="leave them out; core.retractions says why",
        )
    known = _known(stores, [adapter.card.adapter_id for adapter in filed])
    for adapter in filed:
        if adapter.card.adapter_id not in known:
            continue
        weights, recipe_id = known[adapter.card.adapter_id]
        if weights != adapter.card.weights_sha256:
            raise RecordConflict(
                "An adapter of this id is on record with other weights.",
                where=adapter.card.adapter_id,
            )
        if adapter.recipe_ids and recipe_id not in adapter.recipe_ids:
            raise RecordConflict(
                "An adapter of this id is on record with another recipe: it scales these weights"
                " in another way.",
                where=adapter.card.adapter_id,
                remedy="import it under a --source of its own",
            )
    new = [adapter for adapter in filed if adapter.card.adapter_id not in known]
    for first in range(0, len(new), COMMITTED):
        _commit(stores, new[first : first + COMMITTED], is_registered=is_registered, run=run)
    return [adapter.card.adapter_id for adapter in new]


def _commit(
    stores: Stores, new: Sequence[AdapterToImport], *, is_registered: bool, run: RunRef
) -> None:
    ids = [i for adapter in new for i in (adapter.card.adapter_id, adapter.card.representation_id)]
    intents.intend(stores.lake, ids, run=run)
    artifacts = [_keep(stores.artifacts, adapter) for adapter in new]
    versions = _register(stores, new, artifacts) if is_registered else []
    refs = [ref for ref, _ in versions] or [_UNREGISTERED] * len(new)
    stores.vectors.put_many([(adapter.representation, adapter.card.adapter_id) for adapter in new])
    with stores.lake.transaction(message="import adapters", run=run) as commit:
        commit.insert_new(
            "representations", [representation_row(adapter.representation) for adapter in new]
        )
        commit.insert_new(
            "adapters",
            [adapter_row(o.card, r, a) for o, r, a in zip(new, refs, artifacts, strict=True)],
        )
        if is_registered:
            commit.insert_new("model_versions", [row for _, row in versions])
        commit.insert_new("lineage", [edge for adapter in new for edge in _edges(adapter.card)])
        intents.fulfil(commit, ids)


def _edges(card: AdapterCard) -> list[dict[str, str]]:
    parents = [
        ("dataset", card.dataset_version_id),
        ("representation", card.representation_id),
        ("base", card.base.base_id),
    ]
    return [
        *lineage.edges(card.adapter_id, parents),
        *lineage.edges(card.representation_id, parents[:1]),
    ]


def _keep(artifacts: Artifacts, adapter: AdapterToImport) -> str:
    """Keep weights and configuration alone; the folder may hold pickles, logs and other people's.

    Raises:
        RecordConflict: the weights changed since they were checked.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copyfile(adapter.folder / WEIGHTS, folder / WEIGHTS)
        if artifacts.hash_file(folder / WEIGHTS) != adapter.card.weights_sha256:
            raise RecordConflict(
                "An adapter changed while it was imported.", where=adapter.card.adapter_id
            )
        (folder / CONFIG).write_text(config_text(adapter.config) + "\n", encoding="utf-8")
        return artifacts.put_folder(folder)


def _register(
    stores: Stores, new: Sequence[AdapterToImport], artifacts: Sequence[str]
) -> list[tuple[ModelVersionRef, dict[str, Any]]]:
    """A version of each adapter, with its row; bases and folders with these hashes are there."""
    rows = stores.lake.rows(
        "FROM core.bases WHERE list_contains(?, base_id)",
        [sorted({adapter.card.base.base_id for adapter in new})],
    )
    bases = {row["base_id"]: version_drafts.registered_base_of(row) for row in rows}
    made, head = [], head_of(stores.lake)
    for adapter, sha256 in zip(new, artifacts, strict=True):
        base, folder = bases[adapter.card.base.base_id], stores.artifacts.folder(sha256)
        draft = version_drafts.adapter_draft(adapter.card, registered_base=base, folder=folder)
        ref, record_id = stores.registry.register(draft, head=head), adapter.card.adapter_id
        sums = stores.registry.sums(ref)
        row = model_row(ref, "adapter", record_id, served_sha256=draft.served_sha256, sums=sums)
        made.append((ref, row))
    return made


def _known(stores: Stores, adapter_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The weights and the recipe of those that are on record."""
    rows = stores.lake.rows(
        "SELECT adapter_id, weights_sha256, recipe_id FROM core.adapters"
        " WHERE list_contains(?, adapter_id)",
        [list(adapter_ids)],
    )
    return {row["adapter_id"]: (row["weights_sha256"], row["recipe_id"]) for row in rows}
