"""Between Python rows and the columns of the lake: types, time zones, finite numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from numbers import Integral
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalog.errors import RecordConflict
from catalog.tables.spec import HISTORY, Column, TableSpec
from rpe_core.errors import InputError, shown_name

_ARROW = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
}
# A redo of the same thing has another run, other times and other costs
_OF_THE_RUN = {"run_id", *(column.name for column in HISTORY)}
_COSTS = {"seconds", "bytes", "UTC"}


def fetch_rows(cursor: Any, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of a statement as dictionaries in the order of the result."""
    cursor.execute(sql, list(parameters))
    names = [entry[0] for entry in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def compared_columns(spec: TableSpec) -> tuple[str, ...]:
    """Columns in which a record must equal one that is already there under its key.

    >>> from catalog.tables.model_tables import PROMOTIONS
    >>> from catalog.tables.run_tables import LINEAGE
    >>> compared_columns(LINEAGE)
    ()
    >>> "run_id" in compared_columns(PROMOTIONS)
    False
    """
    return tuple(
        column.name
        for column in spec.columns
        if column.name not in (*spec.key, *_OF_THE_RUN) and column.unit not in _COSTS
    )


def incoming_table(
    spec: TableSpec, rows: Sequence[Mapping[str, Any]], *, recorded_at: datetime
) -> pa.Table:
    """Rows as an Arrow table with the columns of the spec, each key once.

    Raises:
        InputError: an unknown column, a null key, a NaN or infinity, a naive time, a wrong type.
        RecordConflict: two rows have the same key and different content.
    """
    where = f"core.{spec.name}"
    for row in rows:
        unknown = sorted(set(row) - set(spec.column_names))
        if unknown:
            raise InputError(
                f"{where} has no column {', '.join(map(shown_name, unknown))}.",
                expected=", ".join(spec.column_names),
            )
    kept = _each_key_once(spec, rows, where)
    arrays = [
        _array(column, [_value(column, row, recorded_at) for row in kept], where)
        for column in spec.columns
    ]
    return pa.Table.from_arrays(arrays, names=list(spec.column_names))


def _each_key_once(
    spec: TableSpec, rows: Sequence[Mapping[str, Any]], where: str
) -> list[Mapping[str, Any]]:
    compared = compared_columns(spec)
    kept: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        key = tuple(row.get(name) for name in spec.key)
        if None in key:
            raise InputError(f"Row {number} has no key.", where=where, expected=", ".join(spec.key))
        if key not in kept:
            kept[key] = row
            continue
        first = kept[key]
        changed = [name for name in compared if first.get(name) != row.get(name)]
        if changed:
            raise RecordConflict(
                f"Row {number} has the key of an earlier row and other content.",
                where=where,
                expected=f"the same content in {', '.join(changed)}",
            )
    return list(kept.values())


def _value(column: Column, row: Mapping[str, Any], recorded_at: datetime) -> Any:
    value = row.get(column.name)
    return recorded_at if value is None and column.name == "recorded_at" else value


def _array(column: Column, values: list[Any], where: str) -> pa.Array:
    for number, value in enumerate(values, start=1):
        if isinstance(value, datetime) and value.tzinfo is None:
            raise InputError(
                f"Column {column.name} has a time without a zone in row {number}.",
                where=where,
                expected="UTC",
            )
    try:
        # Arrow would cut a float to an integer without a word
        if column.type == "BIGINT" and not all(
            v is None or isinstance(v, Integral) for v in values
        ):
            raise TypeError
        array = pa.array(values, type=_ARROW[column.type])
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise InputError(
            f"Column {column.name} has a value of another type.", where=where, expected=column.type
        ) from None
    if pa.types.is_floating(array.type):
        _require_finite(column, array, where)
    return array


def _require_finite(column: Column, array: pa.Array, where: str) -> None:
    wrong = pc.fill_null(pc.invert(pc.is_finite(array)), fill_value=False)
    if pc.any(wrong).as_py():
        raise InputError(
            f"Column {column.name} is not finite in row {pc.index(wrong, True).as_py() + 1}.",
            where=where,
            remedy="NaN and infinity never reach the lake: mend what computed it",
        )
