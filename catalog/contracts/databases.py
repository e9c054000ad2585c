"""Databases as sources: what `files: {query, uri, credentials, cursor}` implies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DATABASE = "database"
DOC = (
    'a query, `files: {query: "SELECT ...", uri: "postgresql://HOST/DB"}`, or of SQLite or DuckDB:'
    " read only, news by a cursor, see `infra/docs/contracts.md`"
)
KEYS = ("query", "uri", "credentials", "cursor")
SERVERS, LOCAL = ("postgresql", "postgres"), ("sqlite", "duckdb")
_NOWHERE = "(its extracts lie in the workspace)"


def with_extracts(data: Any) -> Any:
    """The raw `files` of a contract with the format, and a place, that a query implies."""
    if not isinstance(data, Mapping) or not data.keys() & {"query", "uri"}:
        return data
    return {"format": DATABASE, "path": _NOWHERE, **data}
