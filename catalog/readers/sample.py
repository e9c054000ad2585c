"""The first rows of a file with the names of its columns, for a draft; no row is judged here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from catalog.contracts.contract import ColumnType
from catalog.readers.arrow_cells import decoded_bytes, fits, is_declarable, plain_cells
from catalog.readers.batches import BATCH_BYTES
from catalog.readers.cells import NESTED, Convert, from_text, from_value
from catalog.readers.csv_sample import MAX_SAMPLE_CHARS, CsvSample, sample_csv
from catalog.readers.files import FileUnreadable, text_file
from catalog.readers.headers import looks_like_value
from catalog.readers.naming import DraftName, check_distinct, draft_names
from catalog.readers.parquet import parquet_file
from catalog.readers.rows import first_rows, json_lines
from catalog.readers.tabular import (
    MAX_LINE_BYTES,
    json_row,
    refuse_array,
)

MAX_KEYS = 200  # of JSON; where there are more, only those of many lines are columns


@dataclass(frozen=True)
class ColumnSample:
    """Columns with their first cells, in the order of the file."""

    names: list[DraftName]
    cells: list[list[Any]] = field(repr=False)
    convert: Convert = from_value
    stored: Sequence[ColumnType] = ()  # of each column, where the file says so
    has_sure_header: bool = True
    csv: CsvSample | None = None  # how a CSV file is written
    files: Mapping[str, Any] = field(default_factory=dict)  # further keys of `files`
    n_sheets: int = 1  # of a workbook that could be meant
    n_hidden: int = 0  # keys of JSON that look like values, which have no place to be called by


def csv_columns(uri: str, rows: int) -> ColumnSample:
    """The columns of a file in CSV.

    Raises:
        FileUnreadable: if the file cannot be read, or its first line is a row of data.
    """
    drawn = sample_csv(uri, rows=rows)
    return ColumnSample(
        draft_names(drawn.names, is_header=drawn.header == "sure"),
        [column.cells for column in drawn.columns],
        from_text,
        has_sure_header=drawn.header == "sure",
        csv=drawn,
    )


def jsonl_columns(uri: str, rows: int) -> ColumnSample:
    """The columns of a file in JSON lines.

    Raises:
        FileUnreadable: if the file cannot be read.
    """
    with text_file(uri) as stream:
        read_lines = json_lines(stream, max_line_bytes=MAX_LINE_BYTES)
        lines = [*first_rows(read_lines, rows, lambda line: len(line or b""))]
        refuse_array(lines[0] if lines else None, uri)
        sound = [row for row, _ in map(json_row, lines) if row is not None]
    if not sound:
        remedy = "write one JSON object a line"
        raise FileUnreadable(uri, "none of its first lines is a JSON object", remedy=remedy)
    counts = Counter(name for row in sound for name in row)
    least = len(sound) / 100 if len(counts) > MAX_KEYS else 0
    names = [n for n, count in counts.items() if count > least and not looks_like_value(n)]
    if not names:
        raise FileUnreadable(
            uri,
            f"its {len(counts)} keys look like values and not like names of columns",
            remedy="write one object a row, with the same keys in each",
        )
    cells = [[cut_cell(row.get(name)) for row in sound] for name in names]
    n_hidden = len(counts) - len(names)
    return ColumnSample(draft_names(names, is_header=True), cells, n_hidden=n_hidden)


def parquet_columns(uri: str, rows: int) -> ColumnSample:
    """The columns of a file in Parquet.

    Raises:
        FileUnreadable: if the file cannot be read.
    """
    with parquet_file(uri) as file:
        names = file.schema.names
        check_distinct(names, uri)
        # Lists and objects are not even read: a few bytes may hold millions of them
        read = [field.name for field in file.schema if is_declarable(field.type)]
        cells: list[list[Any]] = [[] for _ in names]
        n_rows = n_bytes = 0
        for batch in file.batches([(name,) for name in read], batch_rows=rows):
            room = rows - n_rows
            for kept, name in zip(cells, names, strict=True):
                values = plain_cells(batch.column(name)) if name in read else [NESTED] * len(batch)
                kept += map(cut_cell, values[:room])
            n_rows += batch.num_rows
            n_bytes += sum(int(decoded_bytes(column).sum()) for column in batch.columns)
            if n_rows >= rows or n_bytes >= BATCH_BYTES:
                break
        stored = [_stored_type(field.type) for field in file.schema]
    return ColumnSample(draft_names(names, is_header=True), cells, stored=stored)


def _stored_type(kind: pa.DataType) -> ColumnType:
    """The type of a column that holds no cell to tell it by."""
    if pa.types.is_null(kind):
        return "string"
    of_text: tuple[ColumnType, ...] = ("string", "boolean", "date", "timestamp")
    of_numbers: tuple[ColumnType, ...] = ("number", "integer")
    types = of_numbers[::-1] if pa.types.is_integer(kind) else of_numbers
    return next((wanted for wanted in (*types, *of_text) if fits(kind, wanted)), "string")


def cut_cell(cell: Any) -> Any:
    """The cell without what follows its first characters; nested values are not kept at all."""
    if isinstance(cell, bytes) and len(cell) > 4 * MAX_SAMPLE_CHARS:
        end = 4 * MAX_SAMPLE_CHARS
        while end and cell[end] & 0xC0 == 0x80:  # inside a character of UTF-8
            end -= 1
        return cell[:end]
    if isinstance(cell, list | dict):
        return NESTED
    return cell[:MAX_SAMPLE_CHARS] if isinstance(cell, str) else cell
