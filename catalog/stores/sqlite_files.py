"""SQLite files of the workspace: freed pages keep what was deleted until the file is rewritten."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from catalog.errors import StoreUnavailable
from rpe_core.regular_files import NotRegularFile, open_regular

SUFFIXES = (".db", ".sqlite")
_WAIT_SECONDS = 60.0
_SCHEME = "sqlite:///"
MAGIC = b"SQLite format 3\0"
_HEAD_BYTES = 100


def file_of(uri: str) -> Path | None:
    """The file of a URI `sqlite:///<path>`; None of a database on a server.

    >>> file_of("sqlite:////srv/rpe/mlflow.db"), file_of("postgresql://host/mlflow")
    (PosixPath('/srv/rpe/mlflow.db'), None)
    """
    path = uri.removeprefix(_SCHEME)
    return Path(path) if path != uri else None


def fault_of(path: Path, *, is_deep: bool = False) -> str:
    """What is wrong with a database, in words that follow `it`; '' where it is sound or gone.

    By its head and its length; with `is_deep` every page is read. Nothing is made beside it. No
    connection of DuckDB to the file may be open in this process, see `vacuum`.
    """
    try:
        n_bytes = path.stat().st_size
        with open_regular(path) as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return ""
    except NotRegularFile as error:
        return f"is {error.kind}, no file"
    except OSError:
        return "cannot be read"
    if not n_bytes:
        return "is empty"
    if len(head) < _HEAD_BYTES or not head.startswith(MAGIC):
        return "is no database"
    page_bytes, n_pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    wanted = n_pages * (65_536 if page_bytes == 1 else page_bytes)
    if n_bytes < wanted:  # with a log beside it, too: it is longer then, never shorter
        return f"is cut: {n_bytes:,} bytes of {wanted:,} are left"
    return _page_fault(path) if is_deep else ""


def _page_fault(path: Path) -> str:
    log = path.with_name(f"{path.name}-wal")
    # a database without a log is opened without making one, which its folder may not allow
    mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)) as file:
            answer = file.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error:
        return "is damaged: a page of it cannot be read"
    return "" if answer == ("ok",) else "is damaged: a page of it is not what was written"


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
