"""Tables in Parquet, CSV and JSONL as typed batches, in bounded memory; a bad row costs itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from catalog.contracts.csv_files import PLAIN, CsvFormat
from catalog.readers.arrow_cells import decoded_bytes, fits, plain_cells, told_type
from catalog.readers.batches import Columns, PendingRows
from catalog.readers.cells import NESTED, TypedBatch, from_value
from catalog.readers.csv_headers import csv_file, csv_header, refuse_one_cell
from catalog.readers.dialect import marks_of, text_converter
from catalog.readers.files import FileUnreadable, text_file
from catalog.readers.naming import check_distinct, contract_names
from catalog.readers.parquet import parquet_file
from catalog.readers.rows import csv_rows, json_lines
from rpe_core.errors import shown_name

MAX_LINE_BYTES = 64 << 20
MAX_LINE_VALUES = 2_000_000  # of a line of JSON: an empty list of two bytes takes sixty when read
MAX_NAMES_SHOWN = 20


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
        key = next((rule.in_file or name for name, rule in columns.items() if rule.key), "")
        limit = 4 * max_cell_chars
        rows = csv_rows(stream, uri=uri, max_cell_bytes=limit, key=key, marks=marks_of(csv))
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
        is_renamed = any(rule.in_file is not None for rule in columns.values())
        for line in json_lines(stream, max_line_bytes=MAX_LINE_BYTES):
            row, reason = json_row(line)
            if pending.first_row_number + pending.n_rows == 1:
                refuse_array(line, uri)
            if row is None:
                pending.add_bad(reason)
            else:
                if is_renamed:
                    row = dict(zip(contract_names([*row], columns), row.values(), strict=True))
                pending.see(row)
                pending.add(row, n_bytes=len(line or b""))
            if pending.is_full(batch_rows):
                yield pending.take()
        if not pending.n_rows and pending.first_row_number == 1:
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
    if line is None or sum(map(line.count, (b"[", b"{", b","))) > MAX_LINE_VALUES:
        return None, "too_long"
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_distinct_keys)
    except UnicodeDecodeError:
        return None, "invalid_utf8"
    except (ValueError, RecursionError):
        return None, "invalid_json"
    if not isinstance(row, dict):
        return None, "invalid_json"
    return {k: NESTED if isinstance(v, list | dict) else v for k, v in row.items()}, ""


def read_parquet(
    uri: str, columns: Columns, *, batch_rows: int, max_cell_chars: int
) -> Iterator[TypedBatch]:
    """Batches of a Parquet file; a column stored as another type than the contract's is refused.

    Raises:
        FileUnreadable: if it is empty, cut off, no Parquet at all, or has columns of other types.
    """
    with parquet_file(uri) as file:
        schema = file.schema
        check_distinct(schema.names, uri)
        names = dict(zip(contract_names(schema.names, columns), schema.names, strict=True))
        _check_types(schema, names, columns, uri)
        present = [name for name in columns if name in names]
        wanted = [names[name] for name in present]
        pending = PendingRows(columns, from_value, max_cell_chars)
        for batch in file.batches(wanted, batch_rows=batch_rows):
            n_bytes = sum(int(decoded_bytes(column).sum()) for column in batch.columns)
            if pending.n_rows and not pending.has_room(batch.num_rows, n_bytes, batch_rows):
                yield pending.take()
            pending.see(names)
            cells = {name: plain_cells(batch.column(names[name])) for name in present}
            pending.add_columns(cells, n_rows=batch.num_rows, n_bytes=n_bytes)
        if pending.n_rows:
            yield pending.take()


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key is written twice")
    return row


def _check_types(schema: pa.Schema, names: Mapping[str, str], columns: Columns, uri: str) -> None:
    wrong = []
    for name, rule in columns.items():
        kind = schema.field(names[name]).type if name in names else pa.null()
        if not fits(kind, rule.type):
            wrong.append(f"{shown_name(name)} holds {told_type(kind)} and not {rule.type}")
    if wrong:
        raise FileUnreadable(
            uri,
            "; ".join(wrong[:MAX_NAMES_SHOWN]),
            remedy="correct the type in the contract, or the export",
        )
