"""Mending: what every maker of `rpe repair` is handed, and how it says that it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from catalog.stores.set_aside import Aside
from rpe_core.errors import RpeError


class NotMended(RpeError):
    """What the makers have gives nothing that is equal to what was kept: a backup must bring it."""


@dataclass(frozen=True)
class Mending:
    """Where damaged things go while what takes their place is ready."""

    folder: Aside
    at: datetime

    def aside(self, path: Path, name: str) -> None:
        """Move a damaged file or folder out of the way, under its name inside the store."""
        self.folder.put(path, name, at=self.at)
