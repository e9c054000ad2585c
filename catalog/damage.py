"""Damage of all stores: one finder for each, which doctor, repair and the night share."""

from __future__ import annotations

from catalog.damage_of_artifacts import damage_of_artifacts
from catalog.damage_of_lake import damage_of_lake
from catalog.damage_of_registry import damage_of_registry
from catalog.damage_of_vectors import damage_of_vectors
from catalog.damaged import BACKUP, REPAIR, Damage
from catalog.stores.bundle import Stores

__all__ = [
    "BACKUP",
    "REPAIR",
    "Damage",
    "damage_of_artifacts",
    "damage_of_lake",
    "damage_of_registry",
    "damage_of_vectors",
    "find_damage",
]


def find_damage(stores: Stores, *, is_deep: bool) -> list[Damage]:
    """Everything that is not what was kept: by existence and size, with `is_deep` by hash too."""
    lake = stores.lake
    return [
        *damage_of_lake(lake, is_deep=is_deep),
        *damage_of_artifacts(lake, stores.artifacts, is_deep=is_deep),
        *damage_of_vectors(lake, stores.vectors, is_deep=is_deep),
        *damage_of_registry(lake, stores.registry, is_deep=is_deep),
    ]
