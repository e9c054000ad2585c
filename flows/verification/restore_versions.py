"""Mending the registry: its database, its versions under the numbers that they had, their files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog.integrity.version_files import versions_on_record
from catalog.lineage import source_of
from catalog.queries.ensemble_record import evidence_of
from catalog.queries.records import find_base, find_record
from catalog.records import registration, version_drafts
from catalog.records.cards import AdapterCard
from catalog.records.ensemble_facts import facts_of
from catalog.stores.lake.chain import head_at
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.connection import let_go
from catalog.stores.registry.database_file import fault_of_tables
from catalog.stores.registry.model_versions import RegisteredBase, VersionDraft, ref_of
from catalog.stores.sqlite_files import file_of
from flows.verification.repair_parts import Mending, NotMended
from flows.workspace.bases import files_of, is_hub
from flows.workspace.settings import Settings
from flows.workspace.workspace import Workspace
from rpe_core.errors import InputError
from rpe_core.fingerprint import canonical_json
from rpe_core.records import BaseModel, TaskSpec

Row = dict[str, Any]
FORETOLD = "made again from the lake and the artifacts under the same number"
SET = "set as core.promotions says"
DATABASE = "mlflow.db"
_KINDS = ("base", "adapter", "ensemble")  # each is loaded with what is before it


def damage_of_database(settings: Settings) -> str:
    """What is wrong with MLflow's database file; '' where nothing is, or a server has it."""
    file = file_of(settings.tracking)
    if file is None:
        return ""
    if not file.is_file():
        return "is gone"
    return fault_of_tables(file)


def give_up_database(settings: Settings, mending: Mending) -> None:
    """Move MLflow's database out of the way; opened again, the registry makes a new one."""
    let_go(settings.tracking)
    file = file_of(settings.tracking)
    if file is None:  # a server keeps its own
        return
    for end in ("", "-journal", "-wal", "-shm"):
        mending.aside(file.with_name(f"{file.name}{end}"), f"{DATABASE}{end}")


def rows_of(lake: Lake, ids: Sequence[str]) -> list[Row]:
    """Rows of the versions that damages name, in the order in which they can be made."""
    wanted = set(ids)
    rows = [row for row in versions_on_record(lake) if ref_of(row).uri in wanted]
    return sorted(
        rows,
        key=lambda r: (_KINDS.index(r["kind"]), r["model_name"], int(r["model_version"])),
    )


def mend(workspace: Workspace, row: Row, mending: Mending) -> str:
    """Let a version be what is on record, entry and files; how it was made.

    Raises:
        NotMended: what it is made of is not there, or gives another model.
    """
    stores = workspace.stores
    draft = _DRAFTS[row["kind"]](workspace, row)
    was, now = row["served_sha256"], draft.served_sha256
    if was is not None and was != now:
        raise NotMended("what is there would answer in another way")
    head = head_at(stores.lake, row["recorded_at"])
    sums = stores.registry.remake(
        draft, ref_of(row), head=head, sums_sha256=row["sums_sha256"], aside=mending.aside
    )
    if row["sums_sha256"] in (None, sums.sums_sha256):
        return "made again"
    registration.refile(stores, ref_of(row), sums, run=workspace.run)
    return "made again by this release: its files, not its answers, are others, and on record"


def _base_draft(workspace: Workspace, row: Row) -> VersionDraft:
    name, base = _base(workspace, row["record_id"])
    spec = workspace.plan.bases[name]
    shown = _base_row(workspace, row["record_id"])["model"]
    return version_drafts.base_draft(base, files_of(spec), model=shown, is_hub=is_hub(spec))


def _adapter_draft(workspace: Workspace, row: Row) -> VersionDraft:
    adapter = _record(workspace, row["record_id"])
    _, base = _base(workspace, adapter["base_id"])
    card = AdapterCard(
        base=base,
        task=_task(workspace, adapter["source"], adapter["task_json"]),
        recipe=json.loads(adapter["recipe_json"]),
        versions=json.loads(adapter["versions_json"] or "{}"),
        **{name: adapter[name] for name in _OF_ADAPTER},
    )
    return version_drafts.adapter_draft(
        card,
        registered_base=_registered_base(workspace, adapter["base_id"]),
        folder=_folder(workspace, adapter),
    )


def _ensemble_draft(workspace: Workspace, row: Row) -> VersionDraft:
    ensemble = _record(workspace, row["record_id"])
    _, base = _base(workspace, ensemble["base_id"])
    asked = json.loads(ensemble["asked_json"] or "{}")
    source = asked.get("source") or source_of(ensemble["dataset_version_id"])
    ids = {row["record_id"]: ensemble}
    evidence = {row["record_id"]: _evidence(workspace, row)}
    facts = facts_of(workspace.stores, ids, evidence, until=row["recorded_at"])
    return version_drafts.ensemble_draft(
        facts[row["record_id"]],
        base,
        _task(workspace, source, None),
        registered_base=_registered_base(workspace, ensemble["base_id"]),
        folder=_folder(workspace, ensemble),
        weights_sha256=ensemble["weights_sha256"],
    )


_DRAFTS = {"base": _base_draft, "adapter": _adapter_draft, "ensemble": _ensemble_draft}
_OF_ADAPTER = (
    *("adapter_id", "source", "dataset_version_id", "recipe_id", "representation_id", "license"),
    *("weights_sha256", "rank", "n_parameters", "n_steps", "validation_score", "threads"),
    *("train_seconds", "peak_memory_bytes", "origin"),
)


def _base(workspace: Workspace, base_id: str) -> tuple[str, BaseModel]:
    for name in workspace.plan.bases:
        try:
            if workspace.bases[name].base_id == base_id:
                return name, workspace.bases[name]
        except InputError:
            continue
    raise NotMended(f"the plan has no base {base_id}, or its files are not on this machine")


def _registered_base(workspace: Workspace, base_id: str) -> RegisteredBase:
    return version_drafts.registered_base_of(_base_row(workspace, base_id))


def _folder(workspace: Workspace, row: Row) -> Path:
    return workspace.stores.artifacts.folder(row["artifact_sha256"], is_verified=True)


def _task(workspace: Workspace, source: str, declared: str | None) -> TaskSpec:
    """The task of a source's contract, which alone has labels in their order; else that on record.

    Raises:
        NotMended: neither is there.
    """
    if source in workspace.contracts:
        task = workspace.contracts[source].task_spec
        if declared is None or canonical_json(task.declared) == declared:
            return task
    if declared is None:
        raise NotMended(f"the workspace has no contract of {source}")
    values: dict[str, Any] = json.loads(declared)
    lists = ("stop", "classes", "window", "transforms")
    return TaskSpec(**(values | {name: tuple(values[name]) for name in lists if name in values}))


def _evidence(workspace: Workspace, row: Row) -> str:
    """What the version stands on: as was decided about it, else as its target's labels allow."""
    decided = evidence_of(workspace.stores.lake, row["record_id"])
    return "labels" if decided is None else decided


def _record(workspace: Workspace, record_id: str) -> Row:
    row = find_record(workspace.stores.lake, record_id)
    if row is None:
        raise NotMended(f"core.{record_id.partition(':')[0]}s does not know it")
    return row


def _base_row(workspace: Workspace, base_id: str) -> Row:
    row = find_base(workspace.stores.lake, base_id)
    if row is None:
        raise NotMended("core.bases does not know it")
    return row
