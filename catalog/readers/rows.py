"""Text files cut into rows in bounded memory, whatever length a cell, a line or a file has.

Arrow's own CSV and JSON readers stop at the first bad byte, cell count or line, and refuse a cell
longer than their block; a bad row must only cost itself here, so rows are cut by this file.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from catalog.readers.cells import TOO_LONG
from catalog.readers.files import FileUnreadable

PIECE_BYTES = 1 << 20
MAX_COLUMNS = 10_000
_CELL_END = re.compile(rb"[,\n]")
_WHOLE_CELL = re.compile(rb'(?:"([^"]*(?:""[^"]*)*)"\r?|([^",\n]*))([,\n])')
# Where the next byte stands: before a cell, in a plain one, inside quotes, right after a closing
# quote, or past that, where nothing but the end of the cell may come
_START, _PLAIN, _QUOTED, _CLOSED, _PAST = range(5)


class CsvRow(NamedTuple):
    """The cells of a record as bytes, or TOO_LONG; `is_sound` is false where its quoting is not."""

    cells: list[Any]
    is_sound: bool


def csv_rows(stream: Any, *, uri: str, max_cell_bytes: int) -> Iterator[CsvRow]:
    """Records of a CSV file: commas, double quotes, either line end; blank lines are left out.

    A cell longer than `max_cell_bytes` is scanned to its end and not kept.

    Raises:
        FileUnreadable: if a quote is never closed, since all rows after it would be lost in it.
    """
    cutter = _CsvCutter(max_cell_bytes)
    while piece := stream.readline(PIECE_BYTES):
        cells = _whole_line(piece) if cutter.is_fresh else None
        if cells is None:
            yield from cutter.feed(piece)
        elif cells:
            yield CsvRow(cells, is_sound=True)
    if cutter.state == _QUOTED:
        raise FileUnreadable(
            uri,
            "a quoted cell is never closed, so the file is cut off or badly quoted",
            remedy='export it again with every quote inside a cell doubled ("")',
        )
    if not cutter.is_fresh:
        yield from cutter.feed(b"\n")


def _whole_line(piece: bytes) -> list[Any] | None:
    """The cells of a line that is a record and soundly quoted, none if it is blank, else None.

    The same cells as the cutter below gives, several times faster.
    """
    if not piece.endswith(b"\n"):
        return None
    if b'"' not in piece:
        line = piece[:-1].removesuffix(b"\r")
        return list(line.split(b",", MAX_COLUMNS)) if line else []
    cells: list[Any] = []
    at, is_quoted = 0, False
    while at < len(piece):
        found = _WHOLE_CELL.match(piece, at)
        if found is None:
            return None
        quoted, plain, _ = found.groups()
        is_quoted = quoted is not None
        cells.append(quoted.replace(b'""', b'"') if is_quoted else plain)
        at = found.end()
    if not is_quoted:
        cells[-1] = cells[-1].removesuffix(b"\r")
    return cells


class _CsvCutter:
    """The state between two pieces of a file: the cells so far, and the bytes of the open one."""

    def __init__(self, max_cell_bytes: int) -> None:
        self.max_cell_bytes = max_cell_bytes
        self.state = _START
        self.cells: list[Any] = []
        self.open: list[bytes] = []
        self.length = 0
        self.is_sound = True

    @property
    def is_fresh(self) -> bool:
        """Whether the next byte begins a record."""
        return self.state == _START and not self.cells

    def feed(self, piece: bytes) -> Iterator[CsvRow]:
        """The records that end in these bytes, which follow the bytes fed before."""
        at = 0
        while at < len(piece):
            if self.state == _QUOTED:
                at = self._inside_quotes(piece, at)
            elif self.state == _START and piece[at] == ord('"'):
                self.state, at = _QUOTED, at + 1
            elif self.state == _CLOSED and piece[at] == ord('"'):
                self._keep(b'"')
                self.state, at = _QUOTED, at + 1
            else:
                at = yield from self._to_cell_end(piece, at)

    def _inside_quotes(self, piece: bytes, at: int) -> int:
        end = piece.find(b'"', at)
        self._keep(piece[at:] if end < 0 else piece[at:end])
        if end < 0:
            return len(piece)
        self.state = _CLOSED
        return end + 1

    def _to_cell_end(self, piece: bytes, at: int) -> Generator[CsvRow, None, int]:
        found = _CELL_END.search(piece, at)
        end = found.start() if found else len(piece)
        rest = piece[at:end]
        if rest and self.state in (_CLOSED, _PAST):
            self.is_sound = self.is_sound and self.state == _CLOSED and rest == b"\r"
            self.state = _PAST
        elif rest:
            self.state = _PLAIN
            self._keep(rest)
        if found is None:
            return end
        if found.group() == b",":
            self._end_cell()
        elif self.is_fresh or (self.state == _PLAIN and not self.cells and self.open == [b"\r"]):
            self._begin_row()
        else:
            self._end_cell(is_last=True)
            yield CsvRow(self.cells, self.is_sound)
            self._begin_row()
        return end + 1

    def _keep(self, part: bytes) -> None:
        self.length += len(part)
        if self.length <= self.max_cell_bytes:
            self.open.append(part)
        else:
            self.open.clear()

    def _end_cell(self, *, is_last: bool = False) -> None:
        if self.length > self.max_cell_bytes:
            cell: Any = TOO_LONG
        else:
            cell = b"".join(self.open)
            if is_last and self.state == _PLAIN:
                cell = cell.removesuffix(b"\r")
        if len(self.cells) <= MAX_COLUMNS:
            self.cells.append(cell)
        self.open, self.length, self.state = [], 0, _START

    def _begin_row(self) -> None:
        self.cells, self.open, self.length = [], [], 0
        self.is_sound, self.state = True, _START


def json_lines(stream: Any, *, max_line_bytes: int) -> Iterator[bytes | None]:
    """Lines without their ends, blank ones left out; None for one longer than `max_line_bytes`."""
    parts: list[bytes] = []
    length = 0
    while True:
        piece = stream.readline(PIECE_BYTES)
        length += len(piece)
        if length <= max_line_bytes:
            parts.append(piece)
        else:
            parts.clear()
        if piece and not piece.endswith(b"\n"):
            continue
        if length > max_line_bytes:
            yield None
        elif line := b"".join(parts).strip(b" \t\r\n"):
            yield line
        if not piece:
            return
        parts, length = [], 0
