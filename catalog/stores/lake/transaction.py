"""One write transaction on the lake: what may be done between BEGIN and COMMIT."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.contracts.contract import SourceContract
from catalog.errors import RecordConflict
from catalog.stores.lake.blame import name_damaged_files
from catalog.stores.lake.errors import lake_errors
from catalog.stores.lake.portions import is_large, portions
from catalog.stores.lake.rows import compared_columns, fetch_rows, incoming_table
from catalog.stores.lake.session import ALIAS
from catalog.tables.migrate import column_types, comment_sql, create_table_sql
from catalog.tables.quoting import quote_identifier
from catalog.tables.schema import QUARANTINE_COLUMNS, RAW_COLUMNS, TABLES
from catalog.tables.spec import Column, TableSpec
from rpe_core.errors import InputError, UnknownName, shown_name

_QUALIFIED = re.compile(r"(raw|quarantine|core)\.([a-z][a-z0-9_]*)")
_INCOMING = "_incoming"
_CONTRACT_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}
_BY_NAME = {table.name: table for table in TABLES}


class Transaction:
    """Writes that become true together at the end of `Lake.transaction`, or not at all."""

    def __init__(
        self, cursor: Any, *, recorded_at: datetime, run_id: str = "", data_uri: str = ""
    ) -> None:
        self._cursor = cursor
        self.recorded_at, self.run_id, self.data_uri = recorded_at, run_id, data_uri

    @property
    def next_snapshot_id(self) -> int:
        """Snapshot that the commit will make; certain, because the writer lock is held."""
        snapshots = self.rows(f"SELECT id FROM {ALIAS}.current_snapshot() AS t(id)")
        return int(snapshots[0]["id"]) + 1

    def insert_new(self, table: TableSpec | str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add the rows whose key is new and return how many; equal rows already there are fine.

        Columns that a row leaves out are null; `recorded_at` is the transaction's time. Only the
        key counts as identity, so a superseded or retracted row still holds its key.

        Raises:
            RecordConflict: a key is there with other content (run id, times and costs aside).
            InputError: an unknown column, a null key, a NaN, or a value of the wrong type.
        """
        spec = table if isinstance(table, TableSpec) else _spec(table)
        incoming = incoming_table(spec, rows, recorded_at=self.recorded_at)
        if not len(incoming):
            return 0
        name, keys = f"core.{spec.name}", ", ".join(quote_identifier(key) for key in spec.key)
        columns = ", ".join(quote_identifier(column) for column in spec.column_names)
        with name_damaged_files(self._cursor, self.data_uri, doing=f"write to {name}", sql=name):
            self._cursor.register(_INCOMING, incoming)
            try:
                if self._count_there(spec, keys) == len(incoming):
                    return 0
                self._cursor.execute(
                    f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {_INCOMING}"
                    f" ANTI JOIN {name} USING ({keys})"
                )
                return int(self._cursor.fetchone()[0])
            finally:
                self._cursor.unregister(_INCOMING)

    def evaluate(
        self, table: TableSpec, rows: Sequence[Mapping[str, Any]], expression: str
    ) -> list[Any]:
        """Values of an SQL expression over rows as they would be stored; none is."""
        incoming = incoming_table(table, rows, recorded_at=self.recorded_at)
        with lake_errors(f"read rows of core.{table.name}"):
            self._cursor.register(_INCOMING, incoming)
            try:
                self._cursor.execute(f"SELECT {expression} FROM {_INCOMING}")
                return [value for (value,) in self._cursor.fetchall()]
            finally:
                self._cursor.unregister(_INCOMING)

    def insert_arrow(
        self, qualified_name: str, data: pa.Table | pa.RecordBatchReader | Path
    ) -> int:
        """Append a table, a stream of batches or a Parquet file by column name; no key is checked.

        Columns that the data leave out are null, `recorded_at` then is the transaction's time.
        Memory is bounded for a stream and a file.

        Raises:
            InputError: no such table, or the data have a column that it has not.
            StoreError: a value does not fit its column.
        """
        there = self._columns(qualified_name)
        names = pq.read_schema(data).names if isinstance(data, Path) else data.schema.names
        unknown = [name for name in names if name not in there]
        if unknown:
            raise InputError(
                f"{qualified_name} has no column {', '.join(map(shown_name, unknown))}.",
                expected=", ".join(there),
            )
        is_stamped = "recorded_at" in there and "recorded_at" not in names
        stamp = ", ?::TIMESTAMPTZ AS recorded_at" if is_stamped else ""
        parameters: list[Any] = [self.recorded_at] if is_stamped else []
        insert = f"INSERT INTO {qualified_name} BY NAME SELECT *{stamp} FROM"
        with lake_errors(f"write to {qualified_name}"):
            if isinstance(data, Path) and not is_large(data):
                self._cursor.execute(f"{insert} read_parquet(?)", [*parameters, str(data)])
                return int(self._cursor.fetchone()[0])
            n_rows = 0
            for portion in portions(data) if isinstance(data, Path) else [data]:
                self._cursor.register(_INCOMING, portion)
                try:
                    self._cursor.execute(f"{insert} {_INCOMING}", parameters)
                    n_rows += int(self._cursor.fetchone()[0])
                finally:
                    self._cursor.unregister(_INCOMING)
            return n_rows

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement; returns the rows that an UPDATE, DELETE or INSERT changed, else 0."""
        with name_damaged_files(self._cursor, self.data_uri, doing="write to the lake", sql=sql):
            self._cursor.execute(sql, list(parameters))
            row = self._cursor.fetchone() if self._cursor.description else None
        return row[0] if row and isinstance(row[0], int) else 0

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows as this transaction sees them, its own writes included."""
        with name_damaged_files(self._cursor, self.data_uri, doing="read the lake", sql=sql):
            return fetch_rows(self._cursor, sql, parameters)

    def ensure_source_tables(self, contract: SourceContract) -> None:
        """Make raw.<source> and quarantine.<source>, and the columns that a newer contract added.

        Raises:
            InputError: a column of the contract has the name of a system column.
            RecordConflict: a column is there with another type.
        """
        declared = _contract_columns(contract)
        with lake_errors(f"make the tables of source {contract.source}"):
            self._ensure("raw", contract.source, (*RAW_COLUMNS, *declared), contract.title)
            self._ensure(
                "quarantine",
                contract.source,
                QUARANTINE_COLUMNS,
                f"Rows of {contract.source} that were set aside",
            )

    def _ensure(self, schema: str, name: str, columns: Sequence[Column], doc: str) -> None:
        there = column_types(self._cursor, schema).get(name)
        if there is None:
            self._cursor.execute(create_table_sql(schema, name, columns))
            added = list(columns)
        else:
            added, doc = [c for c in columns if c.name not in there], ""
            for column in added:
                self._cursor.execute(
                    f"ALTER TABLE {schema}.{quote_identifier(name)}"
                    f" ADD COLUMN {quote_identifier(column.name)} {column.type}"
                )
            _require_same_types(f"{schema}.{name}", there, columns)
        for statement in comment_sql(schema, name, added, doc=doc):
            self._cursor.execute(statement)

    def _columns(self, qualified_name: str) -> tuple[str, ...]:
        match = _QUALIFIED.fullmatch(qualified_name)
        with lake_errors("read the lake"):
            there = column_types(self._cursor, match[1]) if match else {}
        if not match or match[2] not in there:
            raise UnknownName("table", qualified_name, there)
        return tuple(there[match[2]])

    def _count_there(self, spec: TableSpec, keys: str) -> int:
        """How many incoming keys are there; raises RecordConflict where their content differs."""
        compared = compared_columns(spec)
        differs = [
            f"t.{quote_identifier(c)} IS DISTINCT FROM i.{quote_identifier(c)}" for c in compared
        ] or ["false"]
        self._cursor.execute(
            f"SELECT count(*), count(*) FILTER ({' OR '.join(differs)}),"
            f" min(i.{quote_identifier(spec.key[0])}) FILTER ({' OR '.join(differs)}),"
            f" {', '.join(f'coalesce(bool_or({d}), false)' for d in differs)}"
            f" FROM {_INCOMING} AS i JOIN core.{spec.name} AS t USING ({keys})"
        )
        n_there, n_conflicts, example, *flags = self._cursor.fetchone()
        if n_conflicts:
            changed = [c for c, is_changed in zip(compared, flags, strict=False) if is_changed]
            others = f" and {n_conflicts - 1} more" if n_conflicts > 1 else ""
            raise RecordConflict(
                f"A record of core.{spec.name} is there with other content.",
                where=f"{spec.key[0]} {shown_name(str(example))}{others}",
                expected=f"the same content in {', '.join(changed)}",
                remedy="what made the record has changed, so its id must change as well",
            )
        return int(n_there)


def _spec(name: str) -> TableSpec:
    if name not in _BY_NAME:
        raise UnknownName("table", name, _BY_NAME)
    return _BY_NAME[name]


def _contract_columns(contract: SourceContract) -> tuple[Column, ...]:
    reserved = {column.name for column in RAW_COLUMNS}
    columns = []
    for name, rule in contract.columns.items():
        if name.lower() in reserved:
            raise InputError(
                f"Column {shown_name(name)} has the name of a system column.",
                where=f"contract of {contract.source}, columns.{name}",
                expected=f"none of {', '.join(sorted(reserved))}",
            )
        marks = [mark for mark in ("key", "group", "slice") if getattr(rule, mark)]
        doc = " ".join([f"column of the contract: {rule.type}", *marks])
        columns.append(Column(name, _CONTRACT_TYPES[rule.type], doc))
    return tuple(columns)


def _require_same_types(table: str, there: Mapping[str, str], columns: Sequence[Column]) -> None:
    spelled = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    wrong = [
        column.name
        for column in columns
        if column.name in there and there[column.name] != spelled.get(column.type, column.type)
    ]
    if wrong:
        raise RecordConflict(
            f"{table} holds other types than the contract declares: {', '.join(wrong)}.",
            remedy="give the changed data a new source name, or restore the type in the contract",
        )
