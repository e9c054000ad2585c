"""One sheet of an Excel workbook as typed batches; row numbers are those that the sheet shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from catalog.contracts.contract import ColumnType
from catalog.contracts.files import Excel
from catalog.readers.batches import CELL_BYTES, Columns, PendingRows
from catalog.readers.cells import (
    MAX_EXACT_FLOAT,
    CellRefusedError,
    Refused,
    TypedBatch,
    from_text,
    from_value,
)
from catalog.readers.files import FileUnreadable
from catalog.readers.headers import may_be_shown
from catalog.readers.naming import check_distinct, contract_names
from catalog.readers.workbooks import MERGED, Merged, Sheet, SheetRow, Workbook, open_workbook

MAX_NAMES_SHOWN = 20
MAX_COLUMNS = 16_384


def read_xlsx(
    uri: str,
    columns: Columns,
    *,
    batch_rows: int,
    max_cell_chars: int,
    excel: Excel | None = None,
    has_header: bool = True,
) -> Iterator[TypedBatch]:
    """Batches of one sheet of a workbook; rows without a cell are left out.

    Raises:
        FileUnreadable: if it is no workbook, has no such sheet, or no header of these columns.
    """
    options = excel or Excel()
    with open_workbook(uri) as book:
        sheet = chosen_sheet(book, options.sheet, uri)
        rows = unmerge_rows(book.rows(sheet), book.merged(sheet), options)
        names = _names(rows, columns, options, uri) if has_header else {}
        table = _Table(names, columns)
        pending = PendingRows(columns, from_sheet, max_cell_chars)
        first = options.first_row or (options.header_row + 1 if has_header else 1)
        for row in rows:
            if options.last_row is not None and row.number > options.last_row:
                break
            if row.number < first or all(cell is MERGED for cell in row.cells.values()):
                continue
            cells = table.named(row)
            pending.see(table.always)
            pending.see([name for name, cell in cells.items() if cell is not MERGED])
            pending.add(cells, n_bytes=_text_bytes(cells), number=row.number)
            if pending.is_full(batch_rows):
                yield pending.take()
        if pending.n_rows:
            yield pending.take()


def from_sheet(cell: Any, column_type: ColumnType) -> Any:
    """A cell of Excel: text as in CSV, numbers, dates and truth values as they are typed.

    A whole number is its digits where text is asked for; any other number is no text, since what
    the sheet shows of it is a matter of its format.

    >>> from_sheet(41, "string"), from_sheet("41", "integer")
    ('41', 41)
    >>> from_sheet(datetime(2026, 1, 15), "date")
    datetime.date(2026, 1, 15)
    """
    if isinstance(cell, str):
        return from_text(cell.encode("utf-8", "replace"), column_type)
    if isinstance(cell, datetime) and column_type == "date" and cell.time() == time():
        return cell.date()
    if isinstance(cell, date) and not isinstance(cell, datetime) and column_type == "timestamp":
        return from_value(datetime.combine(cell, time()), column_type)
    if isinstance(cell, time):
        cell = _told_time(cell)
    if isinstance(cell, timedelta):
        cell = cell.total_seconds()
    is_number = isinstance(cell, int | float) and not isinstance(cell, bool)
    if is_number and column_type == "string":
        if cell != int(cell) or abs(cell) > MAX_EXACT_FLOAT:
            raise CellRefusedError("wrong_type")
        return str(int(cell))
    return from_value(cell, column_type)


def chosen_sheet(book: Workbook, wanted: str | int | None, uri: str) -> Sheet:
    """The sheet that a contract names, or the only visible one that holds cells.

    Raises:
        FileUnreadable: if there is none, or more than one and none is named.
    """
    if wanted is not None:
        matching = [s for s in book.sheets if wanted in (s.number, s.name)]
        if matching:
            return matching[0]
        reason = "it has no sheet of the name or place that files.excel.sheet says"
        raise FileUnreadable(uri, reason, remedy=f"name one of its sheets: {_shown(book.sheets)}")
    held = [s for s in book.sheets if s.is_visible]
    if len(held) > 1:
        held = [s for s in held if next(book.rows(s), None) is not None]
    if not held:
        remedy = "name one with `excel: {sheet: ...}`, or deliver a workbook with rows"
        raise FileUnreadable(uri, "none of its visible sheets holds a cell", remedy=remedy)
    if len(held) > 1:
        remedy = f"say which with `excel: {{sheet: ...}}` in files: {_shown(held)}"
        raise FileUnreadable(uri, f"{len(held)} of its sheets hold cells", remedy=remedy)
    return held[0]


def unmerge_rows(
    rows: Iterator[SheetRow], areas: Sequence[Merged], options: Excel
) -> Iterator[SheetRow]:
    """The rows with what merged areas hold: nothing, their first cell again, or a mark.

    A name of the header that is merged downwards reaches down to the header's row in any case.
    """
    waiting = sorted(areas)[::-1]
    open_areas: list[tuple[Merged, Any]] = []
    for row in rows:
        while waiting and waiting[-1].top <= row.number:
            area = waiting.pop()
            first = row.cells.get(area.left) if area.top == row.number else None
            open_areas.append((area, first))
        open_areas = [held for held in open_areas if held[0].bottom >= row.number]
        yield SheetRow(row.number, {**_covered(row, open_areas, options), **row.cells})


def _covered(row: SheetRow, areas: Sequence[tuple[Merged, Any]], options: Excel) -> dict[int, Any]:
    cells: dict[int, Any] = {}
    for area, first in areas:
        if row.number <= options.header_row:
            if row.number == options.header_row and area.top < row.number and first is not None:
                cells[area.left] = first
            continue
        if options.merged == "empty" or first is None or area.top <= options.header_row:
            continue
        for column in range(area.left, min(area.right, MAX_COLUMNS) + 1):
            if (row.number, column) != (area.top, area.left):
                cells[column] = first if options.merged == "repeat" else MERGED
    return cells


def header_text(cell: Any) -> str:
    """What a cell of a header calls its column; an error calls it nothing.

    >>> header_text(2024), header_text(" Age "), header_text(None)
    ('2024', ' Age ', '')
    """
    if cell is None or isinstance(cell, Refused):
        return ""
    if isinstance(cell, float) and cell == int(cell):
        return str(int(cell))
    return cell.isoformat() if isinstance(cell, date | time) else str(cell)


def _names(
    rows: Iterator[SheetRow], columns: Columns, options: Excel, uri: str
) -> Mapping[int, str]:
    """The columns by place, as the contract calls them; the rows up to the header are used up.

    Names of another table are counted, not shown.
    """
    where = f"row {options.header_row} of its sheet"
    remedy = "say where the column names stand: `excel: {header_row: ...}` in files"
    header = next((row for row in rows if row.number >= options.header_row), None)
    if header is None or header.number != options.header_row:
        raise FileUnreadable(uri, f"{where} holds no cell, and so no header", remedy=remedy)
    texts = {at: header_text(cell) for at, cell in header.cells.items()}
    width = max([*texts, *(r.in_file for r in columns.values() if isinstance(r.in_file, int))])
    names = [texts.get(at, "") for at in range(1, min(width, MAX_COLUMNS) + 1)]
    check_distinct([name for name in names if name], uri)
    called = contract_names(names, columns)
    if not set(called) & set(columns):
        reason = f"{where} has {len(texts)} names and none is a column of the contract"
        raise FileUnreadable(uri, reason, remedy=remedy)
    is_named = {at for at, text in texts.items() if text}
    return {
        at: name if at in is_named else f"{_BLANK}{name}" for at, name in enumerate(called, start=1)
    }


_BLANK = "\0"  # marks a column without a name: it is one only where a row holds a cell


class _Table:
    """The columns of a sheet by their places."""

    def __init__(self, names: Mapping[int, str], columns: Columns) -> None:
        self._columns = columns
        self._names = {at: name.removeprefix(_BLANK) for at, name in names.items()}
        self.always = [name for name in names.values() if not name.startswith(_BLANK)]
        self.always += [name for name in self._names.values() if name in columns]

    def named(self, row: SheetRow) -> dict[str, Any]:
        """The cells of a row by their columns."""
        width = max(row.cells)
        if width > len(self._names):
            names = contract_names([""] * width, self._columns)
            known = self._names
            self._names = {at: known.get(at, name) for at, name in enumerate(names, start=1)}
        return {self._names[at]: cell for at, cell in row.cells.items()}


def _told_time(cell: time) -> str:
    text = cell.isoformat()
    return text.rstrip("0") if "." in text else text


def _text_bytes(cells: Mapping[str, Any]) -> int:
    return sum(len(cell) for cell in cells.values() if isinstance(cell, str)) + CELL_BYTES


def _shown(sheets: Sequence[Sheet]) -> str:
    """The sheets by name where it may be shown, else by place."""
    names = [repr(s.name) if may_be_shown(s.name) else str(s.number) for s in sheets]
    return ", ".join(names[:MAX_NAMES_SHOWN])
