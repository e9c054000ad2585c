"""Tables for a terminal: as a table where its words fit, else as one record after the other."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

LEAST = 40  # a terminal that is narrower folds what it is given
_BETWEEN = 2  # spaces between two columns


def draw(names: Sequence[str], cells: Sequence[Sequence[str]], title: str, *, width: int) -> str:
    """Rows as text that is at most `width` wide, or as wide as they are where that is 0.

    Nothing is left out: what is too long goes on in the next line.
    """
    columns = [
        [name, *column] for name, column in zip(names, zip(*cells, strict=True), strict=True)
    ]
    whole = [max(map(_widest_line, column)) for column in columns]
    words = [max(map(_widest_word, column)) for column in columns]
    width = max(width, LEAST) if width else 0
    if not width or _total(whole) <= width:
        return _printed(_table(names, cells, whole), title, max(_total(whole), 1))
    if _total(words) <= width:
        return _printed(_table(names, cells, _shared_out(whole, words, width)), title, width)
    return _printed(_records(names, cells), title, width)


def _table(
    names: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int]
) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, own in zip(names, widths, strict=True):
        table.add_column(Text(name), overflow="fold", width=own)
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _shared_out(whole: Sequence[int], words: Sequence[int], width: int) -> list[int]:
    """Widths of columns that hold their words; what is left goes to those that lack least."""
    widths, left = list(words), width - _total(words)
    for i in sorted(range(len(words)), key=lambda i: whole[i] - words[i]):
        more = min(left, whole[i] - words[i])
        widths[i], left = widths[i] + more, left - more
    return widths


def _records(names: Sequence[str], cells: Sequence[Sequence[str]]) -> RenderableType:
    """A line for each thing that is known of a row, and an empty one after each row."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for row in cells:
        for name, cell in zip(names, row, strict=True):
            if cell:
                grid.add_row(Text(f"  {name}"), Text(cell))
        grid.add_row()
    return grid


def _printed(what: RenderableType, title: str, width: int) -> str:
    """The text of it, without the spaces by which lines are filled up."""
    printed = io.StringIO()
    console = Console(file=printed, width=width, color_system=None, legacy_windows=False)
    console.print(what)
    lines = [line.rstrip() for line in printed.getvalue().rstrip().splitlines()]
    head = [title] if title else []
    return "\n".join([*head, *lines, ""]) + "\n"


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _BETWEEN * (len(widths) - 1)


def _widest_line(text: str) -> int:
    return max(map(cell_len, text.splitlines()), default=0)


def _widest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)
