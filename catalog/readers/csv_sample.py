"""The first rows of a CSV file of a stranger: how it is cut, what it is called, what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from catalog.contracts.contract import ColumnRule, ColumnType
from catalog.contracts.csv_files import CsvFormat, mark_text
from catalog.contracts.rules import TO_FILL
from catalog.readers.cells import cast_column, converter, from_text
from catalog.readers.csv_headers import csv_file, csv_header
from catalog.readers.dialect import marks_of, text_converter
from catalog.readers.files import FileUnreadable
from catalog.readers.guess import TARGET_NAME
from catalog.readers.headers import is_header
from catalog.readers.naming import check_distinct
from catalog.readers.rows import csv_rows, first_rows, row_bytes
from catalog.readers.sniffed_dates import sniff_dates
from catalog.readers.sniffed_encoding import sniff_encoding
from catalog.readers.sniffed_values import DATABASE_NULL, ToldColumn, sniff_values
from catalog.readers.sniffing import SAMPLE_BYTES, sniff_marks

MAX_SAMPLE_CHARS = 100_000  # of a cell; the rest of it is not looked at
_TYPED: Sequence[ColumnType] = ("number", "boolean", "date", "timestamp")
_YEARS = range(1800, 2200)  # that columns are called by, too
Header = Literal["sure", "unsure", "none"]


@dataclass(frozen=True)
class CsvSample:
    """A CSV file as a draft sees it; `names` are the cells of its first line."""

    csv: CsvFormat
    names: list[str] = field(repr=False)
    columns: list[ToldColumn] = field(repr=False)
    header: Header  # "none" where the first line is surely a row
    is_encoding_sure: bool = True


def sample_csv(uri: str, *, rows: int) -> CsvSample:
    """The first rows of a file, cut as its bytes tell.

    Raises:
        FileUnreadable: if the file cannot be read, or is no table.
    """
    encoding = sniff_encoding(uri)
    with csv_file(uri, encoding.name) as stream:
        head = stream.read(SAMPLE_BYTES + 1)
    csv = sniff_marks(_whole_lines(head), is_whole=len(head) <= SAMPLE_BYTES)
    csv = csv.model_copy(update={"encoding": encoding.name})
    with csv_file(uri, encoding.name) as stream:
        limit = 4 * MAX_SAMPLE_CHARS
        cut = csv.model_copy(update={"nulls": (DATABASE_NULL,)})
        lines = csv_rows(stream, uri=uri, max_cell_bytes=limit, marks=marks_of(cut))
        names = csv_header(next(lines, None), uri, csv=csv)
        read = [row.cells if row.is_sound else [] for row in first_rows(lines, rows, row_bytes)]
    _check_width(names, read, csv, uri)
    sound = [cells for cells in read if len(cells) == len(names)]
    columns: list[list[Any]] = [[row[i] or None for row in sound] for i in range(len(names))]
    is_label = [TARGET_NAME.search(name.lower()) is not None for name in names]
    words, as_read = sniff_values(csv, columns, is_label)
    if _is_sure(names, as_read):
        check_distinct([name for name in names if name], uri)
        return CsvSample(words, names, as_read, "sure", encoding.is_sure)
    if not _is_surely_row(names, as_read, words):
        return CsvSample(words, names, as_read, "unsure", encoding.is_sure)
    columns = [
        [name.encode() or None, *column] for name, column in zip(names, columns, strict=True)
    ]
    words, as_read = sniff_values(csv, columns, [False] * len(names))
    return CsvSample(words, names, as_read, "none", encoding.is_sure)


def _whole_lines(head: bytes) -> bytes:
    """A sample without the line that its end cuts off, if it has another."""
    if len(head) <= SAMPLE_BYTES:
        return head
    end = max(head.rfind(b"\n"), head.rfind(b"\r"))
    return head[: end + 1] if end > 0 else head


def _check_width(
    names: Sequence[str], rows: Sequence[Sequence[Any]], csv: CsvFormat, uri: str
) -> None:
    """Refuse what no mark cuts into rows of one width."""
    n_other = sum(len(cells) != len(names) for cells in rows)
    if 2 * n_other > len(rows):
        reason = (
            f"where it is cut at {mark_text(csv.delimiter)}, its first line has {len(names)} cells,"
            f" and {n_other} of the {len(rows)} lines below have more or fewer"
        )
        remedy = (
            "remove what stands above the column names, and give each line as many cells; or write"
            " the contract by hand, with `files.csv` for the marks between cells and around them"
        )
        raise FileUnreadable(uri, reason, remedy=remedy)


def _is_sure(names: Sequence[str], columns: Sequence[ToldColumn]) -> bool:
    """Whether a first line holds names, by its words and by what is below it."""
    n_rows = len(columns[0].cells)
    texts = [[_text(cell) for cell in column.cells] for column in columns]
    repeats = {row for row in range(n_rows) if [column[row] for column in texts] == [*names]}
    below = [
        [text for row, text in enumerate(column) if text and row not in repeats] for column in texts
    ]
    return is_header(names, below, [_is_typed(column) for column in below])


def _is_surely_row(names: Sequence[str], columns: Sequence[ToldColumn], csv: CsvFormat) -> bool:
    """Whether a first line has numbers or dates where all rows below it have some."""
    n_fitting = 0
    for name, column in zip(names, columns, strict=True):
        kind = _kind([cell for cell in column.cells if cell is not None])
        if kind is None or column.is_text or not name.strip():
            continue
        if column.format == TO_FILL:
            n_fitting += (is_date := bool(sniff_dates([name.strip()]).formats))
            if not is_date:
                return False
            continue
        rule = ColumnRule(type=kind, format=column.format or None)
        convert = converter(rule, text_converter(csv))
        values, bad = cast_column(
            [name.encode()], kind, convert=convert, max_cell_chars=MAX_SAMPLE_CHARS
        )
        if bad:
            return False
        is_year = name.strip().isdigit() and int(name) in _YEARS
        n_fitting += values[0].is_valid and not is_year
    return n_fitting > 0


def _is_typed(texts: Sequence[str]) -> bool:
    return _kind([text.encode() for text in texts]) is not None


def _kind(cells: Sequence[Any]) -> ColumnType | None:
    """The first type but text that all cells of a column are."""
    return next((kind for kind in _TYPED if cells and _is_of(cells, kind)), None)


def _is_of(cells: Sequence[Any], kind: ColumnType) -> bool:
    return not cast_column(cells, kind, convert=from_text, max_cell_chars=MAX_SAMPLE_CHARS)[1]


def _text(cell: Any) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else ""
