"""Tables in CSV and JSONL as typed batches, in bounded memory; a bad row costs itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from catalog.contracts.csv_files import PLAIN, CsvFormat
from catalog.contracts.paths import flat_name
from catalog.readers.batches import Columns, PendingRows
from catalog.readers.cells import TypedBatch, from_value
from catalog.readers.csv_headers import csv_file, csv_header, refuse_one_cell
from catalog.readers.dialect import marks_of, text_converter
from catalog.readers.files import FileUnreadable, text_file
from catalog.readers.naming import contract_names
from catalog.readers.objects import ObjectRows, flatten_object
from catalog.readers.rows import csv_rows, json_lines

MAX_LINE_BYTES = 64 << 20
MAX_LINE_VALUES = 2_000_000  # of a line of JSON: an empty list of two bytes takes sixty when read


def read_csv(
    uri: str,
    columns: Columns,
    *,
    batch_rows: int,
    max_cell_chars: int,
    has_header: bool = True,
    csv: CsvFormat | None = None,
) -> Iterator[TypedBatch]:
    """Batches of a CSV file; an empty cell is null, a ragged row is a bad row.

    Without a header the first line is a row, and columns are told by their places.

    Raises:
        FileUnreadable: if it is empty, damaged, or its first line is no header of these columns.
    """
    csv = csv or PLAIN
    with csv_file(uri, csv.encoding) as stream:
        key = next((flat_name(name, rule) for name, rule in columns.items() if rule.key), None)
        limit = 4 * max_cell_chars
        rows = csv_rows(stream, uri=uri, max_cell_bytes=limit, key=key or "", marks=marks_of(csv))
        first = next(rows, None)
        if has_header or first is None:
            header = csv_header(first, uri, columns, csv)
        else:
            refuse_one_cell(first, uri, columns, csv)
            header = contract_names([""] * len(first.cells), columns)
            rows = chain([first], rows)
        pending = PendingRows(columns, text_converter(csv), max_cell_chars)
        pending.see(header)
        for row in rows:
            is_sound = row.is_sound and len(row.cells) == len(header)
            for _ in range(1 if is_sound else row.n_rows):
                if is_sound:
                    pending.add(dict(zip(header, row.cells, strict=True)))
                else:
                    pending.add_bad("ragged_row")
                if pending.is_full(batch_rows):
                    yield pending.take()
                    pending.see(header)
        if pending.n_rows:
            yield pending.take()


def read_jsonl(
    uri: str, columns: Columns, *, batch_rows: int, max_cell_chars: int
) -> Iterator[TypedBatch]:
    """Batches of a file with one JSON object a line; an absent key is null.

    Raises:
        FileUnreadable: if it holds no line, is damaged, or is one JSON array.
    """
    with text_file(uri) as stream:
        pending = PendingRows(columns, from_value, max_cell_chars)
        objects = ObjectRows(columns, pending, batch_rows=batch_rows)
        number = 0
        for number, line in enumerate(json_lines(stream, max_line_bytes=MAX_LINE_BYTES), start=1):
            if number == 1:
                refuse_array(line, uri)
            row, reason = json_object(line)
            yield from objects.add(row, reason, number=number, n_bytes=len(line or b""))
        if not number:
            raise FileUnreadable(
                uri, "it holds no line", remedy="deliver a file with rows, or none"
            )
        if pending.n_rows:
            yield pending.take()


def refuse_array(first_line: bytes | None, uri: str) -> None:
    """Refuse a file that is one JSON array, as its first line shows.

    Raises:
        FileUnreadable: if it is one.
    """
    if (first_line or b"").startswith(b"["):
        remedy = "write one object a line, without the brackets and commas around them"
        raise FileUnreadable(uri, "it is a JSON array", remedy=remedy)


def json_row(line: bytes | None) -> tuple[dict[str, Any] | None, str]:
    """The object of a line, or None and a reason code; lists and objects in it are not kept.

    >>> json_row(b'{"a": 1, "a": 2}')
    (None, 'invalid_json')
    """
    row, reason = json_object(line)
    return (None if row is None else flatten_object(row)), reason


def json_object(line: bytes | None) -> tuple[dict[str, Any] | None, str]:
    """The object of a line with all that it holds, or None and a reason code."""
    if line is None or sum(map(line.count, (b"[", b"{", b","))) > MAX_LINE_VALUES:
        return None, "too_long"
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_distinct_keys)
    except UnicodeDecodeError:
        return None, "invalid_utf8"
    except (ValueError, RecursionError):
        return None, "invalid_json"
    return (row, "") if isinstance(row, dict) else (None, "invalid_json")


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key is written twice")
    return row
