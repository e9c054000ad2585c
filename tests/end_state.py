"""The end state of a workspace: what two nights must agree on, times and run ids aside."""

import json
from typing import Any

from catalog.stores.registry.model_versions import ModelVersionRef
from catalog.stores.registry.sums import SUMS, read_sums
from catalog.tables.schema import TABLES
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores

# What may differ between two doings of the same thing: when, by which run, under which number.
VARYING = {
    *("run_id", "recorded_at", "superseded_at", "retracted_at", "snapshot_id"),
    *("started_at", "ended_at", "model_version", "train_seconds", "peak_memory_bytes"),
    # over base.json too, which has the number of the base's version: see `version_files`
    *("sums_sha256", "n_bytes"),
}
_NUMBERED = ("artifacts/base.json",)


def end_state(settings: Settings) -> dict[str, Any]:
    """Lake rows, artifact hashes, vector keys, and what each alias stands for."""
    stores = open_stores(settings)
    try:
        state: dict[str, Any] = {
            table.name: sorted(
                json.dumps(_steady(row), default=str, sort_keys=True)
                for row in stores.lake.rows(f"SELECT * FROM core.{table.name}")
            )
            for table in TABLES
            if table.name not in ("runs", "links")  # the doings, and hashes over their times
        }
        state["artifacts"] = sorted(stores.artifacts.list())
        state["vectors"] = sorted(stores.vectors.keys())
        state["aliases"] = _aliases(stores)
        state["version_files"] = _version_files(stores)
        return state
    finally:
        stores.lake.close()


def _steady(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in VARYING}


def _aliases(stores: Any) -> dict[str, str]:
    rows = stores.lake.rows("SELECT model_name, model_version, record_id FROM core.model_versions")
    behind = {(row["model_name"], row["model_version"]): row["record_id"] for row in rows}
    return {
        f"{name}@{alias}": behind[name, version]
        for name, aliases in stores.registry.all_aliases().items()
        for alias, version in aliases.items()
    }


def _version_files(stores: Any) -> dict[str, dict[str, str]]:
    """The files of each version by hash, but for the one that has a version's number in it."""
    rows = stores.lake.rows("FROM core.model_versions WHERE retracted_at IS NULL")
    listed = {
        row["record_id"]: read_sums(
            stores.registry.read(ModelVersionRef(row["model_name"], row["model_version"]), SUMS)
        )
        for row in rows
    }
    return {
        record_id: {name: sha256 for name, sha256 in files.items() if name not in _NUMBERED}
        for record_id, files in sorted(listed.items())
    }
