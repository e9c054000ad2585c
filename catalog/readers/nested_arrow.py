"""Nested columns of Arrow as plain lists and mappings, of which every cell is one of ours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.readers.arrow_cells import decoded_bytes, plain_cells
from catalog.readers.batches import CELL_BYTES
from catalog.readers.cells import NESTED
from catalog.readers.leaves import is_list


def nested_cells(column: pa.Array) -> list[Any]:
    """The cells of a column: structs and maps as mappings, lists as lists, others as plain values.

    >>> nested_cells(pa.array([{"a": [1, None]}, None, {"a": []}]))
    [{'a': [1, None]}, None, {'a': []}]
    """
    column = _plain(column)
    kind = column.type
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        fields = [nested_cells(field) for field in column.flatten()]
        rows = zip(*fields, strict=True) if fields else iter([()] * len(column))
        valid = column.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if is_there else None
            for row, is_there in zip(rows, valid, strict=True)
        ]
    if pa.types.is_map(kind):
        entries = _entries(column)
        keys = [_key(key) for key in nested_cells(entries.field(0))]
        items = nested_cells(entries.field(1))
        return [_mapping(pairs) for pairs in _cut([*zip(keys, items, strict=True)], column)]
    if is_list(kind):
        return _cut(nested_cells(column.flatten()), column)
    if pa.types.is_nested(kind):
        return [None if cell is None else NESTED for cell in column.to_pylist()]
    return plain_cells(column)


def nested_bytes(column: pa.Array) -> np.ndarray[Any, Any]:
    """How much memory each cell takes as plain values, all that it holds counted; shape (n,)."""
    column = _plain(column)
    kind = column.type
    sizes = np.full(len(column), CELL_BYTES, np.int64)
    if pa.types.is_struct(kind):
        for field in column.flatten():
            sizes += nested_bytes(field)
        return sizes
    if pa.types.is_map(kind):
        entries = _entries(column)
        inner = nested_bytes(entries.field(0)) + nested_bytes(entries.field(1))
    elif is_list(kind):
        inner = nested_bytes(column.flatten())
    else:
        return decoded_bytes(column)
    ends = np.concatenate([[0], np.cumsum(inner)])
    stops = np.cumsum(_lengths(column))
    sizes += ends[stops] - ends[np.concatenate([[0], stops[:-1]])]
    return sizes


def _plain(column: pa.Array) -> pa.Array:
    """Without the name of an extension around what is nested."""
    is_named = isinstance(column, pa.ExtensionArray) and pa.types.is_nested(column.storage.type)
    return column.storage if is_named else column


def _entries(column: pa.MapArray) -> pa.StructArray:
    """The pairs of all maps of a column, one after another."""
    parts = column.cast(
        pa.list_(pa.struct([("k", column.type.key_type), ("v", column.type.item_type)]))
    )
    return parts.flatten()


def _lengths(column: pa.Array) -> np.ndarray[Any, Any]:
    if pa.types.is_map(column.type):
        ends = np.asarray(column.offsets.to_numpy(zero_copy_only=False), np.int64)
        lengths = np.diff(ends)
        return np.where(column.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    n_elements: np.ndarray[Any, Any] = pc.fill_null(pc.list_value_length(column), 0).to_numpy(
        zero_copy_only=False
    )
    return n_elements.astype(np.int64)


def _cut(values: Sequence[Any], column: pa.Array) -> list[Any]:
    """The values of all lists of a column, each list with its own; None of one that is null."""
    ends = accumulate(_lengths(column).tolist(), initial=0)
    valid = column.is_valid().to_pylist()
    return [
        list(values[start:end]) if is_there else None
        for (start, end), is_there in zip(pairwise(ends), valid, strict=True)
    ]


def _key(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    return str(key).lower() if isinstance(key, bool) else str(key)


def _mapping(pairs: Sequence[tuple[str, Any]] | None) -> Any:
    if pairs is None:
        return None
    mapping = dict(pairs)
    return mapping if len(mapping) == len(pairs) else NESTED
