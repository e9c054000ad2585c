"""The first rows of a file with the names of its columns, for a draft; no row is judged here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from catalog.contracts.contract import ColumnType
from catalog.readers.arrow_cells import decoded_bytes, fits, is_declarable, plain_cells
from catalog.readers.batches import BATCH_BYTES
from catalog.readers.cells import NESTED, Convert, cast_column, from_text, from_value
from catalog.readers.csv_headers import csv_header
from catalog.readers.files import FileUnreadable, text_file
from catalog.readers.headers import is_header, is_number_like, looks_like_value
from catalog.readers.naming import DraftName, check_distinct, draft_names
from catalog.readers.parquet import parquet_file
from catalog.readers.rows import csv_rows, json_lines, row_bytes, sampled
from catalog.readers.tabular import (
    MAX_LINE_BYTES,
    json_row,
    refuse_array,
)

MAX_SAMPLE_CHARS = 100_000  # of a cell; the rest of it is not looked at
MAX_KEYS = 200  # of JSON; where there are more, only those of many lines are columns
_OTHER_MARKS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True)
class Sample:
    """Columns with their first cells, in the order of the file."""

    names: list[DraftName]
    cells: list[list[Any]] = field(repr=False)
    convert: Convert = from_value
    stored: Sequence[ColumnType] = ()  # of each column, where the file says so
    has_sure_header: bool = True
    n_hidden: int = 0  # keys of JSON that look like values, which have no place to be called by


def read_sample(uri: str, file_format: str, *, rows: int) -> Sample:
    """The first rows of a file.

    Raises:
        FileUnreadable: if the file cannot be read, or its first line is a row of data.
    """
    read: Mapping[str, Callable[[str, int], Sample]] = {
        "csv": _csv_sample,
        "jsonl": _jsonl_sample,
        "parquet": _parquet_sample,
    }
    return read[file_format](uri, rows)


def _csv_sample(uri: str, rows: int) -> Sample:
    with text_file(uri) as stream:
        found = csv_rows(stream, uri=uri, max_cell_bytes=4 * MAX_SAMPLE_CHARS)
        names = csv_header(next(found, None), uri)
        read = [row.cells if row.is_sound else [] for row in sampled(found, rows, row_bytes)]
    _check_width(names, read, uri)
    sound = [cells for cells in read if len(cells) == len(names)]
    columns: list[list[Any]] = [[row[i] or None for row in sound] for i in range(len(names))]
    is_sure = _is_sure(names, columns)
    if is_sure:
        check_distinct([name for name in names if name], uri)
    if not is_sure and any(map(is_number_like, names)):
        # A first line with numbers or dates is a row of data: none of it may be shown
        remedy = (
            "its first line must hold the column names, separated by commas; of a file that has"
            " none, write the contract by hand with files.header: false and in_file"
        )
        raise FileUnreadable(uri, "its first line does not look like a header", remedy=remedy)
    return Sample(
        draft_names(names, is_header=is_sure), columns, from_text, has_sure_header=is_sure
    )


def _check_width(names: Sequence[str], rows: Sequence[Sequence[Any]], uri: str) -> None:
    """Refuse a table that is not cut by commas, or that begins below its first line."""
    other = [told for mark, told in _OTHER_MARKS.items() if mark in names[0]]
    if len(names) == 1 and other:
        reason = f"its first line has no comma, and its cells seem to be separated by {other[0]}"
        raise FileUnreadable(uri, reason, remedy="export it with commas between the cells")
    n_other = sum(len(cells) != len(names) for cells in rows)
    if 2 * n_other > len(rows):
        reason = (
            f"its first line has {len(names)} cells, and {n_other} of the {len(rows)} lines below"
            " have more or fewer"
        )
        remedy = "remove what stands above the column names, and give each line as many cells"
        raise FileUnreadable(uri, reason, remedy=remedy)


def _is_sure(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> bool:
    n_rows = len(columns[0])
    texts = [[_text(cell) for cell in column] for column in columns]
    repeats = {row for row in range(n_rows) if [column[row] for column in texts] == [*names]}
    below = [
        [text for row, text in enumerate(column) if text and row not in repeats] for column in texts
    ]
    return is_header(names, below, [_is_typed(column) for column in below])


def _is_typed(texts: Sequence[str]) -> bool:
    cells = [text.encode() for text in texts]
    kinds: tuple[ColumnType, ...] = ("number", "boolean", "date", "timestamp")
    return bool(cells) and any(
        not cast_column(cells, kind, convert=from_text, max_cell_chars=MAX_SAMPLE_CHARS)[1]
        for kind in kinds
    )


def _text(cell: Any) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else ""


def _jsonl_sample(uri: str, rows: int) -> Sample:
    with text_file(uri) as stream:
        found = json_lines(stream, max_line_bytes=MAX_LINE_BYTES)
        lines = [*sampled(found, rows, lambda line: len(line or b""))]
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
    cells = [[_cut(row.get(name)) for row in sound] for name in names]
    n_hidden = len(counts) - len(names)
    return Sample(draft_names(names, is_header=True), cells, n_hidden=n_hidden)


def _parquet_sample(uri: str, rows: int) -> Sample:
    with parquet_file(uri) as file:
        names = file.schema.names
        check_distinct(names, uri)
        # Lists and objects are not even read: a few bytes may hold millions of them
        read = [field.name for field in file.schema if is_declarable(field.type)]
        cells: list[list[Any]] = [[] for _ in names]
        n_rows = n_bytes = 0
        for batch in file.batches(read, batch_rows=rows):
            room = rows - n_rows
            for kept, name in zip(cells, names, strict=True):
                found = plain_cells(batch.column(name)) if name in read else [NESTED] * len(batch)
                kept += map(_cut, found[:room])
            n_rows += batch.num_rows
            n_bytes += sum(int(decoded_bytes(column).sum()) for column in batch.columns)
            if n_rows >= rows or n_bytes >= BATCH_BYTES:
                break
        stored = [_stored_type(field.type) for field in file.schema]
    return Sample(draft_names(names, is_header=True), cells, stored=stored)


def _stored_type(kind: pa.DataType) -> ColumnType:
    """The type of a column that holds no cell to tell it by."""
    if pa.types.is_null(kind):
        return "string"
    of_text: tuple[ColumnType, ...] = ("string", "boolean", "date", "timestamp")
    of_numbers: tuple[ColumnType, ...] = ("number", "integer")
    types = of_numbers[::-1] if pa.types.is_integer(kind) else of_numbers
    return next((wanted for wanted in (*types, *of_text) if fits(kind, wanted)), "string")


def _cut(cell: Any) -> Any:
    """A cell without what follows its first characters; nested values are not kept at all."""
    if isinstance(cell, bytes) and len(cell) > 4 * MAX_SAMPLE_CHARS:
        end = 4 * MAX_SAMPLE_CHARS
        while end and cell[end] & 0xC0 == 0x80:  # inside a character of UTF-8
            end -= 1
        return cell[:end]
    if isinstance(cell, list | dict):
        return NESTED
    return cell[:MAX_SAMPLE_CHARS] if isinstance(cell, str) else cell
