"""Opening DuckDB on a lake: extensions by path, attachment and settings, no statement of ours."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from catalog.errors import RecordNotFound, StoreError
from catalog.stores.disk import disk_errors
from catalog.stores.lake.catalog_uri import Catalog
from catalog.stores.lake.errors import lake_errors
from catalog.stores.lake.readable_catalog import is_writable, readable
from catalog.stores.object_store import (
    REQUEST_SECONDS,
    duckdb_options,
    find_access,
    is_in_bucket,
    path_in_store,
)
from catalog.tables.quoting import quote_text

ALIAS = "lake"
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    # extensions come from the installed packages: nothing is downloaded, now or later
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # a table name must never find a variable of the calling program
    "python_enable_replacements": "false",
}


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


def extensions_of(catalog: Catalog, data_uri: str) -> tuple[str, ...]:
    """The extensions of DuckDB that a lake needs."""
    remote = ("httpfs",) if is_in_bucket(data_uri) else ()
    return (catalog.extension, "ducklake", *remote)


def connect(
    catalog: Catalog, data_uri: str, *, is_read_only: bool, threads: int | None = None
) -> Any:
    """A DuckDB connection with the lake attached as `lake` (the default only per cursor).

    On as many threads as there are cores, unless told otherwise.

    Raises:
        RecordNotFound: read-only, and there is no lake yet.
        StoreError: the catalog or an extension cannot be opened.
    """
    if is_read_only and not catalog.exists():
        raise RecordNotFound(
            "There is no lake here yet.", where=catalog.where, remedy="run `rpe init`"
        )
    if catalog.path and not is_read_only:
        with disk_errors("the lake", catalog.path):
            catalog.path.parent.mkdir(parents=True, exist_ok=True)
    uri, spill = catalog.uri, catalog.spill
    if is_read_only and catalog.path:
        uri = uri.replace(str(catalog.path), str(readable(catalog.path)))
        if not is_writable(catalog.path.parent):
            spill = Path(tempfile.gettempdir()) / "rpe-spill"
    with lake_errors("open the lake", where=catalog.where):
        # secrets are looked for where none are, not in the home of the user
        private = {"secret_directory": str(spill / "secrets")}
        connection = duckdb.connect(":memory:", config={**CONFIG, **private})
        for name in extensions_of(catalog, data_uri):
            connection.execute(f"LOAD {quote_text(str(extension_path(name)))}")
        if is_in_bucket(data_uri):
            sign_in(connection, data_uri)
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        if threads:
            connection.execute(f"SET GLOBAL threads = {threads}")
        connection.execute(f"SET GLOBAL temp_directory = {quote_text(str(spill))}")
        # a workspace may be moved: the path that is given wins over the one the catalog has stored
        access = "READ_ONLY, " if is_read_only else ""
        connection.execute(
            f"ATTACH {quote_text(uri)} AS {ALIAS} ({access}"
            f"DATA_PATH {quote_text(data_uri)}, OVERRIDE_DATA_PATH true, {catalog.options})"
        )
    return connection


def sign_in(connection: Any, data_uri: str) -> None:
    """Let a connection use the bucket of the lake's files, and no other.

    Raises:
        InputError: the URI is none that we use.
        StoreError: there are no credentials.
    """
    bucket = path_in_store(data_uri, "RPE_LAKE_DATA_URI").partition("/")[0]
    connection.execute(f"SET GLOBAL http_timeout = {REQUEST_SECONDS}")
    options = ", ".join(
        f"{name} {quote_text(value) if isinstance(value, str) else value}"
        for name, value in duckdb_options(find_access()).items()
    )
    scope = quote_text(f"s3://{bucket}")
    connection.execute(f"CREATE OR REPLACE SECRET store (TYPE s3, {options}, SCOPE {scope})")


def open_cursor(connection: Any) -> Any:
    """A cursor of its own transaction, with the lake as its default database."""
    cursor = connection.cursor()
    cursor.execute(f"USE {ALIAS}")
    cursor.execute("SET enable_progress_bar = false")
    return cursor
