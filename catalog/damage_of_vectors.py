"""Damage of LoRA-VecDB: representations and adapters on record without their very vector."""

from __future__ import annotations

from catalog.damaged import GONE, REPAIR, Damage
from catalog.stores.lake import Lake
from catalog.stores.vectors import Vectors


def damage_of_vectors(lake: Lake, vectors: Vectors, *, is_deep: bool) -> list[Damage]:
    """Representations and filed adapters that LoRA-VecDB has not, or not as they were kept."""
    rows = lake.rows(
        "SELECT representation_id FROM core.representations WHERE retracted_at IS NULL"
    )
    lost = sorted({row["representation_id"] for row in rows} - vectors.keys())
    filed = lake.rows("SELECT adapter_id FROM core.adapters WHERE retracted_at IS NULL")
    unfiled = sorted({row["adapter_id"] for row in filed} - vectors.adapter_ids())
    found = [(lost, "representations"), (unfiled, "adapters")]
    return [
        Damage(
            "vectors",
            f"The vector of {len(ids)} {kind} ({ids[0]})",
            GONE,
            tuple(ids),
            "No target can be held against them",
            REPAIR,
        )
        for ids, kind in found
        if ids
    ]
