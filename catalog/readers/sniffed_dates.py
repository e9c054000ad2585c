"""How a column of a stranger writes its dates; day and month only where they cannot be mistaken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from catalog.contracts.date_format import parse_moment

_ORDERS = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%Y{0}%m{0}%d", "%d{0}%b{0}%Y", "%Y{0}%b{0}%d")
_SHORT_ORDERS = ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%d{0}%b{0}%y")
DATES = (
    *(order.format(mark) for mark in ("/", ".", "-") for order in _ORDERS),
    *(order.format(mark) for mark in ("/", ".", "-") for order in _SHORT_ORDERS),
    "%d %b %Y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%B-%Y", "%a, %d %b %Y",
)  # fmt: skip
CLOCKS = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%I:%M:%S %p", "%I:%M %p", "%I:%M%p", "%H.%M")
ZONES = ("", "%z", " %z", " %Z")
MAX_CHARS = 40
MAX_TOLD = 3
_WITH_CLOCK = re.compile(r"(.{6,}?)(, | {1,2}|T)([0-9]{1,2}[:.][0-9]{2}.*)")


@dataclass(frozen=True)
class Dates:
    """The formats that read all cells of a column; several where nothing tells them apart."""

    formats: tuple[str, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether the cells mean one day each, in a century that they say."""
        return len(self.formats) == 1 and "%y" not in self.formats[0]

    @property
    def remark(self) -> str:
        """What a person has to say, or nothing."""
        if self.is_sure or not self.formats:
            return ""
        formats = ", ".join(f'"{form}"' for form in self.formats[:MAX_TOLD])
        if "%y" in self.formats[0]:
            return f"such as {formats}; %y reads 69 as 1969 and 68 as 2068"
        return f"one of {formats}: nothing tells days from months"

    def iso(self, word: str) -> str:
        """A cell as a plain file has it."""
        form = self.formats[0]
        moment = parse_moment(word, form)
        has_clock = "%H" in form or "%I" in form
        return moment.isoformat() if has_clock else moment.date().isoformat()


def sniff_dates(words: Sequence[str]) -> Dates:
    """How these distinct cells write dates or timestamps.

    >>> sniff_dates(["13/01/2026", "02/03/2026"]).formats, sniff_dates(["01/02/2026"]).formats
    (('%d/%m/%Y',), ('%d/%m/%Y', '%m/%d/%Y'))
    """
    if not words or any(len(word) > MAX_CHARS for word in words):
        return Dates()
    read = [form for form in _candidates(words[0]) if all(map(_reader(form), words))]
    kinds: dict[str, str] = {}
    for form in read:
        # May is short and long: only %B reads June, too
        is_longer = all("may" in word.lower() for word in words)
        kind = form.replace("%B", "%b")
        kinds[kind] = form if is_longer else kinds.get(kind, form)
    return Dates(tuple(kinds.values()))


def _candidates(word: str) -> Iterator[str]:
    """Formats that read a cell."""
    match = _WITH_CLOCK.fullmatch(word)
    if match is None:
        yield from filter(_reads(word), DATES)
        return
    day, between = match.group(1, 2)
    days = filter(_reads(day), DATES)
    clocks = [f"{clock_form}{zone}" for clock_form in CLOCKS for zone in ZONES]
    literal = between.replace("%", "%%")
    for day_form in days:
        for clock_form in clocks:
            form = f"{day_form}{literal}{clock_form}"
            if _reads(word)(form):
                yield form


def _reads(word: str) -> Callable[[str], bool]:
    return lambda form: _is_read(word, form)


def _reader(form: str) -> Callable[[str], bool]:
    return lambda word: _is_read(word, form)


def _is_read(word: str, form: str) -> bool:
    try:
        parse_moment(word, form)
    except ValueError:
        return False
    return True
