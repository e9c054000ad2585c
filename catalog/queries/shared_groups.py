"""Moves: what two dataset versions of a source share, and so how far chance moves their means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from catalog.lineage import source_of
from catalog.queries import current
from catalog.stores.lake.lake import Lake
from catalog.stores.lake.source_tables import raw_name

Row = dict[str, Any]

# Rows of either version with their weight in the difference of the two means: 1/n in the newer less
# 1/n in the older. Summed by group before it is squared, it is what rows of a patient that are all
# alike would make; by row, what rows that are all independent would.
_WEIGHTS = """
WITH lying AS (
    SELECT _group_sha256 AS g,
        list_contains($1, _batch_id)
            AND (_superseded_by IS NULL OR NOT list_contains($1, _superseded_by)) AS is_now,
        list_contains($2, _batch_id)
            AND (_superseded_by IS NULL OR NOT list_contains($2, _superseded_by)) AS was_then
    FROM {table} WHERE $3 = '' OR _split = $3
), held AS (
    SELECT * FROM lying WHERE is_now OR was_then
), counted AS (
    SELECT count(*) FILTER (is_now) AS n_now, count(*) FILTER (was_then) AS n_then FROM held
), weighed AS (
    SELECT g, is_now <> was_then AS is_other,
        is_now::INTEGER / nullif(n_now, 0) - was_then::INTEGER / nullif(n_then, 0) AS w
    FROM held, counted
), grouped AS (
    SELECT sum(w) AS w, bool_or(is_other) AS is_other FROM weighed GROUP BY g
)
SELECT (SELECT sum(w * w) FROM weighed) AS by_row, (SELECT sum(w * w) FROM grouped) AS by_group,
    (SELECT count(*) FROM grouped WHERE is_other) AS n_other_groups
"""


@dataclass(frozen=True)
class Shared:
    """What chance makes of a unit of variance, as a variance, and how many groups came or went."""

    factor: float
    n_new_groups: int


def shared_rows(lake: Lake, now: str, then: str, *, split: str = "") -> Shared:
    """How two versions of a source overlap; of the rows of one split, or of all.

    The larger of two sums: of groups whose rows are alike, of groups whose rows were replaced.
    """
    batches = current.batches(lake, [now, then])
    statement = _WEIGHTS.format(table=raw_name(source_of(now)))
    (row,) = lake.rows(statement, [batches.get(now, []), batches.get(then, []), split])
    factor = max(row["by_row"] or 0.0, row["by_group"] or 0.0)
    return Shared(float(factor), int(row["n_other_groups"]))


def places_of(lake: Lake, encoder_id: str, role: str, sources: list[str]) -> dict[str, list[Row]]:
    """Source -> its standing representations under an encoder, by the age of what they encode."""
    by_source: dict[str, list[Row]] = {}
    for row in lake.rows(
        "SELECT d.source, r.representation_id, r.dataset_version_id"
        " FROM core.representations AS r JOIN core.dataset_versions AS d USING (dataset_version_id)"
        " WHERE r.encoder_id = ? AND r.role = ? AND list_contains(?, d.source)"
        " AND r.retracted_at IS NULL AND d.retracted_at IS NULL"
        " ORDER BY d.recorded_at, r.recorded_at, r.representation_id",
        [encoder_id, role, sources],
    ):
        by_source.setdefault(row["source"], []).append(row)
    return by_source


def shares_of(lake: Lake, representation_ids: list[str]) -> dict[str, tuple[float, ...]]:
    """Representation -> shares of variance of its largest directions, where they are known."""
    rows = lake.rows(
        "SELECT representation_id, shares_json FROM core.representations"
        " WHERE list_contains(?, representation_id) AND shares_json IS NOT NULL",
        [representation_ids],
    )
    return {row["representation_id"]: tuple(json.loads(row["shares_json"])) for row in rows}
