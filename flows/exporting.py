"""Export: an adapter as a portable bundle that another platform imports."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from catalog.errors import RecordNotFound
from catalog.stores.portable import write_bundle
from flows.settings import Settings
from flows.wiring import open_stores


def export_adapter(settings: Settings, adapter_id: str, out: Path) -> Path:
    """Write adapter, card, representation and hashes; no row of data is among them.

    Raises:
        RecordNotFound: no standing adapter has this id.
        RecordConflict: its files were changed since they were kept.
        InputError: the place is taken.
    """
    stores = open_stores(settings)
    try:
        rows = stores.lake.rows(
            "SELECT a.*, b.base_sha256, b.family FROM core.adapters AS a"
            " JOIN core.bases AS b USING (base_id)"
            " WHERE adapter_id = ? AND a.retracted_at IS NULL",
            [adapter_id],
        )
        if not rows:
            raise RecordNotFound(
                "No standing adapter has this id.", remedy="`rpe adapters list` shows them"
            )
        row = rows[0]
        place = stores.vectors.representation(row["representation_id"])
        folder = stores.artifacts.folder(row["artifact_sha256"], is_verified=True)
        card = {
            "base": {
                "sha256": row["base_sha256"],
                "family": row["family"],
                "encoder_id": place.encoder_id,
            },
            "adapter": {
                **{name: row[name] for name in _TOLD},
                "task": json.loads(row["task_json"]),
                "recipe": json.loads(row["recipe_json"]),
                "versions": json.loads(row["versions_json"]),
            },
        }
        told = asdict(place)
        representation = {name: told[name] for name in ("n_items", "variance", "z")}
        write_bundle(out, folder, card=card, representation=representation)
    finally:
        stores.lake.close()
    return out


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
