"""How a column writes its dates: strptime's directives, strict and alike on every machine."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import lru_cache

from catalog.contracts.contract import ColumnType
from catalog.errors import Fault

MAX_CHARS = 64
_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# English names only: what a machine's locale calls a month must not change what lands
_NUMBER: Mapping[str, str] = {
    "Y": r"[0-9]{4}", "y": r"[0-9]{2}", "m": r"1[0-2]|0?[1-9]", "d": r"3[01]|[12][0-9]|0?[1-9]",
    "j": r"[0-9]{1,3}", "H": r"2[0-3]|[01]?[0-9]", "I": r"1[0-2]|0?[1-9]", "M": r"[0-5]?[0-9]",
    "S": r"[0-5]?[0-9]", "f": r"[0-9]{1,6}",
}  # fmt: skip
_DIRECTIVES: Mapping[str, str] = {
    **_NUMBER,
    "b": r"(?:[A-Za-z]{3}|[Ss][Ee][Pp][Tt])\.?", "B": r"[A-Za-z]{3,9}",
    "a": r"[A-Za-z]{3}", "A": r"[A-Za-z]{6,9}",
    "p": r"[AaPp]\.?[Mm]\.?", "z": r"[+-][0-9]{2}:?[0-9]{2}|[Zz]", "Z": r"UTC|GMT|Z",
}  # fmt: skip
_LONGER = {"september": "sept"}
# Of two numbers beside each other each has all its digits, or 2026111 would be two days
_WIDE: Mapping[str, str] = {
    **_NUMBER, "m": r"0[1-9]|1[0-2]", "d": r"0[1-9]|[12][0-9]|3[01]", "j": r"[0-9]{3}",
    "H": r"[01][0-9]|2[0-3]", "I": r"0[1-9]|1[0-2]", "M": r"[0-5][0-9]", "S": r"[0-5][0-9]",
}  # fmt: skip
_CLOCK = frozenset("HIMSfp")
_ZONES = frozenset("zZ")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)


def format_faults(path: str, text: str, column_type: ColumnType) -> Iterator[Fault]:
    """What is wrong with the `format` of a column of this type."""
    if column_type not in ("date", "timestamp"):
        yield Fault(path, "is for dates and timestamps only", "type: date or timestamp")
        return
    directives = [letter for letter in _DIRECTIVE.findall(text) if letter != "%"]
    if len(text) > MAX_CHARS or not directives or not text.isprintable():
        yield Fault(path, "is no format of dates", 'such as "%d.%m.%Y"')
    elif unknown := [letter for letter in directives if letter not in _DIRECTIVES]:
        shown = ", ".join(sorted({f"%{letter}" for letter in unknown if letter.isalpha()}))
        what = f"has directives that are not known{': ' if shown else ''}{shown}"
        yield Fault(path, what, ", ".join(f"%{letter}" for letter in _DIRECTIVES))
    else:
        yield from _joint_faults(path, Counter(directives), column_type)


def _joint_faults(path: str, directives: Counter[str], column_type: ColumnType) -> Iterator[Fault]:
    if any(count > 1 for count in directives.values()):
        yield Fault(path, "has a directive twice", "each once")
    if ("Y" in directives) + ("y" in directives) != 1:
        yield Fault(path, "does not say the year once", "%Y, or %y for two digits")
    months = sum(letter in directives for letter in "mbB")
    is_day = months == 1 and "d" in directives and "j" not in directives
    if not is_day and not ("j" in directives and not months and "d" not in directives):
        yield Fault(path, "does not say the day once", "%d with one of %m, %b, %B; or %j")
    if ("I" in directives) != ("p" in directives) or ("H" in directives and "I" in directives):
        yield Fault(path, "does not say the hour once", "%H, or %I with %p")
    finer = {"M": "HI", "S": "M", "f": "S"}
    if any(k in directives and not any(u in directives for u in up) for k, up in finer.items()):
        yield Fault(path, "has a part of the time without the one above it", "such as %H:%M:%S")
    has_clock = not _CLOCK.isdisjoint(directives)
    if column_type == "date" and (has_clock or not _ZONES.isdisjoint(directives)):
        yield Fault(path, "has a time of day, and the column is a date", "type: timestamp")
    if column_type == "timestamp" and not any(letter in directives for letter in "HI"):
        yield Fault(path, "has no time of day", "%H or %I, or type: date")
    if len(_ZONES & directives.keys()) > 1:
        yield Fault(path, "says the zone twice", "%z or %Z")


def parse_moment(text: str, form: str) -> datetime:
    """The moment that a cell says in this format; without a zone it is UTC.

    Two digits of a year are of 1969 to 2068, as POSIX has it. Month names are English.

    >>> parse_moment("15.01.2026", "%d.%m.%Y").date()
    datetime.date(2026, 1, 15)
    >>> parse_moment("3-May-68 1:05 pm", "%d-%b-%y %I:%M %p").isoformat()
    '2068-05-03T13:05:00+00:00'

    Raises:
        ValueError: if it says none; the message holds nothing of the cell.
    """
    match = _pattern(form).fullmatch(text)
    if match is None:
        raise ValueError("no such moment")
    parts = match.groupdict()
    day = _day(parts)
    for key, names in (("a", _DAYS), ("A", _DAYS)):
        if key in parts and _place(parts[key], names) != day.weekday():
            raise ValueError("another day of the week")
    minute, second = (int(parts.get(key) or 0) for key in "MS")
    micro = int((parts.get("f") or "0").ljust(6, "0"))
    clock = time(_hour(parts), minute, second, micro, tzinfo=_zone(parts))
    try:
        return datetime.combine(day, clock).astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the calendar") from None


def _day(parts: Mapping[str, str]) -> date:
    year = int(parts["Y"]) if "Y" in parts else (int(parts["y"]) + 31) % 100 + 1969
    if "j" in parts:
        day_of_year = int(parts["j"])
        if not 1 <= day_of_year <= 365 + calendar.isleap(year):
            raise ValueError("no such day")
        return date(year, 1, 1) + timedelta(days=day_of_year - 1)
    name = parts.get("b") or parts.get("B")
    month = _place(name, _MONTHS) + 1 if name else int(parts["m"])
    return date(year, month, int(parts["d"]))


def _place(name: str, names: tuple[str, ...]) -> int:
    """Which of the names is meant, written out or by its first three letters."""
    low = name.lower().rstrip(".")
    places = [at for at, full in enumerate(names) if low in (full, full[:3], _LONGER.get(full))]
    if not places:
        raise ValueError("no such name")
    return places[0]


def _hour(parts: Mapping[str, str]) -> int:
    if "I" not in parts:
        return int(parts.get("H") or 0)
    return int(parts["I"]) % 12 + (12 if parts["p"][0] in "pP" else 0)


def _zone(parts: Mapping[str, str]) -> timezone:
    text = parts.get("z", "Z")
    if text in "zZ":
        return UTC
    minutes = 60 * int(text[1:3]) + int(text[-2:])
    if minutes >= 24 * 60 or int(text[-2:]) > 59:
        raise ValueError("no such zone")
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


@lru_cache(maxsize=256)
def _pattern(form: str) -> re.Pattern[str]:
    pieces, at = [], 0
    for match in _DIRECTIVE.finditer(form):
        pieces.append(re.escape(form[at : match.start()]))
        letter, at = match.group(1), match.end()
        is_beside = _is_number(form[match.start() - 2 : match.start()]) or _is_number(form[at:])
        shape = _WIDE[letter] if is_beside and letter in _WIDE else _DIRECTIVES.get(letter)
        pieces.append(f"(?P<{letter}>{shape})" if shape else "%")
    return re.compile("".join([*pieces, re.escape(form[at:])]), re.ASCII)


def _is_number(form: str) -> bool:
    """Whether it begins with the directive of a number."""
    return form[:1] == "%" and form[1:2] in _NUMBER
