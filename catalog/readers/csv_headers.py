"""The first line of a CSV file held against a contract; what is wrong is told in true words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from catalog.contracts.csv_files import PLAIN, USUAL, CsvFormat, codec_of, mark_text
from catalog.readers.batches import Columns
from catalog.readers.files import FileUnreadable, text_file
from catalog.readers.naming import check_distinct, contract_names
from catalog.readers.rows import MAX_COLUMNS


@contextmanager
def csv_file(uri: str, encoding: str) -> Iterator[Any]:
    """The bytes of a CSV file as UTF-8.

    Raises:
        FileUnreadable: if it is empty, damaged, cut off, or visibly in another encoding.
    """
    remedy = "say in `files: {csv: {encoding: ...}}` which one it has, such as utf-16-le or cp1252"
    with text_file(uri, encoding=codec_of(encoding) or "utf-8", remedy=remedy) as stream:
        yield stream


def csv_header(
    row: Any, uri: str, columns: Columns | None = None, csv: CsvFormat = PLAIN
) -> list[str]:
    """The cells of a first line as text; where a contract is given, its names for the columns.

    Names of another table are counted, not shown.

    Raises:
        FileUnreadable: if the line is no header.
    """
    between = mark_text(csv.delimiter)
    remedy = f"its first line must hold the column names, separated by {between}"
    if row is None or not row.is_sound:
        raise FileUnreadable(uri, "it has no header line", remedy=remedy)
    if len(row.cells) > MAX_COLUMNS:
        remedy = "leave out the columns that the contract does not name"
        raise FileUnreadable(uri, f"it has more than {MAX_COLUMNS:,} columns", remedy=remedy)
    try:
        names = [cell.decode("utf-8") for cell in row.cells]
    except (UnicodeDecodeError, AttributeError):
        reason = f"its header line is not {csv.encoding.upper()} text"
        remedy = (
            "say its encoding, such as `files: {csv: {encoding: cp1252}}`, or export it as UTF-8"
        )
        raise FileUnreadable(uri, reason, remedy=remedy) from None
    if columns is None:
        return names
    check_distinct([name for name in names if name], uri)
    called = contract_names(names, columns)
    if not set(called) & set(columns):
        # Without a header the first line is a patient's row: none of it may be shown
        reason = f"its first line has {len(names)} names and none is a column of the contract"
        other_mark = _told_by_another_mark(row.cells, columns, csv)
        raise FileUnreadable(
            uri, reason, remedy=other_mark or f"{remedy}; see `files.csv` where it is not"
        )
    return called


def refuse_one_cell(row: Any, uri: str, columns: Columns, csv: CsvFormat) -> None:
    """Refuse a first row of one cell where the contract names several columns.

    Raises:
        FileUnreadable: if it is one.
    """
    if len(row.cells) == 1 < len(columns):
        reason = (
            f"its first row has one cell where it is cut at {mark_text(csv.delimiter)}, and the"
            f" contract has {len(columns)} columns"
        )
        remedy = "say in `files: {csv: {delimiter: ...}}` what stands between its cells"
        raise FileUnreadable(uri, reason, remedy=remedy)


def _told_by_another_mark(cells: list[Any], columns: Columns, csv: CsvFormat) -> str:
    """What to do where another mark between cells finds columns of the contract."""
    line = csv.delimiter.encode().join(cells)
    for mark in USUAL:
        names = [part.strip(b'"').decode("utf-8", "replace") for part in line.split(mark.encode())]
        if mark != csv.delimiter and set(contract_names(names, columns)) & set(columns):
            return (
                f"columns of the contract are there where it is cut at {mark_text(mark)}: correct"
                " `files: {csv: {delimiter: ...}}`"
            )
    return ""
