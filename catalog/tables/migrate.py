"""Bringing a lake to the tables, comments and views that this release declares, forward only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Protocol

from catalog.errors import StoreError
from catalog.tables.quoting import quote_identifier, quote_text
from catalog.tables.schema import TABLES
from catalog.tables.spec import RECORDED, Column, TableSpec
from catalog.tables.views import CATALOGUE, ViewSpec, load_views
from rpe_core.fingerprint import fingerprint

SCHEMAS = {
    "raw": "Accepted rows, one table per source",
    "quarantine": "Rows set aside with their reasons, one table per source",
    "core": "What was made, from what, how good it is and what was decided",
    "mart": "Views for people; mart.columns documents every column",
}
MIGRATIONS = TableSpec(
    "migrations",
    ("version", "declaration_sha256"),
    "Which release of the tables and views this lake holds; the newest row counts",
    (
        Column("version", "BIGINT", "number of the last migration file that is applied"),
        Column("declaration_sha256", "VARCHAR", "hash over all tables, comments and views"),
        RECORDED,
    ),
)


class Session(Protocol):
    """What is asked of a database cursor here."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one or more statements."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Rows of the last statement."""


@dataclass(frozen=True)
class Declaration:
    """The tables, views and migrations of a release; equal hash, nothing to do."""

    tables: tuple[TableSpec, ...]
    views: tuple[ViewSpec, ...]
    migrations: tuple[tuple[int, str], ...]  # number and SQL, ascending

    @property
    def version(self) -> int:
        """Number of the last migration; 0 before the first."""
        return max((number for number, _ in self.migrations), default=0)

    @cached_property
    def sha256(self) -> str:
        """Hash over everything that a lake is made to hold."""
        return fingerprint(asdict(self))


@cache
def declared_schema() -> Declaration:
    """What this release declares: tables, views/*.sql and tables/migrations/NNNN_name.sql."""
    folder = files("catalog") / "tables" / "migrations"
    sql_files = [e for e in folder.iterdir() if e.name.endswith(".sql")] if folder.is_dir() else []
    migrations = sorted((int(e.name[:4]), e.read_text(encoding="utf-8")) for e in sql_files)
    return Declaration((*TABLES, MIGRATIONS), load_views(), tuple(migrations))


def is_current(session: Session, declaration: Declaration) -> bool:
    """Whether the lake holds exactly what is declared; only reads.

    Raises:
        StoreError: the lake was written by a newer release.
    """
    state = _state(session)
    if state is not None and state[0] > declaration.version:
        raise StoreError(
            f"The lake holds tables of version {state[0]}; known here: {declaration.version}.",
            remedy="install the newer release: migrations run forward only",
        )
    return state == (declaration.version, declaration.sha256)


def apply(session: Session, declaration: Declaration, *, now: datetime) -> None:
    """Bring the lake to the declaration, inside the caller's transaction.

    A new lake is made from the declaration at once; an older one runs the migrations it has not
    seen. New tables need no migration, changed columns do.

    Raises:
        StoreError: after all migrations a table differs from what is declared.
    """
    state = _state(session)
    if state is not None:
        for number, sql in declaration.migrations:
            if number > state[0]:
                session.execute(sql)
    for name in SCHEMAS:
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    _make_tables(session, declaration.tables)
    _comment_tables(session, declaration.tables)
    for view in declaration.views:
        _make_view(session, view, declaration)
    session.execute(
        "INSERT INTO core.migrations VALUES (?, ?, ?)",
        [declaration.version, declaration.sha256, now],
    )


def column_types(session: Session, schema: str) -> dict[str, dict[str, str]]:
    """Tables and views of a schema of the lake: name -> column -> type, in order."""
    session.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns()"
        " WHERE database_name = current_database() AND schema_name = ? ORDER BY column_index",
        [schema],
    )
    types: dict[str, dict[str, str]] = {}
    for table, column, kind in session.fetchall():
        types.setdefault(table, {})[column] = kind
    return types


def create_table_sql(schema: str, name: str, columns: Sequence[Column]) -> str:
    """CREATE TABLE for columns of ours; identifiers are quoted."""
    body = ", ".join(f"{quote_identifier(column.name)} {column.type}" for column in columns)
    return f"CREATE TABLE {schema}.{quote_identifier(name)} ({body})"


def comment_sql(schema: str, name: str, columns: Sequence[Column], *, doc: str = "") -> list[str]:
    """COMMENT ON the table (where it has a doc) and each of its columns, unit in brackets."""
    table = f"{schema}.{quote_identifier(name)}"
    first = [f"COMMENT ON TABLE {table} IS {quote_text(doc)}"] if doc else []
    return first + [
        f"COMMENT ON COLUMN {table}.{quote_identifier(column.name)}"
        f" IS {quote_text(comment(column))}"
        for column in columns
    ]


def comment(column: Column) -> str:
    """Meaning and unit in one line.

    >>> comment(Column("n_rows", "BIGINT", "rows read", "rows"))
    'rows read [rows]'
    """
    return f"{column.doc} [{column.unit}]" if column.unit else column.doc


def _state(session: Session) -> tuple[int, str] | None:
    if "migrations" not in column_types(session, "core"):
        return None
    session.execute(
        "SELECT version, declaration_sha256 FROM core.migrations"
        " ORDER BY recorded_at DESC, version DESC LIMIT 1"
    )
    rows = session.fetchall()
    return (rows[0][0], rows[0][1]) if rows else None


def _make_tables(session: Session, tables: Sequence[TableSpec]) -> None:
    there = column_types(session, "core")
    for table in tables:
        if table.name not in there:
            session.execute(create_table_sql("core", table.name, table.columns))
            continue
        wanted = {column.name: _spelled(column.type) for column in table.columns}
        wrong = sorted({name for name, _ in there[table.name].items() ^ wanted.items()})
        if wrong:
            raise StoreError(
                f"core.{table.name} differs from its declaration: {', '.join(wrong)}.",
                where="catalog/tables",
                remedy="a migration file must make this change: catalog/tables/migrations",
            )


def _comment_tables(session: Session, tables: Sequence[TableSpec]) -> None:
    for table in tables:
        for statement in comment_sql("core", table.name, table.columns, doc=table.doc):
            session.execute(statement)


def _make_view(session: Session, view: ViewSpec, declaration: Declaration) -> None:
    sql = view.sql
    if view.name == CATALOGUE:
        sql = sql.replace("{rows}", _documentation(session, declaration))
    session.execute(f"CREATE OR REPLACE VIEW mart.{quote_identifier(view.name)} AS {sql}")
    session.execute(f"COMMENT ON VIEW mart.{quote_identifier(view.name)} IS {quote_text(view.doc)}")


def _documentation(session: Session, declaration: Declaration) -> str:
    """Rows of mart.columns as literals: (schema, table, column, type, unit, meaning)."""
    types = column_types(session, "mart")
    rows = [
        ("core", table.name, column.name, _spelled(column.type), column.unit, column.doc)
        for table in declaration.tables
        for column in table.columns
    ]
    rows += [
        ("mart", view.name, column.name, kind, column.unit, column.doc)
        for view in declaration.views
        for column in view.columns
        for kind in [types.get(view.name, {}).get(column.name, "VARCHAR")]
    ]
    return ", ".join("(" + ", ".join(map(quote_text, row)) + ")" for row in rows)


def _spelled(kind: str) -> str:
    return "TIMESTAMP WITH TIME ZONE" if kind == "TIMESTAMPTZ" else kind
