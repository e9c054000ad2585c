"""Names of the lake's tables for whoever types SQL: which there are, and which one was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from catalog.stores.lake.session import ALIAS
from catalog.tables.migrate import SCHEMAS
from catalog.tables.quoting import quote_text, quote_texts
from rpe_core.errors import InputError, shown_name

_BY_USE = ("mart", "core", "raw", "quarantine")  # what people mean, first
_SCHEMAS = quote_texts(SCHEMAS)
_OURS = f"database_name = {quote_text(ALIAS)} AND schema_name IN ({_SCHEMAS})"
# DuckDB's own SHOW TABLES sees one schema, in which nothing of ours lies
SHOW_TABLES = (
    "SELECT schema_name || '.' || table_name AS name, 'table' AS kind, comment AS about"
    f" FROM duckdb_tables() WHERE {_OURS} UNION ALL"
    " SELECT schema_name || '.' || view_name, 'view', comment"
    f" FROM duckdb_views() WHERE {_OURS} ORDER BY name"
)
_NEAR = 3  # names in one message


def unknown_table(name: str, known: Sequence[str]) -> InputError:
    """What is said of a table that is not there: the nearest names with their schemas."""
    near = nearest(name, known)
    expected = f"{', '.join(near)}  (did you mean '{near[0]}'?)" if near else _first(known)
    return InputError(
        f"Table {_shown(name)} is not known.",
        expected=expected,
        remedy="SHOW TABLES lists them all with their schemas",
    )


def unknown_schema() -> InputError:
    """What is said of a schema that is not there."""
    return InputError(
        "The statement names a schema that is not known.", expected=", ".join(SCHEMAS)
    )


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Names like this one, by the whole name or without its schema; those of `mart` first.

    >>> nearest("leaderboard", ["core.runs", "mart.leaderboard"])
    ['mart.leaderboard']
    >>> nearest("core.run", ["core.runs", "mart.runs", "raw.site"])[0]
    'core.runs'
    """
    wanted, ordered = name.lower(), sorted(known, key=_rank)
    same = [candidate for candidate in ordered if _bare(candidate) == _bare(wanted)]
    whole = difflib.get_close_matches(wanted, ordered, n=_NEAR) if "." in name else []
    near = difflib.get_close_matches(
        _bare(wanted), {_bare(candidate): 0 for candidate in ordered}, n=_NEAR
    )
    bare = [candidate for text in near for candidate in ordered if _bare(candidate) == text]
    return list(dict.fromkeys([*same, *whole, *bare]))[:_NEAR]


def given_name(table: str, nodes: Iterable[dict[str, Any]]) -> str:
    """A table as the statement names it: DuckDB's errors leave its schema out."""
    for node in nodes:
        if node.get("type") == "BASE_TABLE":
            name = ".".join(part for part in (node["schema_name"], node["table_name"]) if part)
            if table.strip('"') in (name, node["table_name"]):
                return name
    return table.strip('"')


def _shown(name: str) -> str:
    """A plain name; what only quotes make one may be a value that somebody searches for."""
    is_plain = re.fullmatch(r"[\w.]+", name)
    return shown_name(name) if is_plain else f"({len(name)} characters, not shown)"


def _first(known: Sequence[str]) -> str:
    return ", ".join(name for name in sorted(known) if _schema(name) == _BY_USE[0])


def _rank(name: str) -> tuple[int, str]:
    schema = _schema(name)
    return (_BY_USE.index(schema) if schema in _BY_USE else len(_BY_USE), name)


def _schema(name: str) -> str:
    return name.partition(".")[0]


def _bare(name: str) -> str:
    return name.rpartition(".")[2].lower()
