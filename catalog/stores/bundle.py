"""The four stores as one value: what a use case is handed. It opens nothing and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.stores.artifacts import Artifacts
from catalog.stores.lake import Lake
from catalog.stores.registry import Registry
from catalog.stores.vectors import Vectors


@dataclass(frozen=True)
class Stores:
    """Lake, LoRA-VecDB, registry and artifacts of one workspace."""

    lake: Lake
    vectors: Vectors
    registry: Registry
    artifacts: Artifacts
