"""Versions on record: of registered models, and of the data of a source. Reads only."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from catalog.stores.rows import Rows

Row = dict[str, Any]


def count_model_versions(lake: Rows, *, is_standing: bool = False) -> int:
    """How many versions of models were ever registered, or of those how many stand."""
    standing = " WHERE retracted_at IS NULL" if is_standing else ""
    return int(lake.rows(f"SELECT count(*) AS n FROM core.model_versions{standing}")[0]["n"])


def model_versions_of(lake: Rows, record_ids: Collection[str]) -> list[Row]:
    """Standing versions that were made of these records: model_name and model_version."""
    return lake.rows(
        "SELECT model_name, model_version FROM core.model_versions"
        " WHERE list_contains(?, record_id) AND retracted_at IS NULL",
        [list(record_ids)],
    )


def lineage_of_version(lake: Rows, model_name: str, model_version: str) -> list[Row]:
    """Rows of mart.adapter_lineage: every adapter, batch and file behind a registered version."""
    return lake.rows(
        "SELECT * FROM mart.adapter_lineage WHERE model_name = ? AND model_version = ?"
        " ORDER BY weight DESC, adapter_id, file_uri",
        [model_name, model_version],
    )


def is_data_standing(lake: Rows, dataset_version_id: str) -> bool:
    """Whether a dataset version is on record and no retraction took it back."""
    rows = lake.rows(
        "SELECT 1 FROM core.dataset_versions WHERE dataset_version_id = ? AND retracted_at IS NULL",
        [dataset_version_id],
    )
    return bool(rows)
