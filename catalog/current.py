"""What stands now: newest dataset versions, visible adapters, ensembles, champions. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

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


@dataclass(frozen=True)
class AdapterFilter:
    """Which adapters of a base may be seen; None lets all pass.

    `as_of` asks what stood at that time, as far as it has not been erased since.
    """

    base_id: str
    licenses: Collection[str] | None = None
    sources: Collection[str] | None = None
    tasks: Collection[str] | None = None
    methods: Collection[str] | None = None
    as_of: datetime | None = None


def visible_adapters(
    lake: Lake, base_id: str, *, without_source: str | None, licenses: Sequence[str] | None
) -> list[Row]:
    """The newest standing adapter of each (source, recipe) under a base, sorted by id.

    A target's own source is left out by name; older adapters stay for lineage only.
    """
    sql, parameters = _visible("*", AdapterFilter(base_id, licenses=licenses))
    return [row for row in lake.rows(sql, parameters) if row["source"] != without_source]


def visible_ids(lake: Lake, wanted: AdapterFilter) -> pa.Table:
    """Columns adapter_id and source of the adapters that may be seen, for millions of them."""
    sql, parameters = _visible("adapter_id, source", wanted)
    return lake.table(sql, parameters)


def library_state(lake: Lake, base_id: str) -> tuple[Any, ...]:
    """What changes whenever an adapter of the base comes or is retracted."""
    row = lake.rows(
        "SELECT count(*) AS n, count(retracted_at) AS n_retracted, max(recorded_at) AS newest"
        " FROM core.adapters WHERE base_id = ?",
        [base_id],
    )[0]
    return tuple(row.values())


def _visible(columns: str, wanted: AdapterFilter) -> tuple[str, list[Any]]:
    """The newest adapter of each (source, recipe) first, then the filters that choose among them.

    A licence or a task that a plan does not want must not bring an older adapter back.
    """
    standing, parameters = "retracted_at IS NULL", list[Any]([wanted.base_id])
    if wanted.as_of is not None:
        standing = "recorded_at <= ? AND (retracted_at IS NULL OR retracted_at > ?)"
        parameters += [wanted.as_of, wanted.as_of]
    chosen = {
        "license": wanted.licenses,
        "source": wanted.sources,
        "json_extract_string(task_json, '$.type')": wanted.tasks,
        "json_extract_string(recipe_json, '$.method')": wanted.methods,
    }
    filters = {name: values for name, values in chosen.items() if values is not None}
    parameters += [sorted(values) for values in filters.values()]
    conditions = " AND ".join(["true", *(f"list_contains(?, {name})" for name in filters)])
    return (
        f"WITH newest AS (SELECT * FROM core.adapters WHERE base_id = ? AND {standing}"
        " QUALIFY row_number() OVER (PARTITION BY source, recipe_id"
        " ORDER BY recorded_at DESC, adapter_id) = 1)"
        f" SELECT {columns} FROM newest WHERE {conditions} ORDER BY adapter_id",
        parameters,
    )


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
