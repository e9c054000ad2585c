"""Rows that stand inside the quotes of another row: what a quote opened by mistake takes in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_ROWS_LEARNT = 1_000  # rows from which it is learnt how a key looks
_MAX_KEY_BYTES = 64
_MAX_LINE_BYTES = 1 << 20  # a longer line is no row
_ENOUGH_LINES = 4  # that are all like rows, where keys are words
_MARKS = re.compile(rb"[^0-9A-Za-z\x80-\xff]")
Look = tuple[bool, bool, frozenset[bytes]]


class RecordLines:
    """The physical lines of the record that is being cut, and what they look like as rows.

    A text of several lines is a legal cell. But if its lines have as many cells as the header, and
    the cell of the key looks like a key, they are rows that a broken quote took in.
    """

    def __init__(self, delimiter: bytes = b",", quote: bytes = b'"') -> None:
        self._delimiter, self._blank = delimiter, quote + b" "
        self.n_cells = 0  # of the header; 0 before it is known
        self._key = 0
        self._n_learnt = 0
        self._is_after_broken = False
        self._looks: set[Look] = set()
        self._own: Look | None = None  # how the key of the open record looks
        self._line = b""  # as far as it has come
        self._forget()

    def begin(self, header: Sequence[Any], key: str | int) -> None:
        """Take the header, the first record."""
        self.n_cells = len(header)
        if isinstance(key, int):
            self._key = min(key, self.n_cells) - 1
            return
        name = key.encode()
        self._key = header.index(name) if name in header else 0

    def see_row(self, cells: Sequence[Any]) -> None:
        """Learn from a row that is one line, with no quote out of place, how a key looks."""
        self._is_after_broken = self._is_after_broken and not cells
        if cells and self._n_learnt < _ROWS_LEARNT and self.n_cells == len(cells):
            self._n_learnt += 1
            look = _look(cells[self._key], self._blank)
            self._looks |= {look} if look else set()

    def see(self, part: bytes) -> None:
        """Note a physical line, or a piece of one, that belongs to the open record."""
        if len(self._line) < _MAX_LINE_BYTES:
            self._line += part
        if not part.endswith((b"\n", b"\r")):
            return
        line, self._line = self._line.rstrip(b"\r\n"), b""
        if line:
            if self.n_cells and len(line) < _MAX_LINE_BYTES:
                self._note(line.split(self._delimiter, self.n_cells))
            self._n_lines += 1

    def judged(self, row: Any) -> Any:
        """The record that has ended, unsound if it took in other rows; the next one begins."""
        n_later = self._n_lines - 1
        if n_later > 0 and self.n_cells > 1:
            # A word before a comma is how prose begins, too: then all lines must be like rows
            is_like = (
                2 * self._n_whole > n_later
                if self._is_code
                else (self._n_whole == n_later >= _ENOUGH_LINES)
            )
            is_sound = row.is_sound and not (self._is_first_whole and is_like)
            row = row._replace(is_sound=is_sound, n_rows=1 + self._n_rows)
        elif self._is_after_broken and row.is_odd:
            # The rest of a text whose quote was taken for the end of another: no row of its own
            row = row._replace(is_sound=False)
        self._is_after_broken = not row.is_sound
        self._forget()
        return row

    def _note(self, cells: list[bytes]) -> None:
        look = _look(cells[self._key], self._blank) if len(cells) > self._key else None
        is_whole = len(cells) == self.n_cells
        if not self._n_lines:
            self._own, self._is_first_whole = look, is_whole
            self._is_code = look is not None and look[0]
        elif look is not None and (look in self._looks or look == self._own):
            self._n_whole += is_whole
            self._n_rows += is_whole or self._is_code

    def _forget(self) -> None:
        self._n_lines = self._n_rows = self._n_whole = 0
        self._is_first_whole = self._is_code = False
        self._line, self._own = b"", None


def _look(cell: Any, blank: bytes = b'" ') -> Look | None:
    """Whether a cell has digits and letters, and which other marks; None if it is no short text.

    >>> _look(b'"2026-01') == _look(b"1999-12"), _look(b"n12") == _look(b"He is well")
    (True, False)
    """
    if not isinstance(cell, bytes) or len(cell) > _MAX_KEY_BYTES:
        return None
    text = cell.strip(blank)
    has_digit = re.search(rb"[0-9]", text) is not None
    has_letter = re.search(rb"[A-Za-z\x80-\xff]", text) is not None
    return (has_digit, has_letter, frozenset(_MARKS.findall(text))) if text else None
