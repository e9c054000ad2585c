"""Opening DuckDB on a lake: extensions by path, attachment and settings, no statement of ours."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import duckdb

from catalog.errors import RecordNotFound, StoreError
from catalog.stores.disk import disk_errors
from catalog.stores.lake_errors import lake_errors
from rpe_core.errors import InputError

ALIAS = "lake"
_PREFIX = "ducklake:sqlite:"
_EXTENSIONS = ("sqlite_scanner", "ducklake")
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # extensions come from the installed packages: nothing is downloaded, now or later
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # a table name must never find a variable of the calling program
    "python_enable_replacements": "false",
}
# Measured with two readers beside one writer: under the rollback journal a reader waited up to 5 s
# for a commit to pass, under the write-ahead log 0.7 s at most, and no commit failed. The log needs
# shared memory, so an embedded catalog must not lie on a network file system (PostgreSQL is for
# that). SQLite keeps `synchronous = FULL`: the log is flushed at each commit, the last row survives
# a power cut. Inlining off: small inserts would put cell values into the catalog file.
_ATTACH_OPTIONS = "META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 10000, DATA_INLINING_ROW_LIMIT 0"


def catalog_path(uri: str) -> Path:
    """The file behind `ducklake:sqlite:<path>`.

    >>> catalog_path("ducklake:sqlite:/srv/lake/catalog.sqlite").as_posix()
    '/srv/lake/catalog.sqlite'

    Raises:
        InputError: the URI names another kind of catalog.
    """
    if not uri.startswith(_PREFIX) or not uri[len(_PREFIX) :]:
        raise InputError(
            "The lake's URI names a catalog that is not supported.",
            where="RPE_LAKE_URI",
            expected=f"{_PREFIX}<path of a file>",
        )
    return Path(uri[len(_PREFIX) :]).absolute()


def extension_path(name: str) -> Path:
    """The signed binary of an extension, in the package that carries it for this DuckDB version.

    Raises:
        StoreError: the package is missing or made for another version of DuckDB.
    """
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    root = Path(spec.origin).parent if spec and spec.origin else Path("missing")
    path = root / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    if not path.is_file():
        raise StoreError(
            f"DuckDB {duckdb.__version__} has no installed extension '{name}'.",
            remedy=f"install duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}",
        )
    return path


def connect(catalog: Path, data_uri: str, *, is_read_only: bool, threads: int | None = None) -> Any:
    """A DuckDB connection with the lake attached as `lake` (the default only per cursor).

    On as many threads as there are cores, unless told otherwise.

    Raises:
        RecordNotFound: read-only, and there is no lake yet.
        StoreError: the catalog or an extension cannot be opened.
    """
    if is_read_only and not catalog.is_file():
        raise RecordNotFound(
            "There is no lake here yet.", where=str(catalog), remedy="run `rpe init`"
        )
    if not is_read_only:
        with disk_errors("the lake", catalog):
            catalog.parent.mkdir(parents=True, exist_ok=True)
    with lake_errors("open the lake", where=str(catalog)):
        connection = duckdb.connect(":memory:", config=_CONFIG)
        for name in _EXTENSIONS:
            connection.execute(f"LOAD {quoted_text(str(extension_path(name)))}")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        if threads:
            connection.execute(f"SET GLOBAL threads = {threads}")
        # a large sort spills beside the data it sorts, never into the folder we were started in
        connection.execute(f"SET GLOBAL temp_directory = {quoted_text(str(_spill(catalog)))}")
        # a workspace may be moved: the path that is given wins over the one the catalog has stored
        access = "READ_ONLY, " if is_read_only else ""
        connection.execute(
            f"ATTACH {quoted_text(_PREFIX + str(catalog))} AS {ALIAS} ({access}"
            f"DATA_PATH {quoted_text(data_uri)}, OVERRIDE_DATA_PATH true, {_ATTACH_OPTIONS})"
        )
    return connection


def open_cursor(connection: Any) -> Any:
    """A cursor of its own transaction, with the lake as its default database."""
    cursor = connection.cursor()
    cursor.execute(f"USE {ALIAS}")
    cursor.execute("SET enable_progress_bar = false")
    return cursor


def quoted_text(value: str) -> str:
    """A string as a literal of SQL.

    >>> quoted_text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def _spill(catalog: Path) -> Path:
    return catalog.parent / "spill"
