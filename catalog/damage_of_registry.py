"""Damage of the registry: versions on record whose entry or files are gone or changed."""

from __future__ import annotations

from catalog.damaged import Damage
from catalog.stores.lake import Lake
from catalog.stores.registry import Registry


def damage_of_registry(lake: Lake, registry: Registry, *, is_deep: bool) -> list[Damage]:
    """Versions of core.model_versions that the registry has not, or not as they were kept."""
    return []
