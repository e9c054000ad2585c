"""Answers of SQL as rows and as CSV: every column by its own name, every value exact."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv

_AS_THEY_ARE = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)


def with_unique_names(table: pa.Table) -> pa.Table:
    """The table with another name for each column whose name an earlier one has."""
    names: list[str] = []
    for name in table.column_names:
        tried, n = name, 0
        while tried in names:
            n += 1
            tried = f"{name}_{n}"
        names.append(tried)
    return table.rename_columns(names)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as dictionaries; what is whole by its type is an integer, however long."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for field in table.schema:
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            for row in rows:
                row[field.name] = None if row[field.name] is None else int(row[field.name])
    return rows


def write_csv(table: pa.Table) -> None:
    """CSV on stdout as RFC 4180 has it: a null is empty, an empty text is quoted."""
    columns = [_written(column) for column in table.columns]
    buffer = pa.BufferOutputStream()
    pcsv.write_csv(pa.table(columns, names=table.column_names), buffer)
    sys.stdout.write(buffer.getvalue().to_pybytes().decode("utf-8"))


def _written(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of a type whose values CSV can hold: numbers, or text."""
    if any(is_it(column.type) for is_it in _AS_THEY_ARE):
        return column
    return pa.chunked_array([pa.array(map(_text, column.to_pylist()), pa.string())])


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | dict):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return str(_plain(value))


def _plain(value: Any) -> Any:
    for kind, text_of in _TOLD.items():
        if isinstance(value, kind):
            return text_of(value)
    return str(value)


def _duration(value: Any) -> str:
    seconds = value.nanoseconds / 1e9
    return f"P{value.months}M{value.days}DT{seconds:g}S"


_TOLD: dict[type, Callable[[Any], Any]] = {
    datetime: lambda value: value.isoformat(),  # of Pandas to the nanosecond
    date: date.isoformat,
    time: time.isoformat,
    Decimal: lambda value: format(value, "f"),
    bytes: bytes.hex,
    pa.MonthDayNano: _duration,
}
