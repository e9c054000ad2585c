"""Text files cut into rows in bounded memory, whatever length a cell, a line or a file has.

Arrow's own CSV and JSON readers stop at the first bad byte, cell count or line, and refuse a cell
longer than their block; a bad row must only cost itself here, so rows are cut by this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from catalog.readers.batches import BATCH_BYTES, CELL_BYTES
from catalog.readers.cells import TOO_LONG
from catalog.readers.dialect import PLAIN_MARKS, Marks
from catalog.readers.files import FileUnreadable
from catalog.readers.swallowed import RecordLines

T = TypeVar("T")
PIECE_BYTES = 1 << 20
MAX_COLUMNS = 100_000
_LINE = re.compile(rb"[^\r\n]*(?:\r*\n|\r)|[^\r\n]+")
_LINE_ENDS = (b"\n", b"\r")
# What Excel writes above a table, and obeys
HINT = re.compile(rb'"?sep=([^\r\nA-Za-z0-9"]{1,4}?)"?[\r\n]+', re.IGNORECASE)
_BETWEEN_OBJECTS = re.compile(rb"(?<=\})[ \t]*\r[\r \t]*(?=\{)")
# Where the next byte stands: before a cell, in a plain one, inside quotes, right after a closing
# quote, or past that, where nothing but the end of the cell may come
_START, _PLAIN, _QUOTED, _CLOSED, _PAST = range(5)


class CsvRow(NamedTuple):
    """The cells of a record as bytes, or TOO_LONG; `is_sound` is false where its quoting is not.

    `n_rows` is how many rows are lost with it if it is refused: a quote that is opened by mistake
    takes in the rows that follow, up to the next quote. `is_odd` is a row with a quote inside a
    plain cell.
    """

    cells: list[Any]
    is_sound: bool
    is_odd: bool = False
    n_rows: int = 1


def csv_rows(
    stream: Any,
    *,
    uri: str,
    max_cell_bytes: int,
    key: str | int = "",
    marks: Marks = PLAIN_MARKS,
    first_is_widest: bool = True,
) -> Iterator[CsvRow]:
    """Records of a CSV file: its marks, any line end; blank lines and comments are left out.

    A cell longer than `max_cell_bytes` is scanned to its end and not kept. `key` is the column that
    names a row, or its place from 1, by default the first: by it a row is known that stands inside
    the quotes of another. Cells beyond the first record's are counted up to one more, and not kept,
    unless the caller says that a title may stand above the table.

    Raises:
        FileUnreadable: if a quote is never closed, since all rows after it would be lost in it; or
            if its first line names another delimiter than the contract.
    """
    cutter = _CsvCutter(max_cell_bytes, marks)
    lines = RecordLines(marks.delimiter, marks.quote)
    whole_line = cutter.whole_line
    for part in _table_parts(stream, cutter, uri):
        cells = whole_line(part, cutter.max_cells) if cutter.is_fresh else None
        if cells is None:
            lines.see(part)
            rows: Iterable[CsvRow] = cutter.feed(part)
        else:
            lines.see_row(cells)
            rows = [CsvRow(cells, is_sound=True)] if cells else []
        for row in rows:
            if not lines.n_cells:
                lines.begin(row.cells, key)
                cutter.max_cells = lines.n_cells + 1 if first_is_widest else MAX_COLUMNS + 1
            yield lines.judged(row) if cells is None else row
    if cutter.state == _QUOTED:
        raise FileUnreadable(
            uri,
            "a quoted cell is never closed, so the file is cut off or badly quoted",
            remedy="export it again with every quote inside a cell written twice; or say in"
            " `files: {csv: {quote: ..., escape: ...}}` how its cells are quoted",
        )
    if not cutter.is_fresh:
        lines.see(b"\n")
        yield from map(lines.judged, cutter.feed(b"\n"))


def first_rows(rows: Iterable[T], n_rows: int, size: Callable[[T], int]) -> Iterator[T]:
    """The first rows, or as many of them as one batch may hold."""
    n_bytes = 0
    for row in islice(rows, n_rows):
        yield row
        n_bytes += size(row)
        if n_bytes >= BATCH_BYTES:
            return


def row_bytes(row: CsvRow) -> int:
    """How much memory the cells of a row take."""
    return sum(CELL_BYTES + len(cell) for cell in row.cells)


def _table_parts(stream: Any, cutter: _CsvCutter, uri: str) -> Iterator[bytes]:
    """The parts of a file without what stands above its table, and without comments."""
    marks = cutter.marks
    parts = _parts(stream, cutter)
    if marks.skip_rows:
        n_left = marks.skip_rows
        while n_left and (part := next(parts, b"")):
            n_left -= part.endswith(_LINE_ENDS)
    elif first := next(parts, b""):
        hint = HINT.fullmatch(first)
        _check_hint(hint, marks, uri)
        parts = parts if hint else chain([first], parts)
    return _without_comments(parts, cutter) if marks.comment else parts


def _check_hint(hint: re.Match[bytes] | None, marks: Marks, uri: str) -> None:
    if hint and hint.group(1) != marks.delimiter:
        raise FileUnreadable(
            uri,
            "its first line, `sep=`, names another delimiter than files.csv.delimiter,"
            " which is a comma where the contract does not say it",
            remedy="correct files.csv.delimiter",
        )


def _without_comments(parts: Iterator[bytes], cutter: _CsvCutter) -> Iterator[bytes]:
    is_inside = False
    for part in parts:
        is_inside = is_inside or (cutter.is_fresh and part.startswith(cutter.marks.comment))
        if not is_inside:
            yield part
        is_inside = is_inside and not part.endswith(_LINE_ENDS)


def _parts(stream: Any, cutter: _CsvCutter) -> Iterator[bytes]:
    """Physical lines with their ends, cut where they are very long, but never inside a mark.

    A line ends with LF, CR LF or CR. But pandas and the csv module write a bare CR inside a text
    without quotes: where a line up to LF has as many cells as the header, CR is a part of its cell.
    """
    begun = cutter.begun_marks
    while piece := stream.readline(PIECE_BYTES):
        while begun and piece.endswith(begun) and (more := stream.readline(1)):
            piece += more
        if b"\r" not in piece.rstrip(b"\r\n") or _is_row(piece, cutter):
            yield piece
        else:
            yield from _LINE.findall(piece)


def _is_row(piece: bytes, cutter: _CsvCutter) -> bool:
    cells = cutter.whole_line(piece, cutter.max_cells) if cutter.is_fresh else None
    return piece.endswith(b"\n") and cells is not None and len(cells) + 1 == cutter.max_cells


def _line_cutter(marks: Marks) -> Callable[[bytes, int], list[Any] | None]:
    """The cells of a line that is a record and soundly quoted, none if it is blank, else None.

    The same cells as the cutter below gives, several times faster.
    """
    delimiter, quote, escape = marks.delimiter, marks.quote, marks.escape
    stop, mark = re.escape(delimiter), re.escape(quote) or rb"(?!)"
    whole_cell = re.compile(
        rb"(?:%b((?:(?!%b).)*(?:%b%b(?:(?!%b).)*)*)%b|((?:(?!%b|%b).)*))(%b|\Z)"
        % (mark, mark, mark, mark, mark, mark, mark, stop, stop),
        re.DOTALL,
    )
    if len(delimiter) == len(quote) == 1:
        whole_cell = re.compile(
            rb"(?:%b([^%b]*(?:%b%b[^%b]*)*)%b|([^%b%b]*))(%b|\Z)"
            % (mark, mark, mark, mark, mark, mark, mark, stop, stop)
        )

    def whole_line(part: bytes, max_cells: int) -> list[Any] | None:
        if not part.endswith(_LINE_ENDS) or (escape and escape in part):
            return None
        line = part.rstrip(b"\r\n")
        if not quote or quote not in line:
            return line.split(delimiter, max_cells)[:max_cells] if line else []
        cells: list[Any] = []
        at, is_open = 0, True
        while is_open:
            match = whole_cell.match(line, at)
            if match is None or len(cells) == max_cells:
                return None
            quoted, plain, end = match.groups()
            cells.append(plain if quoted is None else quoted.replace(quote + quote, quote))
            at, is_open = match.end(), bool(end)
        return cells

    return whole_line


class _CsvCutter:
    """The state between two pieces of a file: the cells so far, and the bytes of the open one."""

    def __init__(self, max_cell_bytes: int, marks: Marks) -> None:
        self.max_cell_bytes, self.max_cells = max_cell_bytes, MAX_COLUMNS + 1
        self.marks, self.whole_line = marks, _line_cutter(marks)
        stop, escape = re.escape(marks.delimiter), re.escape(marks.escape)
        escaped = rb"%b(?P<escaped>.)" % escape if escape else rb"(?P<escaped>(?!))"
        self.cell_end = re.compile(rb"%b|%b|[\r\n]" % (escaped, stop), re.DOTALL)
        self.quoted_end = re.compile(
            rb"%b|%b" % (escaped, re.escape(marks.quote) or rb"(?!)"), re.DOTALL
        )
        kept = b"|".join(map(re.escape, marks.kept))
        self.kept = re.compile(rb"(?:%b)(?=%b|[\r\n])" % (kept, stop)) if kept else None
        marks_of_cells = (marks.delimiter, marks.quote, marks.escape + b"?" if escape else b"")
        self.begun_marks = tuple(mark[:n] for mark in marks_of_cells for n in range(1, len(mark)))
        self.state = _START
        self.cells: list[Any] = []
        self.open: list[bytes] = []
        self.length = 0
        self.is_sound, self.is_odd = True, False

    @property
    def is_fresh(self) -> bool:
        """Whether the next byte begins a record."""
        return self.state == _START and not self.cells

    def feed(self, piece: bytes) -> Iterator[CsvRow]:
        """The records that end in these bytes, which follow the bytes fed before."""
        at, quote = 0, self.marks.quote
        while at < len(piece):
            if self.state == _QUOTED:
                at = self._inside_quotes(piece, at)
            elif self.state in (_START, _CLOSED) and quote and piece.startswith(quote, at):
                if self.state == _CLOSED:
                    self._keep(quote)
                self.state, at = _QUOTED, at + len(quote)
            elif self.state == _START and self.kept and (match := self.kept.match(piece, at)):
                self._keep(match.group())
                self.state, at = _CLOSED, match.end()
            else:
                at = yield from self._to_cell_end(piece, at)

    def _inside_quotes(self, piece: bytes, at: int) -> int:
        match = self.quoted_end.search(piece, at)
        self._keep(piece[at : match.start()] if match else piece[at:])
        if match is None:
            return len(piece)
        if match["escaped"] is None:
            self.state = _CLOSED
        else:
            self._keep(match["escaped"])
        return match.end()

    def _to_cell_end(self, piece: bytes, at: int) -> Generator[CsvRow, None, int]:
        match = self.cell_end.search(piece, at)
        is_escaped = match is not None and match["escaped"] is not None
        end = match.start() if match else len(piece)
        rest = piece[at:end]
        if (rest or is_escaped) and self.state in (_CLOSED, _PAST):
            self.is_sound, self.state = False, _PAST
        elif rest or is_escaped:
            self.state = _PLAIN
            self.is_odd = self.is_odd or (bool(self.marks.quote) and self.marks.quote in rest)
            self._keep(rest)
        if match is None:
            return end
        if is_escaped:
            self._keep(match["escaped"])
            return match.end()
        if match.group() not in _LINE_ENDS:
            self._end_cell()
            return match.end()
        if not self.is_fresh:
            self._end_cell()
            yield CsvRow(self.cells, self.is_sound, self.is_odd)
        self._begin_row()
        return len(piece)  # a piece holds the end of one line at most

    def _keep(self, part: bytes) -> None:
        self.length += len(part)
        if self.length <= self.max_cell_bytes:
            self.open.append(part)
        else:
            self.open.clear()

    def _end_cell(self) -> None:
        is_long = self.length > self.max_cell_bytes
        if len(self.cells) < self.max_cells:
            self.cells.append(TOO_LONG if is_long else b"".join(self.open))
        self.open, self.length, self.state = [], 0, _START

    def _begin_row(self) -> None:
        self.cells, self.open, self.length = [], [], 0
        self.is_sound, self.is_odd, self.state = True, False, _START


def json_lines(stream: Any, *, max_line_bytes: int) -> Iterator[bytes | None]:
    """Lines without their ends, blank ones left out; None for one longer than `max_line_bytes`.

    Objects with nothing but a CR between them are lines, too: no JSON holds them so.
    """
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
            yield from _BETWEEN_OBJECTS.split(line) if b"\r" in line else [line]
        if not piece:
            return
        parts, length = [], 0
