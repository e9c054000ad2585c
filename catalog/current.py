"""What stands now: newest dataset versions, visible adapters, ensembles, champions. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.stores.lake import Lake

Row = dict[str, Any]


def dataset_version(lake: Lake, source: str) -> Row | None:
    """The newest standing dataset version of a source, or None before its first accepted batch."""
    return _first(
        lake.rows(
            "SELECT * FROM core.dataset_versions WHERE source = ? AND superseded_at IS NULL"
            " AND retracted_at IS NULL ORDER BY recorded_at DESC, dataset_version_id LIMIT 1",
            [source],
        )
    )


def has_record(lake: Lake, table: str, column: str, value: str) -> bool:
    """Whether a standing row of a core table has this value."""
    return bool(lake.rows(f"SELECT 1 FROM core.{table} WHERE {column} = ? LIMIT 1", [value]))


def visible_adapters(
    lake: Lake, base_id: str, *, without_source: str | None, licenses: Sequence[str] | None
) -> list[Row]:
    """The newest standing adapter of each (source, recipe) under a base, sorted by id.

    A target's own source is left out by name; older adapters stay for lineage only.
    """
    rows = lake.rows(
        "SELECT * FROM core.adapters WHERE base_id = ? AND retracted_at IS NULL"
        " QUALIFY row_number() OVER (PARTITION BY source, recipe_id"
        " ORDER BY recorded_at DESC, adapter_id) = 1 ORDER BY adapter_id",
        [base_id],
    )
    return [
        row
        for row in rows
        if row["source"] != without_source and (licenses is None or row["license"] in licenses)
    ]


def ensembles(lake: Lake, ensemble_ids: Sequence[str]) -> list[Row]:
    """The ensembles with these ids, in that order; ids that do not exist yet are left out."""
    rows = lake.rows(
        "SELECT * FROM core.ensembles WHERE list_contains(?, ensemble_id)", [list(ensemble_ids)]
    )
    found = {row["ensemble_id"]: row for row in rows}
    return [found[i] for i in ensemble_ids if i in found]


def members(lake: Lake, ensemble_id: str) -> list[Row]:
    """Members of an ensemble with source, weight and distance, the heaviest first."""
    return lake.rows(
        "SELECT m.*, a.source, a.artifact_sha256, a.weights_sha256, a.license"
        " FROM core.ensemble_members m JOIN core.adapters a USING (adapter_id)"
        " WHERE m.ensemble_id = ? ORDER BY m.weight DESC, m.adapter_id",
        [ensemble_id],
    )


def champion(lake: Lake, target: str) -> Row | None:
    """The ensemble that serves a target now, or None: the last promotion, approval or roll-back."""
    row = _first(
        lake.rows(
            "SELECT * FROM core.promotions WHERE target_name = ? AND retracted_at IS NULL"
            " AND action IN ('promoted', 'approved', 'rolled_back')"
            " ORDER BY recorded_at DESC, promotion_id LIMIT 1",
            [target],
        )
    )
    return _first(ensembles(lake, [row["ensemble_id"]])) if row else None


def item_scores(lake: Lake, evaluation_id: str, split: str) -> list[Row]:
    """Per-item scores of an evaluation on one split, ordered so that arms pair up."""
    return lake.rows(
        "SELECT * FROM core.item_scores WHERE evaluation_id = ? AND split = ?"
        " ORDER BY arm, ensemble_id, dataset_version_id, item_sha256",
        [evaluation_id, split],
    )


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None
