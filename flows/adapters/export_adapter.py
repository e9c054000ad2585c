"""Export: an adapter as a portable bundle that another platform imports."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from catalog.errors import RecordNotFound
from catalog.queries.adapters import adapter_to_export
from catalog.stores.artifacts.portable import write_bundle
from catalog.stores.outgoing import HubName
from flows.workspace.lake_reads import require_current_lake
from flows.workspace.settings import Settings
from flows.workspace.stores import open_to_look
from flows.workspace.workspace import load_declarations
from rpe_core.errors import InputError


def export_adapter(settings: Settings, adapter_id: str, out: Path) -> Path:
    """Write adapter, card, representation and hashes; no row of data is among them.

    Raises:
        RecordNotFound: no standing adapter has this id.
        RecordConflict: its files were changed since they were kept.
        InputError: its representation stands for fewer groups than the plan publishes, or the
            place is taken.
    """
    min_groups = load_declarations(settings).plan.publishing.min_groups
    require_current_lake(settings)
    with open_to_look(settings) as stores:
        row = adapter_to_export(stores.lake, adapter_id)
        if row is None:
            raise RecordNotFound(
                "No standing adapter has this id.", remedy="`rpe adapters list` shows them"
            )
        _require_cohort(row, min_groups)
        filed = stores.vectors.representation(row["representation_id"])
        folder = stores.artifacts.folder(row["artifact_sha256"], is_verified=True)
        card = {
            "base": {
                "sha256": row["base_sha256"],
                "family": row["family"],
                "encoder_id": filed.encoder_id,
            },
            "adapter": {
                **{name: row[name] for name in _TOLD},
                "task": json.loads(row["task_json"]),
                "recipe": json.loads(row["recipe_json"]),
                "versions": json.loads(row["versions_json"]),
            },
        }
        facts = {**asdict(filed), "n_groups": row["n_groups"]}
        representation = {name: facts[name] for name in ("n_groups", "n_items", "variance", "z")}
        hub = HubName(row["model"], row["revision"]) if row["revision"] else None
        write_bundle(out, folder, card=card, representation=representation, hub=hub)
    return out


def _require_cohort(row: dict[str, Any], min_groups: int) -> None:
    """Raise InputError below the plan's minimum; uncounted groups are as many as rows at most."""
    n = row["n_items"] if row["n_groups"] is None else row["n_groups"]
    if n < min_groups:
        raise InputError(
            f"The representation is of only {n} groups: it would reveal too much of each patient.",
            where=row["adapter_id"],
            expected=f"at least {min_groups} groups, by `publishing: min_groups` of plan.yaml",
            remedy="export it when more patients have arrived and their version is trained",
        )


_TOLD = (
    "adapter_id",
    "source",
    "dataset_version_id",
    "recipe_id",
    "representation_id",
    "license",
    "weights_sha256",
    "rank",
    "n_parameters",
    "n_steps",
    "validation_score",
    "threads",
)
