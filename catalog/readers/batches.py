"""Rows gathered into typed batches: the one place where cells meet their contract's types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalog.contracts.contract import ColumnRule
from catalog.readers.cells import ARROW_TYPES, BadCell, Convert, TypedBatch, cast_column, converter

Columns = Mapping[str, ColumnRule]
BATCH_BYTES = 32 << 20  # a batch ends here even if it has few rows
CELL_BYTES = 64  # what a plain value costs beside the text in it


class PendingRows:
    """Rows that wait for their batch."""

    def __init__(self, columns: Columns, convert: Convert, max_cell_chars: int) -> None:
        self.columns = columns
        self.convert, self.max_cell_chars = convert, max_cell_chars
        self.first_row_number = 1
        self._clear()

    def see(self, names: Sequence[str] | Mapping[str, Any]) -> None:
        """Note the columns that the file has."""
        self.seen.update(dict.fromkeys(names))

    def add(
        self,
        row: Mapping[str, Any],
        *,
        n_bytes: int = 0,
        bad: Iterable[tuple[str, str]] = (),
        number: int | None = None,
    ) -> None:
        """Add a row by its columns; `n_bytes` is its size where cells are no bytes.

        `bad` is (column, reason) of cells that are refused for more than their type. `number` is
        its place in the file where that is not the next one.
        """
        if number is not None:
            self.numbers.append(number)
        self.bad += [BadCell(self.n_rows, column, reason) for column, reason in bad]
        for name, cells in self.cells.items():
            cell = row.get(name)
            cells.append(cell)
            self.n_bytes += len(cell) if isinstance(cell, bytes) else 0
        self.n_rows += 1
        self.n_bytes += n_bytes + CELL_BYTES * len(self.cells)

    def add_bad(self, reason: str, *, number: int | None = None) -> None:
        """Add a row that could not be read at all."""
        self.add({}, bad=[("", reason)], number=number)

    def add_columns(self, cells: Mapping[str, list[Any]], *, n_rows: int, n_bytes: int) -> None:
        """Add many rows at once; a column that they lack is null."""
        for name, column in self.cells.items():
            column += cells.get(name, [None] * n_rows)
        self.n_rows += n_rows
        self.n_bytes += n_bytes

    def has_room(self, n_rows: int, n_bytes: int, batch_rows: int) -> bool:
        """Whether so many more rows may join this batch."""
        return self.n_rows + n_rows <= batch_rows and self.n_bytes + n_bytes <= BATCH_BYTES

    def is_full(self, batch_rows: int) -> bool:
        """Whether the batch has all its rows, or bytes enough."""
        return self.n_rows >= batch_rows or self.n_bytes >= BATCH_BYTES

    def take(self) -> TypedBatch:
        """The batch of all rows so far; the next row begins the next batch."""
        arrays, bad = [], self.bad
        for name, rule in self.columns.items():
            array, refused = cast_column(
                self.cells[name],
                rule.type,
                convert=converter(rule, self.convert),
                max_cell_chars=self.max_cell_chars,
            )
            arrays.append(array)
            bad = [*bad, *(BadCell(row, name, reason) for row, reason in refused)]
        batch = TypedBatch(
            table=pa.RecordBatch.from_arrays(arrays, schema=typed_schema(self.columns)),
            first_row_number=self.first_row_number,
            bad_cells=sorted(bad),
            unknown_columns=tuple(name for name in self.seen if name not in self.columns),
            missing_columns=tuple(name for name in self.columns if name not in self.seen),
            row_numbers=tuple(self.numbers) if self.numbers else None,
        )
        self.first_row_number += self.n_rows
        self._clear()
        return batch

    def _clear(self) -> None:
        self.cells: dict[str, list[Any]] = {name: [] for name in self.columns}
        self.bad: list[BadCell] = []
        self.seen: dict[str, None] = {}
        self.numbers: list[int] = []
        self.n_rows = self.n_bytes = 0


def typed_schema(columns: Columns) -> pa.Schema:
    """The Arrow schema of a contract's columns, in their order."""
    return pa.schema([(name, ARROW_TYPES[rule.type]) for name, rule in columns.items()])
