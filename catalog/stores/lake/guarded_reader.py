"""SQL of other people on the lake: one reading statement, no file, setting or other database."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

import duckdb
import pyarrow as pa

from catalog.stores.lake.blame import read_error_of
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.reading_rules import (
    PLACE_OF_FILE,
    closed_functions,
    nodes,
    place_of_files,
    require_open_names,
    tables_asked_for_place,
)
from catalog.stores.lake.session import ALIAS, connect, open_cursor
from catalog.stores.lake.shown_plans import is_explain, statement_of_explain, without_files
from catalog.stores.lake.table_names import (
    SHOW_TABLES,
    given_name,
    unknown_schema,
    unknown_table,
)
from catalog.tables.quoting import quote_text
from rpe_core.errors import InputError, shown_name

_EXPECTED = "one SELECT, WITH, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN of one of these"
_TRY = "SHOW TABLES lists what is here, DESCRIBE mart.leaderboard the columns of one"
_PIVOT = re.compile(r"\s*PIVOT\b", re.IGNORECASE)
_MISSING_TABLE = re.compile(r"Table with name (.+?) does not exist")
_SYSTEM_VIEWS = (
    "SELECT view_name FROM duckdb_views()"
    " WHERE database_name = 'system' AND schema_name IN ('main', 'pg_catalog')"
)
_FUNCTIONS = "SELECT DISTINCT function_name FROM duckdb_functions()"
_HAVE_PLACE = (
    "SELECT schema_name || '.' || table_name FROM duckdb_columns()"
    f" WHERE database_name = {quote_text(ALIAS)} AND lower(column_name) = '{PLACE_OF_FILE}'"
)


class GuardedReader:
    """A read-only connection for statements that we did not write."""

    def __init__(self, *, uri: str, data_uri: str) -> None:
        self._connection = connect(parse_catalog(uri), data_uri, is_read_only=True)
        self._cursor = open_cursor(self._connection)
        self._parser = duckdb.connect(":memory:")
        # a folder is allowed only with its last slash
        folder = quote_text(data_uri.rstrip("/") + "/")
        for setting in (
            f"SET GLOBAL allowed_directories = [{folder}]",
            "SET GLOBAL temp_directory = ''",
            "SET GLOBAL enable_external_access = false",
            "SET GLOBAL lock_configuration = true",
        ):
            self._connection.execute(setting)

    def query(self, sql: str) -> pa.Table:
        """The result of one reading statement.

        Raises:
            InputError: it is no single reading statement, or names what is not there.
            StoreError: the lake could not answer; the message holds no value.
        """
        try:
            tree = self._require_reading(sql)
            shows_tables = _without_places(tree) == _without_places(self._tree("SHOW TABLES"))
            result = self._cursor.execute(SHOW_TABLES if shows_tables else sql)
            if any(str(kind) == "UHUGEINT" for _, kind, *_ in result.description):
                # measured on DuckDB 1.5.5: as Arrow the largest of these come out negative
                raise InputError("UHUGEINT cannot be told exactly.", remedy="cast it to VARCHAR")
            table = result.to_arrow_table()
            return without_files(table) if is_explain(sql) else table
        except duckdb.CatalogException as error:
            raise self._unknown_name(str(error), tree) from None
        except duckdb.BinderException as error:
            raise _unknown_column(str(error)) from None
        except duckdb.ParserException:
            raise InputError("The statement is not SQL.", expected=_EXPECTED, remedy=_TRY) from None
        except duckdb.DataError:
            raise InputError(
                "The statement converts a value that does not fit.", remedy="use try_cast"
            ) from None
        except duckdb.Error as error:
            raise read_error_of(error, doing="run the statement") from None

    def close(self) -> None:
        """Close the connection."""
        for connection in (self._cursor, self._connection, self._parser):
            connection.close()

    def _require_reading(self, sql: str) -> Any:
        """The serialised statement, which reads and names no file."""
        statements = duckdb.extract_statements(sql)
        if not statements:
            raise InputError("No statement was given.", expected=_EXPECTED, remedy=_TRY)
        if len(statements) > 1 and _PIVOT.match(sql):
            raise InputError(
                "A PIVOT without its columns would have to write a type first.",
                expected="PIVOT ... ON column IN (values) USING ...",
            )
        if len(statements) > 1:
            raise InputError(
                f"{len(statements)} statements were given, one is run.", expected=_EXPECTED
            )
        is_plan = is_explain(sql)
        tree = self._tree(statement_of_explain(sql) if is_plan else sql)
        self._require_open(tree)
        if not is_plan and self._shows_tables_inside(tree):
            raise InputError(
                "SHOW TABLES stands by itself here.",
                remedy="SELECT * FROM information_schema.tables may stand anywhere",
            )
        return tree

    def _require_open(self, tree: Any) -> None:
        """A statement names nothing but the lake, and functions that only compute."""
        require_open_names(tree, system=self._names(_SYSTEM_VIEWS), known=self._tables())
        closed = closed_functions(tree)
        known = closed and closed & self._names(_FUNCTIONS)
        if known:
            shown = ", ".join(map(shown_name, sorted(known)))
            raise InputError(f"Function {shown} is not allowed.", expected="one that only computes")
        if closed:
            raise _unknown_function()
        asked = tables_asked_for_place(tree)
        if asked and asked - self._names(_HAVE_PLACE):
            raise place_of_files()

    def _tables(self) -> list[str]:
        return [name for name, *_ in self._cursor.execute(SHOW_TABLES).fetchall()]

    def _names(self, sql: str) -> set[str]:
        return {str(name).lower() for (name,) in self._cursor.execute(sql).fetchall()}

    def _shows_tables_inside(self, tree: Any) -> bool:
        """Whether SHOW TABLES is a part of a larger statement, where it would find nothing."""
        shown = [n for n in nodes(tree) if n.get("type") == "SHOW_REF"]
        alone = _without_places(self._tree("SHOW TABLES"))
        is_there = any(node.get("table_name") == '"tables"' for node in shown)
        return is_there and _without_places(tree) != alone

    def _tree(self, sql: str) -> Any:
        # only statements that cannot write have a tree: DuckDB serialises nothing but SELECT
        row = self._parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
        tree = json.loads(row[0]) if row else {"error": True}
        if tree["error"]:
            raise InputError(
                "Only reading statements are run here.", expected=_EXPECTED, remedy=_TRY
            )
        return tree

    def _unknown_name(self, text: str, tree: Any) -> InputError:
        if "schema named" in text:
            return unknown_schema()
        match = _MISSING_TABLE.search(text)
        if not match:
            return _unknown_function()
        return unknown_table(given_name(match[1], nodes(tree)), self._tables())


def _unknown_function() -> InputError:
    return InputError("The statement names a function that is not known.")


def _without_places(tree: Any) -> Any:
    """A serialised statement without where in the text its parts stand."""
    if isinstance(tree, dict):
        return {k: _without_places(v) for k, v in tree.items() if k != "query_location"}
    return [_without_places(node) for node in tree] if isinstance(tree, list) else tree


def _unknown_column(text: str) -> InputError:
    """Told without the name that was given: in double quotes a searched value is a name, too."""
    if text.startswith('Binder Error: Catalog "'):
        return InputError("The statement names another database.", expected="tables of the lake")
    _, _, bindings = text.partition("Candidate bindings:")
    given = re.search(r'"([^"]+)"', text)
    candidates = re.findall(r'"([^"]+)"', bindings.partition("\n")[0])
    near = difflib.get_close_matches(given[1] if given else "", candidates) or candidates
    return InputError(
        "The statement names a column or function that is not known, or mixes types.",
        expected=f"a column such as {', '.join(near)}" if near else "a column; see mart.columns",
        remedy="write text in single quotes and names in double quotes",
    )
