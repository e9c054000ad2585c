"""Cells of Arrow columns as plain values; one that Python cannot hold is marked, never raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.contracts.contract import ColumnType
from catalog.readers.arrow_types import plain_array, plain_type
from catalog.readers.batches import CELL_BYTES
from catalog.readers.cells import Refused

OUTSIDE_CALENDAR = Refused("outside_calendar")
_EPOCH = date(1970, 1, 1)
_DAYS = ((date.min - _EPOCH).days, (date.max - _EPOCH).days)
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_DAY_SECONDS = 86_400


def plain_cells(column: pa.Array) -> list[Any]:
    """The cells of a column as plain values; text as bytes, for Parquet never checks it.

    A date or time outside the years 1 to 9999 is a `Refused` cell. Moments are in UTC, whatever
    zone their column names, and whole microseconds: what is finer is cut off.
    """
    column = plain_array(column)
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _dictionary_cells(column)
    if _is_uuid(kind):
        return [None if cell is None else str(UUID(bytes=cell)) for cell in _stored(column)]
    if is_text(kind):
        cells: list[Any] = _storage(column).cast(pa.large_binary()).to_pylist()
        return cells
    if pa.types.is_timestamp(kind):
        return _moments(column)
    if pa.types.is_date(kind):
        return _dates(column)
    return list(column.to_pylist())


def decoded_bytes(column: pa.Array) -> np.ndarray[Any, Any]:
    """How much memory each cell takes as a plain value, whatever its file stores; shape (n,)."""
    sizes = np.full(len(column), CELL_BYTES, np.int64)
    if pa.types.is_dictionary(column.type):
        if is_text(column.type.value_type):
            lengths = pc.binary_length(_storage(column.dictionary))
            sizes += _filled(pc.take(lengths, column.indices))
    elif is_text(column.type) and not _is_uuid(column.type):
        sizes += _filled(pc.binary_length(_storage(column)))
    return sizes


def fits(kind: pa.DataType, column_type: ColumnType) -> bool:
    """Whether a column that is stored so may hold what a contract calls `column_type`."""
    kind = plain_type(kind.value_type if pa.types.is_dictionary(kind) else kind)
    return bool(pa.types.is_null(kind) or _FITS[column_type](kind))


def is_declarable(kind: pa.DataType) -> bool:
    """Whether a contract has a type for a column that is stored so."""
    return any(fits(kind, column_type) for column_type in _FITS)


def type_text(kind: pa.DataType) -> str:
    """The stored type in words; nothing that a file spells freely is in them.

    >>> type_text(pa.timestamp("us", tz="Mars/Base")), type_text(pa.list_(pa.int8()))
    ('timestamp[us]', 'nested')
    """
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_nested(kind):
        return "nested"
    return f"timestamp[{kind.unit}]" if pa.types.is_timestamp(kind) else str(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether cells of this type are text, or bytes that may be text."""
    types = pa.types
    kind = kind.storage_type if getattr(kind, "extension_name", "") == "arrow.json" else kind
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_string_view(kind)
        or types.is_binary_view(kind)
        or _is_uuid(kind)
    )


def in_calendar(ticks: np.ndarray[Any, Any], *, per_second: int) -> np.ndarray[Any, Any]:
    """Which counts since 1970, of so many in a second, lie in the years 1 to 9999."""
    first, end = (days * _DAY_SECONDS * per_second for days in (_DAYS[0], _DAYS[1] + 1))
    inside: np.ndarray[Any, Any] = (ticks >= max(first, -(2**63))) & (ticks <= min(end, 2**63) - 1)
    return inside


def _is_uuid(kind: pa.DataType) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"


def _is_numeric(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


_FITS: Mapping[ColumnType, Callable[[pa.DataType], bool]] = {
    "string": lambda kind: is_text(kind) or bool(pa.types.is_decimal(kind)),
    "integer": _is_numeric,
    "number": _is_numeric,
    "boolean": lambda kind: bool(pa.types.is_boolean(kind)),
    "date": lambda kind: bool(pa.types.is_date(kind)) or is_text(kind),
    "timestamp": lambda kind: bool(pa.types.is_timestamp(kind)) or is_text(kind),
}


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _stored(column: pa.Array) -> list[Any]:
    return list(_storage(column).to_pylist())


def _filled(lengths: pa.Array) -> np.ndarray[Any, Any]:
    filled: np.ndarray[Any, Any] = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    return filled


def _dictionary_cells(column: pa.DictionaryArray) -> list[Any]:
    """Cells that are equal are one object, however often a text of megabytes is repeated."""
    if len(column.dictionary) > len(column):
        return plain_cells(column.dictionary_decode())
    values = plain_cells(column.dictionary)
    return [None if i is None else values[i] for i in column.indices.to_pylist()]


def _moments(column: pa.Array) -> list[Any]:
    per_second = _TICKS[column.type.unit]
    ticks = _filled(column.cast(pa.int64()))
    is_inside = in_calendar(ticks, per_second=per_second)
    inside = np.where(is_inside, ticks, 0)
    # rounded down on either side of 1970, as a clock that counts microseconds would show it
    micro = inside * (10**6 // per_second) if per_second <= 10**6 else inside // 1000
    return _marked(column, is_inside, pa.array(micro).cast(_zoned(column.type)).to_pylist())


def _zoned(kind: pa.DataType) -> pa.DataType:
    """The zone is left out: a moment is stored in UTC, and its name may be of no known place."""
    return pa.timestamp("us", tz="UTC" if kind.tz is not None else None)


def _dates(column: pa.Array) -> list[Any]:
    if pa.types.is_date32(column.type):
        days = _filled(column.cast(pa.int32())).astype(np.int64)
    else:
        days = _filled(column.cast(pa.int64())) // (_DAY_SECONDS * 1000)
    is_inside = (days >= _DAYS[0]) & (days <= _DAYS[1])
    inside = pa.array(np.where(is_inside, days, 0).astype(np.int32))
    return _marked(column, is_inside, inside.cast(pa.date32()).to_pylist())


def _marked(column: pa.Array, is_inside: np.ndarray[Any, Any], cells: list[Any]) -> list[Any]:
    for row in np.flatnonzero(~is_inside):
        cells[row] = OUTSIDE_CALENDAR
    if column.null_count:
        for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
            cells[row] = None
    return cells
