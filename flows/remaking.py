"""Remaking: a version on record once more, from its ensemble, adapter or base, hash for hash."""

from __future__ import annotations

import json
from typing import Any

from catalog import registration
from catalog.errors import RecordNotFound
from catalog.remaking import remake_files
from catalog.stores import drafts
from catalog.stores.cards import AdapterCard, Challenger
from catalog.stores.registry import VersionDraft
from catalog.verifying import ref_of
from flows.bases import files_of, is_hub
from flows.workspace import Workspace
from rpe_core.records import BaseModel, TaskSpec

Row = dict[str, Any]


def remake(workspace: Workspace, row: Row) -> None:
    """Make the damaged files of a version again; `row` is of `verifying.versions_on_record`.

    Raises:
        RecordNotFound: the registry has no entry of it, or what it was made of is gone.
        RecordConflict: what can be made is not what was kept.
        InputError: the plan names its base or its target no more.
    """
    remake_files(workspace.stores, row, draft_of(workspace, row), run=workspace.run)


def draft_of(workspace: Workspace, row: Row) -> VersionDraft:
    """What a version on record is made of, by plan, contracts and lake as they are now.

    Raises:
        RecordNotFound: what it was made of is not there.
        InputError: the plan names its base or its target no more.
    """
    base = _base(workspace, row["base_id"])
    if row["kind"] == "base":
        return base_draft_of(workspace, base)
    if row["kind"] == "ensemble":
        target = workspace.plan.target(row["target_name"])
        task = workspace.contracts[target.source].task_spec
        one = Challenger(row["record_id"], base, task, _evidence(workspace, row))
        return registration.challenger_drafts(workspace.stores, [one])[row["record_id"]]
    return _adapter_draft(workspace, row, base)


def base_draft_of(workspace: Workspace, base: BaseModel) -> VersionDraft:
    """The version of a base of the plan."""
    spec = workspace.plan.bases[base.name]
    files, on_hub = files_of(spec), is_hub(spec)
    shown = registration.shown_model(base, is_hub=on_hub)
    return drafts.base_draft(base, files, model=shown, is_hub=on_hub)


def _base(workspace: Workspace, base_id: str) -> BaseModel:
    """The base of the plan that has this id: name and hash of files."""
    for base in workspace.bases.values():
        if base.base_id == base_id:
            return base
    raise RecordNotFound(
        "The plan names no base of this id, or its files are others now.", where=base_id
    )


def _evidence(workspace: Workspace, row: Row) -> Any:
    """What its card says that it was judged by."""
    rows = workspace.stores.lake.rows(
        "SELECT evidence FROM core.promotions WHERE ensemble_id = ? ORDER BY recorded_at LIMIT 1",
        [row["record_id"]],
    )
    if rows:
        return rows[0]["evidence"]
    return workspace.stores.registry.version(ref_of(row)).tags.get("rpe.evidence", "labels")


def _adapter_draft(workspace: Workspace, row: Row, base: BaseModel) -> VersionDraft:
    """The version of an adapter, whose card tells what its row tells."""
    stores = workspace.stores
    (kept,) = workspace.adapter_rows([row["record_id"]]).values()
    told = {name: kept[name] for name in _TOLD}
    card = AdapterCard(
        base=base,
        task=_task(kept["task_json"]),
        recipe=json.loads(kept["recipe_json"]),
        versions=json.loads(kept["versions_json"]),
        **told,
    )
    folder = stores.artifacts.folder(kept["artifact_sha256"], is_verified=True)
    (at,) = stores.lake.rows("FROM core.bases WHERE base_id = ?", [base.base_id])
    return drafts.adapter_draft(card, **drafts.base_arguments(at), folder=folder)


def _task(text: str) -> TaskSpec:
    """A task as core.adapters holds it: lists stand for tuples."""
    told = json.loads(text)
    return TaskSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})


_TOLD = (
    *("adapter_id", "source", "dataset_version_id", "recipe_id", "representation_id", "license"),
    *("weights_sha256", "rank", "n_parameters", "n_steps", "validation_score", "threads"),
    *("train_seconds", "peak_memory_bytes", "origin"),
)
