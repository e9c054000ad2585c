"""A catalog of SQLite in a folder that may only be read: SQLite opens none there that lies still.

Its log is made by whoever opens it first. While another process has it open, it can be read.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from catalog.stores.disk import disk_errors

_copies: list[TemporaryDirectory[str]] = []  # gone when the process ends


def readable(path: Path) -> Path:
    """The file itself, or a whole copy of it where it cannot be opened as it lies.

    Raises:
        StoreError: it may not be read, or there is no temporary folder.
    """
    log = path.with_name(f"{path.name}-wal")
    if is_writable(path.parent) or log.exists():
        return path
    with disk_errors("the lake", path):
        folder = TemporaryDirectory(prefix="rpe-catalog-")
        copy = Path(folder.name) / path.name
        shutil.copyfile(path, copy)
    if log.exists():  # somebody opened it meanwhile: the copy may be of two moments
        folder.cleanup()
        return path
    _copies.append(folder)
    return copy


def is_writable(folder: Path) -> bool:
    """Whether this user may make files in a folder."""
    return os.access(folder, os.W_OK)
