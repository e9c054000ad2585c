"""Where the lake's metadata is: a file of SQLite or a database of PostgreSQL."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from catalog.stores.postgres import PREFIX, has_table, require_no_password, vacuum_full
from catalog.stores.sqlite_files import vacuum
from rpe_core.errors import InputError

_SQLITE = "ducklake:sqlite:"
_POSTGRES = f"ducklake:{PREFIX}"
# Measured with two readers beside one writer: under the rollback journal a reader waited up to 5 s
# for a commit to pass, under the write-ahead log 0.7 s at most, and no commit failed. The log needs
# shared memory, so an embedded catalog must not lie on a network file system (PostgreSQL is for
# that). SQLite keeps `synchronous = FULL`: the log is flushed at each commit, the last row survives
# a power cut.
_SQLITE_OPTIONS = "META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 10000, "
# Small inserts that are inlined would put cell values into the catalog.
_OPTIONS = "DATA_INLINING_ROW_LIMIT 0"


@dataclass(frozen=True)
class Catalog:
    """A catalog by its URI; `path` is its file, or None of one on a server."""

    uri: str
    path: Path | None

    @property
    def extension(self) -> str:
        """DuckDB's extension that reads it."""
        return "sqlite_scanner" if self.path else "postgres_scanner"

    @property
    def options(self) -> str:
        """Options of the attachment."""
        return (_SQLITE_OPTIONS if self.path else "") + _OPTIONS

    @property
    def where(self) -> str:
        """What a message calls it."""
        return str(self.path) if self.path else "the database of RPE_LAKE_URI"

    @property
    def spill(self) -> Path:
        """Where a large sort spills: never into the folder that the program was started in."""
        return (self.path.parent if self.path else Path(tempfile.gettempdir())) / "spill"

    def exists(self) -> bool:
        """Whether a lake was begun here.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        if self.path:
            return self.path.is_file()
        return has_table(self._server, "ducklake_metadata")

    @property
    def is_foreign(self) -> bool:
        """Whether it is a file that can be read and has none of DuckLake's tables."""
        if self.path is None:
            return False
        asked = "SELECT count(*) FROM sqlite_master WHERE name = 'ducklake_metadata'"
        try:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
                return bool(database.execute(asked).fetchone() == (0,))
        except sqlite3.Error:
            return False

    def vacuum(self) -> None:
        """Rewrite the metadata without what was deleted from it; we may not have the lake open.

        Raises:
            StoreUnavailable: somebody uses it for too long, or the server does not answer.
        """
        if self.path:
            vacuum(self.path)
        else:
            vacuum_full(self._server)

    @property
    def _server(self) -> str:
        """`postgres:<libpq keywords>`."""
        return self.uri.removeprefix("ducklake:")


def parse_catalog(uri: str) -> Catalog:
    """The catalog behind `ducklake:sqlite:<path>` or `ducklake:postgres:<libpq keywords>`.

    >>> parse_catalog("ducklake:sqlite:/srv/lake/catalog.sqlite").path.as_posix()
    '/srv/lake/catalog.sqlite'
    >>> parse_catalog("ducklake:postgres:host=db dbname=rpe").extension
    'postgres_scanner'

    Raises:
        InputError: the URI names another kind of catalog, or holds a password.
    """
    if uri.startswith(_POSTGRES) and len(uri) > len(_POSTGRES):
        require_no_password(uri, "RPE_LAKE_URI")
        return Catalog(uri, None)
    if not uri.startswith(_SQLITE) or not uri[len(_SQLITE) :]:
        raise InputError(
            "The lake's URI names a catalog that is not supported.",
            where="RPE_LAKE_URI",
            expected=f"{_SQLITE}<path of a file> or {_POSTGRES}<host=... dbname=...>",
        )
    path = Path(uri[len(_SQLITE) :]).absolute()
    return Catalog(f"{_SQLITE}{path}", path)
