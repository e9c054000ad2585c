"""Checks that a match of a rule for dates must pass; and whether a unit follows a number."""

from __future__ import annotations

import re

from catalog.deid.rule import Check, words_of
from catalog.deid.validators import checksums

_UNIT = re.compile(
    r"\s?(?:mg|mcg|ml|cc|g|kg|lbs?|pounds|mm|cm|inch|units?|percent|%|minutes?|mins?|hours?|days?|"
    r"weeks?|months|times|degrees|feet|tablets?|tabs?|doses?|mmhg|bpm|meq|reps|sets|pack|ppd|pain|"
    r"scale|strength|normal|murmur|systolic|people|patients|members|steps|beats|strips|refills|"
    r"calories|ohm|ohms|hz|cigarettes|years?|copies|cells|reads|iu|mcl|kcal|mosm|mmol|ng|pg|pack)\b",
    re.IGNORECASE,
)


def unit_follows(match: re.Match[str]) -> bool:
    """A unit of measure stands behind the value, which then is a quantity."""
    return _UNIT.match(match.string, match.end("v")) is not None


_DAY_COMES = re.compile(
    r"(?i)\b(?:on|since|dob|dates?|dated|doa|dos|seen|admitted|discharged|until|birth|born)\W*$"
)
_SCORE = re.compile(
    r"(?i)\b(?:scores?|scored|scale|gcs|mmse|moca|phq|gad|nodes?|index|points?|questions|visits|"
    r"sessions|strength|pain|murmur|reflexes|pulses|apgars?|vision|acuity|grade|stage|cores?|"
    r"teeth|slums|audit|braden|rated?)\b"
)
_PARTS = re.compile(
    r"(?i) (?:\w+ ){0,2}?(?:nodes?|cores?|positive|negative|cups?|tablets?|tabs?|to trauma|"
    r"strength|points|hours?|days?|weeks?|visits|sessions|murmur|pain|of the|levels?|segments)\b"
)


def _before(match: re.Match[str], count: int) -> str:
    return match.string[max(0, match.start("v") - count) : match.start("v")]


_OTHER_WORDS = frozenset(words_of("may march mar dec sep jan jun oct feb apr aug jul"))
_NO_WORDS = frozenset(words_of("jan feb apr jun jul aug"))  # short months that are nothing else
_FULL_DATE = re.compile(
    r"\d{1,2}(?:st|nd|rd|th)?,?(?: of)?[ -](?:18|19|20)\d\d$|^\d{1,2}[ -].*[ -](?:18|19|20)\d\d$"
)
_SUBJECT = re.compile(
    r"\b(?:he|she|it|they|you|we|i|who|that|which|this|patient|pt|these|those|and|or|to|not|a|the|"
    r"of|with|for|had|has|is|was|their|his|her|my|your|macular|repeat)\s*$"
)
_MONTH_COMES = re.compile(
    r"(?:\b(?:on|in|since|until|of|by|last|next|this past|started|stopped|seen|admitted|dob|dated?|"
    r"discharged|vaccinated|appointment|surgery|visit|born)|\b[a-z]{3,9}[/&])[ :-]{0,2}$"
)


def numeric_day(match: re.Match[str]) -> bool:
    """Month and day in either order make a day of the calendar; short forms look like one."""
    first, second, year = int(match["a"]), int(match["b"]), match["c"]
    short = len(year) == 2
    if short and match["s"] != "/":
        padded = len(match["a"]) == 2 and len(match["b"]) == 2
        if unit_follows(match) or not (padded or _DAY_COMES.search(_before(match, 24))):
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
    name = name.lower() if name in ("MAY", "MARCH") else name
    if name not in _OTHER_WORDS or name in _NO_WORDS:
        return True
    if _FULL_DATE.search(match["v"]) or re.search(r"(?:st|nd|rd|th|eth)\b", match["v"]):
        return True
    before = match.string[max(0, match.start("m") - 16) : match.start("m")].lower()
    if re.search(r"(?<! in )(?:18|19|20)\d\d$", match["v"]):
        return match["m"].endswith(".") or _SUBJECT.search(before) is None
    return _MONTH_COMES.search(before) is not None


def month_slash_day(match: re.Match[str]) -> bool:
    """A month and a day, no score out of ten or five, no fraction of a tablet."""
    near = match.string[max(0, match.start() - 60) : match.end() + 60]
    if int(match["b"]) in (10, 5) and re.search(r"(?i)pain|scale|score|strength|rated|rate", near):
        return False
    before = match.string[max(0, match.start("v") - 24) : match.start("v")].lower()
    weak = re.search(
        r"\b(?:from|to|between|and|by|around|before|after|results?|until|"
        r"of)\W*$",
        before,
    )
    if weak and (int(match["b"]) <= 10 or int(match["a"]) == int(match["b"])):
        return False
    if _PARTS.match(match.string, match.end("v")):
        return False
    return not unit_follows(match) and checksums.is_day(2000, int(match["a"]), int(match["b"]))


def slash_alone(match: re.Match[str]) -> bool:
    """A day that stands in brackets or at the head of a line, and no score or count of nodes."""
    if _SCORE.search(_before(match, 48)) or _PARTS.match(match.string, match.end("v")):
        return False
    return _SCORE.match(match.string, match.end("v") + 1) is None and month_slash_day(match)


def slash_range(match: re.Match[str]) -> bool:
    """Two days of one month or of two that follow each other; no two scores out of the same."""
    first, second = int(match["a"]), int(match["a2"])
    low, high = int(match["b"]), int(match["b2"])
    if low == high or max(low, high) < 7 or _SCORE.search(_before(match, 32)):
        return False
    is_later = high > low if first == second else (second - first) % 12 == 1
    return is_later and checksums.is_day(2000, first, low) and checksums.is_day(2000, second, high)


def spaced_day(match: re.Match[str]) -> bool:
    """A day of the calendar, and no quantity or score before or behind it."""
    is_spaced = re.search(r"\s", match["v"]) is not None
    if not is_spaced or unit_follows(match) or _SCORE.search(_before(match, 24)):
        return False
    year, first, second = int(match["c"]), int(match["a"]), int(match["b"])
    return checksums.is_day(year, first, second) or checksums.is_day(year, second, first)


def year_month(match: re.Match[str]) -> bool:
    """Not a span of two years: 2009-10."""
    return int(match["a"]) != (int(match["c"]) + 1) % 100


def ordinal(match: re.Match[str]) -> bool:
    """A day of the month: a spelled one only above the third, so that no list is taken for it."""
    return match["v"].lower() not in ("first", "second", "third", "1st", "2nd", "3rd") or (
        "month" in match.string[match.end() : match.end() + 22]
    )


_NO_AGE = re.compile(
    r"(?i)\b(?:temp|temperature|tmax|fever|febrile|afebrile|sats?|spo2|o2|oxygen|saturation|"
    r"room air|pulse|heart rate|hr|bp|pressure|systolic|sugars?|glucose|percent|degrees|weight|"
    r"weighs?|pounds|lbs|kilos|kg|score|rate)\b"
)


def age_of_person(match: re.Match[str]) -> bool:
    """`She is 98`, where nothing near speaks of fever, oxygen, pulse, weight or a score."""
    behind = re.split(r"[.,;!?)]", match.string[match.end("v") : match.end("v") + 32])[0]
    return not (_NO_AGE.search(_before(match, 40)) or _NO_AGE.search(behind))


def not_temperature(match: re.Match[str]) -> bool:
    """No T or temp before the number."""
    return not re.search(
        r"(?i)\b(?:t|temp|temperature|tmax)\W*(?:of|is|"
        r"was)?\W*$",
        match.string[max(0, match.start() - 24) : match.start()],
    )


DATE_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        *(numeric_day, month, month_slash_day, year_month, ordinal, not_temperature),
        *(slash_alone, slash_range, spaced_day, age_of_person),
    )
}
