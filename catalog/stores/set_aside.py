"""Set aside: what is damaged or given up is moved into a folder of the workspace, never deleted.

`rpe maintain` clears that folder after a month; a retraction clears it at once.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from catalog.stores.disk import disk_errors

KEPT = timedelta(days=30)
_MOMENT = "%Y%m%dT%H%M%S"


@dataclass(frozen=True)
class Aside:
    """Where what is set aside goes: a folder of its own for each doing."""

    root: Path

    def put(self, path: Path, name: str, *, at: datetime) -> bool:
        """Move a file or folder out of the way, under a name of the store; whether it was there.

        A name that is taken gets a number: nothing that was set aside is written over.
        """
        if not path.exists() and not path.is_symlink():
            return False
        goal = self.root / at.strftime(_MOMENT) / name
        with disk_errors("what is set aside", goal):
            goal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            taken = goal
            number = 1
            while taken.exists() or taken.is_symlink():
                number += 1
                taken = goal.with_name(f"{goal.name}.{number}")
            shutil.move(path, taken)
        return True

    def clear(self, *, before: datetime | None = None) -> int:
        """Remove what was set aside, or what was `before` a moment; of how many doings."""
        doings = sorted(self.root.glob("*")) if self.root.is_dir() else []
        old = [d for d in doings if before is None or d.name < before.strftime(_MOMENT)]
        with disk_errors("what is set aside", self.root):
            for doing in old:
                shutil.rmtree(doing)
            if doings and len(old) == len(doings):
                self.root.rmdir()
        return len(old)
