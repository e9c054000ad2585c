"""Files of the stores, by their names in the store, to be spoilt wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """The files of the stores, by their name in the store."""

    def names(self, store: str) -> list[str]:
        """What lies in a store, in order."""

    def read(self, store: str, name: str) -> bytes:
        """The bytes of one."""

    def write(self, store: str, name: str, content: bytes) -> None:
        """Let it hold these."""

    def delete(self, store: str, name: str) -> None:
        """Let it be gone."""

    def lose_database(self, name: str) -> None:
        """Let the database of the lake or of mlflow be gone."""


@dataclass(frozen=True)
class FolderFiles:
    """Files of an embedded workspace."""

    home: Path

    def names(self, store: str) -> list[str]:
        root = self._root(store)
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())

    def read(self, store: str, name: str) -> bytes:
        return (self._root(store) / name).read_bytes()

    def write(self, store: str, name: str, content: bytes) -> None:
        (self._root(store) / name).write_bytes(content)

    def delete(self, store: str, name: str) -> None:
        path = self._root(store) / name
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()

    def lose_database(self, name: str) -> None:
        file = {"lake": "lake/catalog.sqlite", "mlflow": "mlflow.db"}[name]
        for suffix in ("", "-wal", "-shm"):
            (self.home / f"{file}{suffix}").unlink(missing_ok=True)

    def _root(self, store: str) -> Path:
        return self.home / {"lake_data": "lake/data", "model_artifacts": "mlartifacts"}.get(
            store, store
        )
