"""Blame: which file of the lake a failed read came from. DuckDB's text, which quotes cells, ends.

Some of its errors name the file; others (a footer whose bytes make no sense) name nothing, so the
files of the tables that were asked for are looked at, one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import StoreError
from catalog.stores.lake.errors import store_error_of
from catalog.stores.lake.files import LakeFile, files_there, named_files
from catalog.stores.lake.rows import fetch_rows
from catalog.stores.lake.session import open_cursor

_OF_FILES = (
    duckdb.InvalidInputException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.OutOfRangeException,
)
_PATH = re.compile(r"([\w%.=-]+/[\w%.=-]+/ducklake-[\w-]+\.parquet)")
_GONE = ("no such file", "404")
BACKUP = "only a backup can bring it: see `Restore` in infra/runbook.md; `rpe doctor --deep` names"
BACKUP += " every file that is damaged"


class LakeFileDamaged(StoreError):
    """A Parquet file of the lake is gone, or is not what was kept; other tables can be read."""

    def __init__(self, doing: str, path: str, *, is_gone: bool) -> None:
        self.path = path
        what = "is gone" if is_gone else "is not what was kept"
        super().__init__(
            f"Could not {doing}: a file of the lake {what}. {_cost(path)}",
            where=path,
            remedy=BACKUP,
        )


@contextmanager
def name_damaged_files(connection: Any, data_uri: str, *, doing: str, sql: str) -> Iterator[None]:
    """Turn what DuckDB raises over a statement into a StoreError that names a damaged file.

    Raises:
        LakeFileDamaged: a file that the catalog names is gone, or cannot be read.
        StoreError: as `lake_errors`.
    """
    try:
        yield
    except duckdb.Error as error:
        find = partial(_damaged, connection, data_uri, sql)
        raise read_error_of(error, doing=doing, find=find) from None


def read_error_of(
    error: duckdb.Error,
    *,
    doing: str,
    find: Callable[[], tuple[str, bool] | None] = lambda: None,
) -> StoreError:
    """Our error for one of DuckDB's over a statement that may have read a damaged file."""
    text = str(error)
    match, is_gone = _PATH.search(text), any(sign in text.lower() for sign in _GONE)
    is_of_file = isinstance(error, _OF_FILES) or type(error) is duckdb.Error
    is_of_disk = isinstance(error, duckdb.IOException | duckdb.HTTPException)
    if match and (is_of_file or (is_of_disk and is_gone)):
        return LakeFileDamaged(doing, match[1], is_gone=is_gone and not is_of_file)
    if (is_of_file or (is_of_disk and is_gone)) and (damage := find()):
        return LakeFileDamaged(doing, damage[0], is_gone=damage[1])
    return store_error_of(error, doing=doing)


class _Rows:
    """The catalog, asked on a cursor of its own: the one that failed may be of no more use."""

    def __init__(self, connection: Any) -> None:
        self._cursor = open_cursor(connection)

    def rows(self, sql: str, parameters: Any = ()) -> list[dict[str, Any]]:
        return fetch_rows(self._cursor, sql, parameters)


def _damaged(connection: Any, data_uri: str, sql: str) -> tuple[str, bool] | None:
    """The first file of the tables in a statement that is gone or cannot be read: path, is gone."""
    try:
        there = {file.name: file for file in files_there(data_uri)}
        named = [file for file in named_files(_Rows(connection)) if file.is_current]
    except (duckdb.Error, StoreError):
        return None
    asked = [file for file in named if file.table in sql]
    for file in asked or named:
        lying = there.get(file.path)
        if lying is None or lying.n_bytes != file.n_bytes or not _is_read(lying.path):
            return _shown(file), lying is None
    return None


def _is_read(path: Path | None) -> bool:
    """Whether a file on this machine can be read to its end; one in a bucket counts as such."""
    if path is None:
        return True
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                batch.validate(full=True)
    except (OSError, pa.ArrowException):
        return False
    return True


def _shown(file: LakeFile) -> str:
    return f"{file.schema}/{file.table}/{file.name}"


def _cost(path: str) -> str:
    schema, table, _ = path.split("/")
    if schema == "core":
        return f"Records of core.{table} cannot be read."
    return f"Rows of source {table} cannot be read: nothing new is made of it, the others go on."
