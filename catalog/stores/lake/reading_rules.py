"""What a statement of other people may name: the lake's schemas, and functions that only compute.

All are lists of what is open, because what should be closed is not known whole: measured on DuckDB
1.5.5, `__ducklake_metadata_lake` is attached and hidden, keeps the extremes of columns whose rows
have gone, and answers to whoever knows its name.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from typing import Any

from catalog.stores.lake.session import ALIAS
from catalog.stores.lake.table_names import unknown_schema, unknown_table
from catalog.tables.migrate import SCHEMAS
from rpe_core.errors import InputError, shown_name

_LAKE = "tables and views of the lake; see mart.columns"
# Each shows the lake only: DuckDB leaves a hidden database out of them.
_LISTINGS = {"duckdb_columns", "duckdb_schemas", "duckdb_tables", "duckdb_types", "duckdb_views"}
_OF_THE_LAKE = {
    "current_snapshot", "last_committed_snapshot", "snapshots", "table_changes",
    "table_deletions", "table_info", "table_insertions",
}  # fmt: skip
_MAKE_ROWS = {"generate_series", "json_each", "json_tree", "range", "unnest"}
_NAMED_BY_TEXT = "pragma_table_info"
_TABLE_FUNCTIONS = _LISTINGS | _OF_THE_LAKE | _MAKE_ROWS | {_NAMED_BY_TEXT}
_PG_VIEWS = {"pg_attribute", "pg_class", "pg_namespace", "pg_tables", "pg_type", "pg_views"}
_SYSTEM_VIEWS = _LISTINGS | _PG_VIEWS | {"sqlite_master", "sqlite_schema"}
_SHOWN = {'"tables"', '"databases"', '"schemas"', "__show_tables_expanded"}
# A column that DuckDB adds to each table of files: where on this machine they lie.
PLACE_OF_FILE = "filename"
_COLUMN_KEYS = ("column_names", "using_columns", "groups")  # of a column, a join and a PIVOT
_OF_FILES = ("core", "raw", "quarantine")  # views do not have it


def require_open_names(tree: Any, *, system: Collection[str], known: Sequence[str]) -> None:
    """Nothing in a serialised statement names what is not listed here as open.

    `system` are the views that DuckDB finds under a bare name, `known` the tables of the lake.

    Raises:
        InputError: a table, function or column is closed.
    """
    for node in nodes(tree):
        kind = node.get("type")
        if kind == "BASE_TABLE":
            _require_open_table(node, system, known)
        elif kind == "SHOW_REF":
            _require_open_list(node)
        elif kind == "TABLE_FUNCTION":
            _require_open_table_function(node["function"])


def tables_asked_for_place(tree: Any) -> set[str]:
    """Tables of a SELECT that names the column in which DuckDB tells where a table's files lie."""
    return {
        f"{table['schema_name']}.{table['table_name']}".lower()
        for node in nodes(tree)
        if node.get("type") == "SELECT_NODE" and _names_place(node)
        for table in _own_tables(node["from_table"])
        if table.get("type") == "BASE_TABLE" and str(table["schema_name"]).lower() in _OF_FILES
    }


def place_of_files() -> InputError:
    """What is said of a statement that asks where the files of a table lie."""
    return InputError(
        f"Column {PLACE_OF_FILE} would tell where the files of a table lie.",
        expected="a column of the table; see mart.columns",
        remedy="call a column that you made otherwise",
    )


def closed_functions(tree: Any) -> set[str]:
    """Names of functions outside FROM that are not on the list of those that only compute."""
    in_from = {id(n["function"]) for n in nodes(tree) if n.get("type") == "TABLE_FUNCTION"}
    named = (n for n in nodes(tree) if n.get("function_name") and id(n) not in in_from)
    return {str(node["function_name"]).lower() for node in named} - _computing()


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a serialised statement, at any depth."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(child, dict | list):
            yield from nodes(child)


@functools.cache
def _computing() -> frozenset[str]:
    text = (
        resources.files("catalog.stores.lake").joinpath("reading_functions.txt").read_text("utf-8")
    )
    return frozenset(text.lower().split())


def _require_open_table(
    node: dict[str, Any], system: Collection[str], known: Sequence[str]
) -> None:
    catalog, schema, name = (
        str(node[f"{part}_name"]).lower() for part in ("catalog", "schema", "table")
    )
    if "/" in name:
        # an object store knows no folders: below an allowed one `..` would lead out of it
        raise InputError("A file is not read here.", expected=_LAKE)
    is_listed = catalog in ("", "system") and schema == "information_schema"
    is_listed |= not catalog and schema == "pg_catalog" and name in _PG_VIEWS
    if is_listed or (catalog in ("", ALIAS) and schema in SCHEMAS):
        return
    # without a schema a name is that of a CTE, of a system view, or of nothing; lake.x is nothing
    if not catalog and (not schema or schema == ALIAS):
        if not schema and name in system and name not in _SYSTEM_VIEWS:
            raise InputError(f"View {shown_name(name)} is not shown here.", expected=_LAKE)
        return
    is_here = catalog in ("", ALIAS)
    raise unknown_table(f"{schema}.{name}", known) if is_here else _another_database()


def _another_database() -> InputError:
    return InputError("The statement names another database.", expected="tables of the lake")


def _require_open_list(node: dict[str, Any]) -> None:
    """SHOW of the lake's lists, of a table, or FROM the lake or a schema of it."""
    catalog, schema = (str(node[f"{part}_name"]).lower() for part in ("catalog", "schema"))
    if node["show_type"] == "SHOW_FROM":
        if catalog not in ("", ALIAS) or schema not in ("", ALIAS, *SCHEMAS):
            raise _another_database() if catalog not in ("", ALIAS) else unknown_schema()
    elif node["query"] is None and str(node["table_name"]).lower() not in _SHOWN:
        raise InputError("SHOW is not given this here.", expected="SHOW TABLES, or a table's name")


def _require_open_table_function(function: dict[str, Any]) -> None:
    catalog, schema, name = (
        str(function[part]).lower() for part in ("catalog", "schema", "function_name")
    )
    is_ours = catalog in ("", ALIAS) and schema in ("", ALIAS, *SCHEMAS)
    if name not in _TABLE_FUNCTIONS or not is_ours:
        raise InputError(
            f"Table function {shown_name(name)} is not allowed.",
            expected=_LAKE,
        )
    if name == _NAMED_BY_TEXT and not _is_name_in_lake(function["children"]):
        raise InputError(
            f"{name} takes one table of the lake, as text.", expected="'core.runs', for example"
        )


def _is_name_in_lake(arguments: list[dict[str, Any]]) -> bool:
    """Whether the one argument is a constant of two or three plain parts, in the lake."""
    given = arguments[0].get("value", {}).get("value") if len(arguments) == 1 else None
    parts = given.lower().split(".") if isinstance(given, str) else []
    return parts[:-1] in [[*way, schema] for way in ([], [ALIAS]) for schema in SCHEMAS]


def _names_place(select: dict[str, Any]) -> bool:
    """Whether a SELECT, or a part of it, names the column; its own alias may order it."""
    ordering = {id(node) for node in _bare_orders(select)} if _has_alias(select) else set()
    for node in nodes(select):
        names = [name for key in _COLUMN_KEYS for name in node.get(key) or []]
        if id(node) not in ordering and any(
            isinstance(column, str) and column.lower() == PLACE_OF_FILE for column in names
        ):
            return True
    return False


def _has_alias(select: dict[str, Any]) -> bool:
    return any(str(item.get("alias")).lower() == PLACE_OF_FILE for item in select["select_list"])


def _bare_orders(select: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a SELECT is ordered by under a name alone, as an alias is; of a table it is none."""
    for modifier in select["modifiers"]:
        for order in modifier.get("orders") or []:
            if len(order["expression"].get("column_names") or []) == 1:
                yield order["expression"]


def _own_tables(tree: Any) -> Iterator[dict[str, Any]]:
    """The tables from which a SELECT reads by itself, not by a subquery."""
    if isinstance(tree, dict):
        if tree.get("type") in ("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"):
            return
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(child, dict | list):
            yield from _own_tables(child)
