"""Checks that a match of a rule for dates must pass; and whether a unit follows a number."""

from __future__ import annotations

import re

from catalog.deid import checksums
from catalog.deid.rule import Check

_UNIT = re.compile(
    r"\s?(?:mg|mcg|ml|cc|g|kg|lbs?|pounds|mm|cm|inch|units?|percent|%|minutes?|mins?|hours?|days?|"
    r"weeks?|months|times|degrees|feet|tablets?|tabs?|doses?|mmhg|bpm|meq|reps|sets|pack|ppd|pain|"
    r"scale|strength|normal|murmur|systolic|people|patients|members|steps|beats|strips|refills|"
    r"calories|ohm|ohms|hz|cigarettes|years?)\b",
    re.IGNORECASE,
)


def unit_follows(match: re.Match[str]) -> bool:
    """A unit of measure stands behind the value, which then is a quantity."""
    return _UNIT.match(match.string, match.end("v")) is not None


def numeric_day(match: re.Match[str]) -> bool:
    """Month and day in either order make a day of the calendar; short forms look like one."""
    first, second, year = int(match["a"]), int(match["b"]), match["c"]
    short = len(year) == 2
    if short and match["s"] != "/":
        padded = len(match["a"]) == 2 and len(match["b"]) == 2
        if not padded or unit_follows(match):
            return False
    whole = int(year) + (2000 if int(year) < 50 else 1900) if short else int(year)
    return checksums.is_day(whole, first, second) or checksums.is_day(whole, second, first)


def month(match: re.Match[str]) -> bool:
    """Not the verbs may, march or mar, and no number that has a unit."""
    name = match["m"].rstrip(".")
    if _UNIT.match(match.string, match.end("v")) and not re.search(
        r"\d{4}$|st$|nd$|rd$|"
        r"th$",
        match["v"],
    ):
        return False
    if name in (
        "may",
        "march",
        "mar",
        "dec",
        "sep",
        "jan",
        "jun",
        "oct",
        "feb",
        "apr",
        "aug",
        "jul",
    ):
        before = match.string[max(0, match.start("m") - 12) : match.start("m")].lower()
        ordinal = re.search(r"(?:st|nd|rd|th|eth)\b", match["v"]) is not None
        return (
            ordinal
            or re.search(
                r"\b(?:on|in|since|until|of|by|last|next|this past)[ "
                r"-]?$",
                before,
            )
            is not None
        )
    return True


def month_slash_day(match: re.Match[str]) -> bool:
    """A month and a day, no score out of ten or five, no fraction of a tablet."""
    if int(match["b"]) in (10, 5) and re.search(
        r"(?i)pain|scale|score|strength|rated|"
        r"rate",
        match.string,
    ):
        return False
    before = match.string[max(0, match.start("v") - 24) : match.start("v")].lower()
    weak = re.search(
        r"\b(?:from|to|between|and|by|around|before|after|results?|until|"
        r"of)\W*$",
        before,
    )
    if weak and (int(match["b"]) <= 10 or int(match["a"]) == int(match["b"])):
        return False
    return not unit_follows(match) and checksums.is_day(2000, int(match["a"]), int(match["b"]))


def year_month(match: re.Match[str]) -> bool:
    """Not a span of two years: 2009-10."""
    return int(match["a"]) != (int(match["c"]) + 1) % 100


def ordinal(match: re.Match[str]) -> bool:
    """A day of the month: a spelled one only above the third, so that no list is taken for it."""
    return match["v"].lower() not in ("first", "second", "third", "1st", "2nd", "3rd") or (
        "month" in match.string[match.end() : match.end() + 22]
    )


def not_temperature(match: re.Match[str]) -> bool:
    """No T or temp before the number."""
    return not re.search(
        r"(?i)\b(?:t|temp|temperature|tmax)\W*(?:of|is|"
        r"was)?\W*$",
        match.string[max(0, match.start() - 24) : match.start()],
    )


DATE_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (numeric_day, month, month_slash_day, year_month, ordinal, not_temperature)
}
