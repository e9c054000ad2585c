"""Rules of databases as sources: what may be wrong with query, URI, credentials and cursor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from catalog.contracts.contract import ColumnRule
from catalog.contracts.databases import DATABASE, KEYS, LOCAL, SERVERS
from catalog.contracts.files import Files
from catalog.contracts.paths import flat_name
from catalog.errors import Fault

CURSOR_TYPES = ("integer", "date", "timestamp")
_WRITES = re.compile(
    r"\s*(insert|update|delete|drop|create|alter|truncate|copy|grant|merge|attach|install|load)\b",
    re.IGNORECASE,
)
# What is no SQL of its own: texts, names in quotes, and comments
_QUOTED = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/", re.DOTALL
)
_URIS = "postgresql://HOST:5432/DATABASE, sqlite:////PATH or duckdb:////PATH"


def database_faults(
    raw: Any, files: Files | None, columns: Mapping[str, ColumnRule]
) -> Iterator[Fault]:
    """What is wrong with the database that `files` names; no text of query or URI is repeated."""
    if not isinstance(raw, Mapping):
        return
    if not raw.keys() & {"query", "uri"}:
        for key in KEYS:
            if key in raw:
                yield Fault(f"files.{key}", "is of a database", "files.query and files.uri too")
        if raw.get("format") == DATABASE:
            yield Fault("files.query", "is missing", "a SELECT, beside files.uri")
        return
    for key in ("query", "uri"):
        if not str(raw.get(key) or "").strip():
            yield Fault(f"files.{key}", "is missing", "both files.query and files.uri")
    if raw.get("format", DATABASE) != DATABASE:
        yield Fault("files.format", "is given twice: files.query implies it", DATABASE)
    for key in raw:
        if key not in (*KEYS, "format"):
            yield Fault(f"files.{key}", "is of files, and this is a database", "no such key")
    if files is not None and files.query and files.uri:
        yield from _uri_faults(files.uri)
        yield from _query_faults(files.query)
        yield from _place_faults(files)
        yield from _cursor_faults(files.cursor, columns)


def _uri_faults(uri: str) -> Iterator[Fault]:
    try:
        parts = urlsplit(uri)
        has_password = parts.password is not None or "password" in parts.query.lower()
        is_placed = parts.port is None or parts.port > 0
    except ValueError:
        yield Fault("files.uri", "is no URI", _URIS)
        return
    if has_password:
        yield Fault("files.uri", "holds a password", "a file that files.credentials names")
    elif parts.scheme not in (*SERVERS, *LOCAL):
        yield Fault("files.uri", "is of no database that is read here", _URIS)
    elif parts.query or parts.fragment:
        yield Fault("files.uri", "has options behind its path", _URIS)
    elif parts.scheme in SERVERS and not (is_placed and parts.hostname and parts.path.strip("/")):
        yield Fault("files.uri", "lacks a host or a database", _URIS)
    elif parts.scheme in LOCAL and not (not parts.netloc and parts.path.startswith("//")):
        yield Fault("files.uri", "is no absolute path behind three slashes", _URIS)


def _query_faults(query: str) -> Iterator[Fault]:
    if _WRITES.match(query):
        yield Fault("files.query", "would write, and a source is only read", "one SELECT")
    elif ";" in _QUOTED.sub("", one_statement(query)):
        yield Fault("files.query", "has a semicolon inside", "one SELECT, without one")


def one_statement(query: str) -> str:
    """A query without the semicolon at its end, behind which comments may stand.

    >>> one_statement("SELECT ';' AS a -- why;"), one_statement("SELECT 1 ; -- done;")
    ("SELECT ';' AS a -- why;", 'SELECT 1')
    """
    bare = _QUOTED.sub(
        lambda match: (" " if match[0][:2] in ("--", "/*") else "_") * len(match[0]), query
    ).rstrip()
    return query[: len(bare.rstrip("; \n"))].strip() if bare.endswith(";") else query.strip()


def _place_faults(files: Files) -> Iterator[Fault]:
    if files.credentials is None:
        return
    if not PurePosixPath(files.credentials).is_absolute():
        yield Fault("files.credentials", "is no absolute path", "the path of a file")
    if urlsplit(files.uri or "").scheme in LOCAL:
        yield Fault("files.credentials", "is of a server, and this is a file", "no such key")


def _cursor_faults(cursor: str | None, columns: Mapping[str, ColumnRule]) -> Iterator[Fault]:
    if cursor is None:
        return
    if cursor not in columns:
        yield Fault("files.cursor", "is no declared column", ", ".join(columns))
    elif not isinstance(flat_name(cursor, columns[cursor]), str) or columns[cursor].map is not None:
        yield Fault(
            "files.cursor", "is no column that the query gives as it is", ", ".join(columns)
        )
    elif columns[cursor].type not in CURSOR_TYPES:
        what = f"is of type {columns[cursor].type}, in which later is not always more"
        yield Fault("files.cursor", what, f"a column of type {', '.join(CURSOR_TYPES)}")
