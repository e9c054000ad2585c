"""Adapters on record: which there are, what they were filed under, what a bundle tells. Reads."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from catalog.stores.rows import Rows

Row = dict[str, Any]


def list_adapters(lake: Rows) -> list[Row]:
    """Every adapter that was ever filed, by source and then by age."""
    return lake.rows("SELECT * FROM core.adapters ORDER BY source, recorded_at")


def adapter_to_export(lake: Rows, adapter_id: str) -> Row | None:
    """A standing adapter with its base and the size of its representation; None if there is none.

    Of the base base_sha256, family, model and revision; of the representation n_items and n_groups.
    """
    rows = lake.rows(
        "SELECT a.*, b.base_sha256, b.family, b.model, b.revision, r.n_items, r.n_groups"
        " FROM core.adapters AS a"
        " JOIN core.bases AS b USING (base_id)"
        " JOIN core.representations AS r USING (representation_id)"
        " WHERE adapter_id = ? AND a.retracted_at IS NULL",
        [adapter_id],
    )
    return rows[0] if rows else None


def count_encoded_adapters(lake: Rows, adapter_ids: Collection[str], *, encoder_id: str) -> int:
    """How many of these adapters have a representation under an encoder."""
    rows = lake.rows(
        "SELECT count(*) AS n FROM core.adapters"
        " JOIN core.representations USING (representation_id)"
        " WHERE encoder_id = ? AND list_contains(?, adapter_id)",
        [encoder_id, list(adapter_ids)],
    )
    return int(rows[0]["n"])


def same_bases(lake: Rows, base_sha256: str, *, but: str) -> list[Row]:
    """base_id and base_name of the bases of the same files but one, by name."""
    return lake.rows(
        "SELECT base_id, base_name FROM core.bases WHERE base_sha256 = ? AND base_id <> ?"
        " AND retracted_at IS NULL ORDER BY base_name, base_id",
        [base_sha256, but],
    )


def trained_on_groups(lake: Rows, adapter_ids: Collection[str], *, at_least: int) -> list[str]:
    """Those of these adapters that were trained here on this many groups or more, sorted.

    Groups that were never counted are as many as rows at most.
    """
    rows = lake.rows(
        "SELECT adapter_id FROM core.adapters AS a"
        " JOIN core.representations AS r USING (representation_id)"
        " WHERE list_contains(?, adapter_id) AND a.origin = 'trained'"
        " AND coalesce(r.n_groups, r.n_items) >= ? ORDER BY adapter_id",
        [sorted(adapter_ids), at_least],
    )
    return [row["adapter_id"] for row in rows]


def representation_ids_of(lake: Rows, adapter_ids: Collection[str]) -> set[str]:
    """The representations that these adapters are filed under."""
    rows = lake.rows(
        "SELECT representation_id FROM core.adapters WHERE list_contains(?, adapter_id)",
        [list(adapter_ids)],
    )
    return {row["representation_id"] for row in rows}


def adapter_ids_under(lake: Rows, representation_id: str) -> list[str]:
    """The standing adapters that are filed under a representation, the oldest first."""
    rows = lake.rows(
        "SELECT adapter_id FROM core.adapters WHERE representation_id = ?"
        " AND retracted_at IS NULL ORDER BY recorded_at, adapter_id",
        [representation_id],
    )
    return [row["adapter_id"] for row in rows]


def member_ids_of(lake: Rows, ensemble_id: str) -> list[str]:
    """The adapters that an ensemble is made of."""
    rows = lake.rows(
        "SELECT adapter_id FROM core.ensemble_members WHERE ensemble_id = ?", [ensemble_id]
    )
    return [row["adapter_id"] for row in rows]


def count_representations(lake: Rows) -> int:
    """How many representations are on record."""
    return int(lake.rows("SELECT count(*) AS n FROM core.representations")[0]["n"])
