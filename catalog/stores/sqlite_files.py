"""SQLite files of the workspace: freed pages keep what was deleted until the file is rewritten."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from catalog.errors import StoreUnavailable

SUFFIXES = (".db", ".sqlite")
_WAIT_SECONDS = 60.0


def vacuum(path: Path) -> None:
    """Rewrite a database without its free pages, and empty its write-ahead log.

    No connection of DuckDB to the file may be open in this process: its SQLite is not Python's, and
    to close a file of one drops the locks of the other.

    Raises:
        StoreUnavailable: another process uses the database for longer than a minute.
    """
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as file:
            file.execute("VACUUM")
            (is_busy, _, _) = file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        is_busy = True
    if is_busy:
        raise StoreUnavailable(
            "A database could not be rewritten without what was deleted from it.",
            where=str(path),
            remedy="stop whoever reads it, then `rpe maintain` goes on",
        )


def copy_database(path: Path, goal: Path) -> None:
    """Copy a database with what its write-ahead log holds; readers may go on.

    Raises:
        StoreUnavailable: it cannot be read, or the copy not be written.
    """
    try:
        with (
            closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as origin,
            closing(sqlite3.connect(goal)) as copied,
        ):
            origin.backup(copied)
    except sqlite3.Error:
        raise StoreUnavailable(
            "A database could not be copied.",
            where=f"{path} to {goal}",
            remedy="check that there is room, and that nobody else writes to it",
        ) from None
