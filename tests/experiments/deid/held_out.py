"""A second generator of planted text, for the measurement only: no rule and no test is made of it.

Each text also stands in lower case, in capitals and wrapped, as dictation and exports write it.
"""

from __future__ import annotations

import re
import textwrap
import uuid
from collections.abc import Callable

import numpy as np

from tests.experiments.deid.planted import Planted, phrases_of, written
from tests.experiments.deid.plants import LETTERS, Rng, digits, letters, pick

FORMS = ("as written", "lower case", "capitals", "wrapped")
Maker = Callable[[Rng], tuple[str, str]]

_MONTHS = ("January", "February", "April", "June", "July", "September", "October", "November")
_ENDS = ("Road", "Lane", "Blvd", "Court", "Ave", "Drive", "St", "Terrace")
_STATES = ("RI", "PA", "CA", "CT", "MN", "FL", "LA", "MA", "NM", "TN", "WA", "WI", "TX", "AK")


def plant_held_out(kind: str, form: str, n: int, *, seed: int) -> list[Planted]:
    """`n` texts with one identifier of this kind each, in one of the `FORMS`."""
    rng = np.random.default_rng([seed, *kind.encode()])
    identifier, make = HELD_OUT[kind]
    rows = []
    for _ in range(n):
        carrier, value = make(rng)
        row = written(_phrases(), rng, identifier, carrier, value)
        rows.append(_in_form(row, form, int(rng.integers(20, 81))))
    return rows


def _phrases() -> dict[str, tuple[str, ...]]:
    return phrases_of("held_out")


def _in_form(row: Planted, form: str, width: int) -> Planted:
    """A text in another form, and where the identifier then stands."""
    if form == "lower case":
        return Planted(row.identifier, row.text.lower(), row.start, row.end)
    if form == "capitals":
        return Planted(row.identifier, row.text.upper(), row.start, row.end)
    if form == "as written":
        return row
    lines = row.text.splitlines()
    text = "\n".join(
        "\n".join(textwrap.wrap(line, width, break_long_words=False)) for line in lines
    )
    value = re.escape(row.text[row.start : row.end])
    pattern = re.sub(r"\\-", r"\\-\\s*", re.sub(r"(?:\\ )+", r"\\s+", value))
    places = list(re.finditer(pattern, text))
    place = min(places, key=lambda found: abs(found.start() - row.start))
    return Planted(row.identifier, text, place.start(), place.end())


def _named(heading: str) -> Maker:
    def make(rng: Rng) -> tuple[str, str]:
        first, last = pick(rng, _phrases()[heading]).split(" ", 1)
        carrier = pick(rng, _phrases()["name"])
        shown = re.search(r"\{.*\}", carrier)
        value = "" if shown is None else shown[0].format(f=first, l=last)
        return re.sub(r"\{.*\}", "{x}", carrier), value

    return make


def _in(heading: str, make: Callable[[Rng], str]) -> Maker:
    return lambda rng: (pick(rng, _phrases()[heading]), make(rng))


def _either(*makers: Maker) -> Maker:
    return lambda rng: pick(rng, makers)(rng)


def _place(rng: Rng) -> str:
    city, state = pick(rng, _phrases()["cities"]), pick(rng, _STATES)
    street = f"{int(rng.integers(3, 9800))} {pick(rng, _phrases()['streets'])} {pick(rng, _ENDS)}"
    forms = [city, f"{city}, {state}", f"{street}", f"{street}, {city}, {state} {digits(rng, 5)}"]
    return pick(rng, forms)


def _day(rng: Rng) -> str:
    month, day, year = (
        int(rng.integers(1, 13)),
        int(rng.integers(13, 29)),
        1990 + int(rng.integers(30)),
    )
    name = pick(rng, _MONTHS)
    short = name[:3]
    forms = [
        *(f"{month}/{day}/{year}", f"{month:02d}/{day}/{year % 100:02d}", f"{month}/{year}"),
        *(f"{year}-{month:02d}-{day}", f"{name} {day}, {year}", f"{name} {year}"),
        *(f"{short} {day}", f"{day} {short} {year}", f"{day}-{short}-{year}", f"{short}. {year}"),
        *(f"the {day}th of {name}", f"{day}.{month}.{year}", f"{year}{month:02d}{day}"),
        *(f"Q{1 + month % 4} {year}", f"{name} {day}th"),
    ]
    return pick(rng, forms)


def _age(rng: Rng) -> str:
    years = int(rng.integers(90, 105))
    sex = pick(rng, ["woman", "man", "female", "male"])
    return pick(
        rng, [f"{years}-year-old {sex}", f"{years} yo {sex}", f"{years} y/o", f"{years}y {sex}"]
    )


def _phone(rng: Rng) -> str:
    area, exchange, line = (
        digits(rng, 3, first="23456789"),
        digits(rng, 3, first="23456789"),
        digits(rng, 4),
    )
    forms = [
        *(f"({area}) {exchange}-{line}", f"{area}-{exchange}-{line}", f"{area}.{exchange}.{line}"),
        *(f"{area} {exchange} {line}", f"+1 {area} {exchange} {line}", f"{area} {exchange}-{line}"),
        f"{area}-{exchange}-{line} ext. {digits(rng, 3)}",
    ]
    return pick(rng, forms)


def _email(rng: Rng) -> str:
    first, last = pick(rng, _phrases()["names: English"]).lower().split(" ")
    user = pick(rng, [f"{first}.{last}", f"{last}{digits(rng, 2)}", f"{first[0]}-{last}"])
    return f"{user}@{pick(rng, ['example.com', 'mail.example.org', 'clinic.example.net'])}"


def _ssn(rng: Rng) -> str:
    area, group = f"{int(rng.integers(1, 600)):03d}", f"{int(rng.integers(1, 100)):02d}"
    return pick(rng, ["{}-{}-{}", "{} {} {}"]).format(
        area, group, digits(rng, 4, first="123456789")
    )


def _record(rng: Rng) -> str:
    forms = [
        digits(rng, 7),
        f"0{digits(rng, 7)}",
        digits(rng, 9),
        f"{letters(rng, 1)}{digits(rng, 7)}",
    ]
    return pick(rng, forms)


def _bare_record(rng: Rng) -> str:
    return pick(rng, [f"00{digits(rng, 6, first='123456789')}", digits(rng, 7, first="123456789")])


def _sample(rng: Rng) -> str:
    return f"{pick(rng, LETTERS)}{int(rng.integers(10, 26))}-{digits(rng, 5)}"


def _uid(rng: Rng) -> str:
    parts = ".".join(digits(rng, size, first="123456789") for size in (6, 1, 2, 4, 9, 3))
    return pick(rng, [f"1.2.840.{parts}", str(uuid.UUID(bytes=rng.bytes(16), version=4))])


HELD_OUT: dict[str, tuple[str, Maker]] = {
    "names, English": ("name", _named("names: English")),
    "names of other cultures": ("name", _named("names: other cultures")),
    "streets and towns": ("geography", _in("place", _place)),
    "dates": ("date_or_age", _in("date", _day)),
    "ages over 89": (
        "date_or_age",
        _either(
            _in("age over 89", _age),
            _in("age as a sentence", lambda rng: str(int(rng.integers(90, 105)))),
        ),
    ),
    "phones": ("phone", _in("phone", _phone)),
    "e-mail": ("email", _in("email", _email)),
    "SSN": ("ssn", _in("ssn", _ssn)),
    "records": ("", _either(_in("medical_record", _record), _in("bare record", _bare_record))),
    "accounts, plans, licences, devices": ("", _in("account", _record)),
    "samples, studies, UIDs": ("", _either(_in("unique_code", _sample), _in("uid", _uid))),
}
"""The row of the table and its Safe Harbor identifier: none where a rule of any code will do."""
