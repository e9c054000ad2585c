"""A draft of a workbook: which sheet, where its header stands, and its first rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from catalog.contracts.files import Excel
from catalog.readers.batches import BATCH_BYTES, CELL_BYTES
from catalog.readers.cells import cast_column
from catalog.readers.csv_sample import MAX_SAMPLE_CHARS
from catalog.readers.files import FileUnreadable
from catalog.readers.headers import is_header, looks_like_value
from catalog.readers.naming import draft_names
from catalog.readers.rows import first_rows
from catalog.readers.sample import ColumnSample, cut_cell
from catalog.readers.workbooks import MERGED, Sheet, SheetRow, Workbook, open_workbook
from catalog.readers.xlsx import from_sheet, header_text, unmerge_rows

MAX_HEADER_ROWS = 20  # that are looked at for a header
MIN_WIDTH_SHARE = 0.6  # of the widest row that a header reaches


@dataclass(frozen=True)
class XlsxSample:
    """The sample of a sheet, with the keys of `files` that lead to it."""

    excel: Excel
    n_sheets: int  # visible ones that hold cells
    sample: ColumnSample


def sample_xlsx(uri: str, *, rows: int) -> XlsxSample:
    """The first rows of the first visible sheet that holds a table.

    Raises:
        FileUnreadable: if it is no workbook, or holds no cell.
    """
    with open_workbook(uri) as book:
        held = [s for s in book.sheets if s.is_visible and next(book.rows(s), None) is not None]
        if not held:
            remedy = "deliver a workbook with rows"
            raise FileUnreadable(uri, "none of its visible sheets holds a cell", remedy=remedy)
        sheet = max(held, key=lambda s: _width(book, s))
        first = [*islice(book.rows(sheet), MAX_HEADER_ROWS + 1)]
        header = _header(first)
        areas = book.merged(sheet)
        named = sheet.number if looks_like_value(sheet.name) else sheet.name
        below = [area for area in areas if area.bottom > (header.number if header else 0)]
        inside = [area for area in below if area.top > (header.number if header else 0)]
        merged = None
        if inside:
            merged = "repeat" if any(area.bottom > area.top for area in inside) else "empty"
        excel = Excel(sheet=named, header_row=header.number if header else 1, merged=merged)
        unmerged = unmerge_rows(book.rows(sheet), areas, excel)
        after = header.number if header else 0
        data = (row for row in unmerged if row.number > after)
        names = next(
            (r for r in unmerge_rows(iter(first), areas, excel) if r.number == after), None
        )
        read = [*first_rows(data, rows, _row_bytes)]
    return XlsxSample(excel, len(held), _sample(names, read))


def _width(book: Workbook, sheet: Sheet) -> int:
    """How many cells a row of the sheet has, where it has most of its first ones."""
    return max(len(row.cells) for row in islice(book.rows(sheet), MAX_HEADER_ROWS))


def _header(rows: Sequence[SheetRow]) -> SheetRow | None:
    """The first row that is surely a header, or None."""
    width = max(len(row.cells) for row in rows)
    for at, row in enumerate(rows[:-1] or rows):
        if len(row.cells) < MIN_WIDTH_SHARE * width:
            continue
        if not all(isinstance(cell, str) for cell in row.cells.values()):
            continue
        places = sorted(row.cells)
        names = [header_text(row.cells[column]) for column in places]
        below = [[later.cells.get(column) for later in rows[at + 1 :]] for column in places]
        texts = [[str(cell) for cell in column if cell is not None] for column in below]
        if is_header(names, texts, [_is_typed(column) for column in below]):
            return row
    return None


def _is_typed(cells: Sequence[Any]) -> bool:
    held = [cell for cell in cells if cell is not None]
    return bool(held) and any(
        not cast_column(held, kind, convert=from_sheet, max_cell_chars=MAX_SAMPLE_CHARS)[1]
        for kind in ("number", "boolean", "date", "timestamp")
    )


def _sample(header: SheetRow | None, rows: Sequence[SheetRow]) -> ColumnSample:
    held = {column for row in rows for column, cell in row.cells.items() if cell is not MERGED}
    named = {p: t for p, c in (header.cells if header else {}).items() if (t := header_text(c))}
    width = max([*held, *named], default=0)
    every = draft_names([named.get(p, "") for p in range(1, width + 1)], is_header=bool(header))
    places = [column for column in range(1, width + 1) if column in held or column in named]
    cells = [[cut_cell(row.cells.get(column)) for row in rows] for column in places]
    names = [every[column - 1] for column in places]
    return ColumnSample(names, cells, from_sheet, has_sure_header=header is not None)


def _row_bytes(row: SheetRow) -> int:
    texts = (cell for cell in row.cells.values() if isinstance(cell, str))
    return min(BATCH_BYTES, sum(map(len, texts)) + CELL_BYTES * len(row.cells))
