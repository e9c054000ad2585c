"""Tables of the report as plain values: a template draws them all in one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

# What a column takes at least, in pixels: kinds whose text may break anywhere have a width of their
# own (see style.css), of the others the longest word decides.
_LEAST = {"": 80, "strong": 128, "told": 240, "code": 176, "tag": 96, "time": 104, "number": 0}
_LETTER, _GAP = 8.2, 13.0
_MIDDLE, _LARGE = 600.0, 970.0  # what screens of 641 and 1,025 pixels have room for


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    `kind` is how it looks: plain, strong, told, code, number, time or tag; `note` a quieter line.
    """

    text: str
    kind: str = ""
    note: str = ""
    href: str = ""
    colour: str = ""  # of the source that it names


@dataclass(frozen=True)
class Table:
    """Rows under headings and a caption; the first cell of a row names the row.

    `terms` explain headings, each in a sentence that says what to conclude: above the table, and
    where the pointer rests on the heading.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]] = field(default_factory=list)
    terms: Mapping[str, str] = field(default_factory=dict)

    @property
    def width(self) -> str:
        """From which screen on the columns stand beside each other: small, middle or never."""
        needed = sum(self._least(column) for column in range(len(self.heads)))
        return "small" if needed <= _MIDDLE else "middle" if needed <= _LARGE else "never"

    def _least(self, column: int) -> float:
        cells = [row[column] for row in self.rows]
        least = [_LETTER * _longest(self.heads[column])]
        least += [max(_LEAST[cell.kind], _of_words(cell)) for cell in cells]
        return max(least) + _GAP


def _of_words(cell: Cell) -> float:
    is_kept_whole = cell.kind in ("number", "tag", "time")
    return _LETTER * _longest(f"{cell.text} {cell.note}") if is_kept_whole else 0.0


def _longest(text: str) -> int:
    return max(map(len, text.split()), default=0)


def plain(text: object) -> Cell:
    """Text; nothing for None."""
    return Cell("" if text is None else str(text))


def strong(text: str, *, note: str = "", href: str = "", colour: str = "") -> Cell:
    """The name of a row."""
    return Cell(text, "strong", note, href, colour)


def number(value: float | None, how: str = ".3g", *, note: str = "") -> Cell:
    """A number in few digits; nothing for None."""
    return Cell("" if value is None else format(value, how), "number", note)


def tag(text: str, *, note: str = "") -> Cell:
    """A word in a colour of its own."""
    return Cell(text, "tag", note)


def text_cell(text: str, *, note: str = "") -> Cell:
    """A sentence, with more of it below."""
    return Cell(text, "told", note)


def code(text: str, *, note: str = "", href: str = "") -> Cell:
    """An id, hash or command."""
    return Cell(text, "code", note, href)


def moment(at: datetime | None) -> Cell:
    """A time to the second in UTC; nothing for None."""
    return Cell("" if at is None else to_the_second(at), "time")


def to_the_second(at: datetime) -> str:
    """A time in UTC.

    >>> to_the_second(datetime(2026, 1, 2, 3, 4, 5, 999999, tzinfo=UTC))
    '2026-01-02 03:04:05 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def in_words(name: str) -> str:
    """A name of the lake as people write it.

    >>> in_words("n_phi"), in_words("leave_one_out")
    ('number of phi', 'leave one out')
    """
    words = name.removeprefix("is_").replace("_", " ")
    return f"number of {words[2:]}" if name.startswith("n_") else words


def count_of(n: int, singular: str, many: str = "") -> str:
    """So many of something.

    >>> count_of(1, "row"), count_of(2, "row"), count_of(0, "batch", "batches")
    ('1 row', '2 rows', '0 batches')
    """
    return f"{n:,} {singular if n == 1 else many or singular + 's'}"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(4.2), duration(75), duration(7300)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def size(n_bytes: float) -> str:
    """A size in binary units.

    >>> size(512), size(3 * 2**20), size(2.5 * 2**30)
    ('512 B', '3.0 MiB', '2.5 GiB')
    """
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if n_bytes >= 2**power:
            return f"{n_bytes / 2**power:.1f} {unit}"
    return f"{n_bytes:.0f} B"
