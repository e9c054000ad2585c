"""The four stores as one value: what a use case is handed. It opens nothing and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.registry import Registry
from catalog.stores.vectors.vectors import Vectors


@dataclass(frozen=True)
class Stores:
    """Lake, LoRA-VecDB, registry and artifacts of one workspace."""

    lake: Lake
    vectors: Vectors
    registry: Registry
    artifacts: Artifacts
