"""The four stores as one value: what a use case is handed. It opens nothing and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.registry import Registry
from catalog.stores.vectors.vectors import Vectors


@dataclass(frozen=True)
class Stores:
    """Lake, LoRA-VecDB, registry and artifacts of one workspace; a block closes them at its end."""

    lake: Lake
    vectors: Vectors
    registry: Registry
    artifacts: Artifacts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the lake, the one store that holds a connection."""
        self.lake.close()
