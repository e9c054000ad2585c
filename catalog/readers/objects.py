"""Objects of JSON as rows of a contract: flat columns by name, nested ones by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from catalog.readers.batches import CELL_BYTES, Columns, PendingRows
from catalog.readers.cells import NESTED, TypedBatch
from catalog.readers.naming import contract_names
from catalog.readers.nested import Shape


class ObjectRows:
    """Objects on their way into batches; one object may make several rows, or none."""

    def __init__(
        self, columns: Columns, pending: PendingRows, *, batch_rows: int, is_open: bool = False
    ) -> None:
        self._columns, self._pending, self._batch_rows = columns, pending, batch_rows
        self._shape = Shape(columns)
        self._is_renamed = any(r.in_file is not None or r.from_ for r in columns.values())
        self._is_open = is_open  # fields that no column names are no other columns

    def add(
        self, row: Mapping[str, Any] | None, reason: str, *, number: int, n_bytes: int
    ) -> Iterator[TypedBatch]:
        """Take an object, or what is wrong with it; the batches that it fills."""
        if row is None:
            self._pending.add_bad(reason, number=number)
            yield from self._full()
            return
        flat = self._flat(row)
        if not self._shape.paths:
            self._pending.add(flat, n_bytes=n_bytes, number=number)
            yield from self._full()
            return
        seen: dict[str, None] = {}
        for cells in self._shape.rows(row, seen):
            self._pending.see(seen)
            made = {**flat, **cells}
            self._pending.add(made, n_bytes=text_bytes(made), number=number)
            yield from self._full()
        self._pending.see(seen)

    def _flat(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The cells at the top of an object by their columns; what it has is noted."""
        flat = flatten_object(row)
        if self._is_renamed or self._shape.paths:
            names = contract_names([*flat], self._columns)
            pairs = zip(names, flat.items(), strict=True)
            flat = {
                column: cell
                for column, (name, cell) in pairs
                if column in self._columns or name not in self._shape.tops
            }
        self._pending.see([name for name in flat if name in self._columns or not self._is_open])
        return flat

    def _full(self) -> Iterator[TypedBatch]:
        if self._pending.is_full(self._batch_rows):
            yield self._pending.take()


def flatten_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """The object with a mark in place of each list and object that it holds."""
    return {k: NESTED if isinstance(v, list | dict) else v for k, v in row.items()}


def text_bytes(row: Mapping[str, Any]) -> int:
    """How much memory the texts of a row take: one that is repeated takes it again."""
    return sum(len(cell) for cell in row.values() if isinstance(cell, str | bytes)) + CELL_BYTES
