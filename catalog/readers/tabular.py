"""Tables in CSV and JSONL as typed batches, in bounded memory; a bad row costs itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from catalog.contracts.paths import flat_name
from catalog.readers.batches import Columns, PendingRows
from catalog.readers.cells import TypedBatch, from_text, from_value
from catalog.readers.files import FileUnreadable, text_file
from catalog.readers.naming import contract_names
from catalog.readers.objects import ObjectRows, flattened
from catalog.readers.rows import MAX_COLUMNS, csv_rows, json_lines

MAX_LINE_BYTES = 64 << 20
MAX_LINE_VALUES = 2_000_000  # of a line of JSON: an empty list of two bytes takes sixty when read


def read_csv(
    uri: str,
    columns: Columns,
    *,
    batch_rows: int,
    max_cell_chars: int,
    has_header: bool = True,
) -> Iterator[TypedBatch]:
    """Batches of a CSV file; an empty cell is null, a ragged row is a bad row.

    Without a header the first line is a row, and columns are told by their places.

    Raises:
        FileUnreadable: if it is empty, damaged, or its first line is no header of these columns.
    """
    with text_file(uri) as stream:
        key = next((flat_name(name, rule) for name, rule in columns.items() if rule.key), None)
        rows = csv_rows(stream, uri=uri, max_cell_bytes=4 * max_cell_chars, key=key or "")
        first = next(rows, None)
        if has_header or first is None:
            header = csv_header(first, uri, columns)
        else:
            header = contract_names([""] * len(first.cells), columns)
            rows = chain([first], rows)
        pending = PendingRows(columns, from_text, max_cell_chars)
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


def csv_header(row: Any, uri: str, columns: Columns | None = None) -> list[str]:
    """The cells of a first line as text; where a contract is given, its names for the columns.

    Names of another table are counted, not shown.

    Raises:
        FileUnreadable: if the line is no header.
    """
    remedy = "its first line must hold the column names, separated by commas"
    if row is None or not row.is_sound:
        raise FileUnreadable(uri, "it has no header line", remedy=remedy)
    if len(row.cells) > MAX_COLUMNS:
        remedy = "leave out the columns that the contract does not name"
        raise FileUnreadable(uri, f"it has more than {MAX_COLUMNS:,} columns", remedy=remedy)
    try:
        names = [cell.decode("utf-8") for cell in row.cells]
    except (UnicodeDecodeError, AttributeError):
        raise FileUnreadable(uri, "its header line is not UTF-8 text", remedy=remedy) from None
    if columns is None:
        return names
    check_distinct([name for name in names if name], uri)
    called = contract_names(names, columns)
    if not set(called) & set(columns):
        # Without a header the first line is a patient's row: none of it may be shown
        reason = f"its first line has {len(names)} names and none is a column of the contract"
        raise FileUnreadable(uri, reason, remedy=remedy)
    return called


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
    return (None if row is None else flattened(row)), reason


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


def check_distinct(names: Sequence[str], uri: str) -> None:
    """Refuse a file in which two columns have one name.

    Raises:
        FileUnreadable: if a name is there twice.
    """
    doubles = sum(count - 1 for count in Counter(names).values())
    if doubles:
        reason = f"{doubles} of its {len(names)} column names repeat another"
        raise FileUnreadable(uri, reason, remedy="export it with distinct column names")
