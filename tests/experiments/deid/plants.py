"""Invented identifiers in many surface formats, to measure the gate; knows nothing of its rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from catalog.deid.rule import words_of

Rng = np.random.Generator
T = TypeVar("T")

_MONTHS = words_of(
    "January February March April May June July August September October November December"
)
_CITIES = words_of(
    "Cleveland Toledo Spokane Tulsa Fresno Omaha Chattanooga Albany Dayton Peoria Tucson Lubbock "
    "Boise Savannah Macon Duluth Fargo Laredo Yakima Wausau Sheboygan Tonawanda Ypsilanti "
    "Pocatello "
    "Kalispell Owensboro Zanesville Chillicothe Natchitoches Okeechobee Willimantic Skowhegan "
    "Ticonderoga Brattleboro Opelousas Wetumpka Muscatine Ashtabula Leominster Pawcatuck "
    "Marseille Krakow Nairobi Guadalajara Manila Lahore Kingston Leeds Cork Porto Izmir Osaka"
)
_ROADS = (
    *("Maple", "Old Mill", "Cedar Grove", "Martin Luther King", "Lakeview", "N. Halsted", "Sunset"),
    *(
        "W 45th",
        "Chestnut",
        "Peach Orchard",
        "County Line",
        "Jefferson Davis",
        "St. Charles",
        "Elm",
    ),
    *("SE Division", "Wagon Wheel", "5th", "Monument", "Pinecrest", "Vanderbilt", "Huckleberry"),
)
_KINDS = words_of(
    "Street St St. Avenue Ave Ave. Road Rd Lane Ln Drive Dr Blvd Boulevard Court Ct Way Circle "
    "Terrace Place Parkway Pkwy Trail"
)
_STATES = words_of("OH CA TX NY WA FL GA MI PA MA MN OR AZ KY LA ME ID NC WI MD")
_STATE_NAMES = words_of(
    "Ohio California Texas Florida Georgia Michigan Minnesota Oregon Kentucky Maine"
)
_DOMAINS = words_of(
    "gmail.com yahoo.com outlook.com stmarys.org ucsf.edu nhs.uk web.de example.net aol.com"
)
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_UNITS = words_of("one two three four five six seven eight nine")


@cache
def person_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Given names and family names of the measurement."""
    text = (Path(__file__).parent / "planted_names.txt").read_text("utf-8")
    body = " ".join(line for line in text.splitlines() if not line.startswith("#"))
    given, family = body.split("=")
    return tuple(given.split()), tuple(family.split())


def pick(rng: Rng, options: Sequence[T]) -> T:
    """One of the options, uniformly."""
    return options[int(rng.integers(len(options)))]


def digits(rng: Rng, count: int, *, first: str = "0123456789") -> str:
    """A run of `count` digits, the first one of `first`."""
    return pick(rng, first) + "".join(str(d) for d in rng.integers(0, 10, count - 1))


def letters(rng: Rng, count: int) -> str:
    """A run of `count` capital letters."""
    return "".join(pick(rng, LETTERS) for _ in range(count))


def invented_word(rng: Rng) -> str:
    """A name that no list holds, made of syllables."""
    syllables = words_of(
        "ka ro vin tel ma sha dor ben qui lor zan mi feld ter bro ny sten ova wick ari"
    )
    return "".join(pick(rng, syllables) for _ in range(int(rng.integers(2, 4)))).capitalize()


def given_name(rng: Rng) -> str:
    """A given name, one in eight invented."""
    return invented_word(rng) if rng.random() < 0.125 else pick(rng, person_names()[0])


def family_name(rng: Rng) -> str:
    """A family name, one in eight invented."""
    return invented_word(rng) if rng.random() < 0.125 else pick(rng, person_names()[1])


def street(rng: Rng) -> str:
    """A street address, sometimes with a dwelling or a town."""
    number = str(int(rng.integers(2, 19999)))
    kind = pick(rng, _KINDS)
    tail = pick(
        rng,
        [
            "",
            "",
            "",
            f" Apt {int(rng.integers(1, 40))}{pick(rng, 'ABC')}",
            f", Unit {digits(rng, 3)}",
        ],
    )
    return f"{number} {pick(rng, _ROADS)} {kind}{tail}"


def place(rng: Rng) -> str:
    """A town with state, an address, a postal code or a county."""
    town, state = pick(rng, _CITIES), pick(rng, _STATES)
    zip5 = digits(rng, 5)
    forms: list[Callable[[], str]] = [
        lambda: street(rng),
        lambda: f"{street(rng)}, {town}, {state} {zip5}",
        lambda: f"{town}, {state}",
        lambda: f"{town}, {pick(rng, _STATE_NAMES)}",
        lambda: f"{town}, {state} {zip5}",
        lambda: f"{state} {zip5}-{digits(rng, 4)}",
        lambda: (
            f"{pick(rng, ['Wayne', 'Cuyahoga', 'Harris', 'Orange', 'San Mateo', 'Oconee'])} County"
        ),
        lambda: f"PO Box {digits(rng, 4, first='123456789')}",
    ]
    return pick(rng, forms)()


def day(rng: Rng) -> str:
    """A date finer than a year."""
    year, m, d = int(rng.integers(1931, 2025)), int(rng.integers(1, 13)), int(rng.integers(1, 29))
    name = _MONTHS[m - 1]
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(d % 10 if d not in (11, 12, 13) else 0, "th")
    forms = [
        f"{m}/{d}/{year}", f"{m:02d}/{d:02d}/{year}", f"{m}/{d}/{year % 100:02d}",
        f"{m:02d}-{d:02d}-{year}", f"{year}-{m:02d}-{d:02d}", f"{d:02d}.{m:02d}.{year}",
        f"{name} {d}, {year}", f"{name} {d}", f"{name} {d}{suffix}", f"{d} {name} {year}",
        f"{name[:3]} {d}, "
        f"{year}", f"{d:02d}-{name[:3].upper()}-{year}", f"{d}{name[:3].upper()}{year}",
        f"{name} {year}", f"{name} of {year}", f"the {d}{suffix} of {name}", f"{m:02d}/{year}",
        f"{year}/{m:02d}/{d:02d}", f"{name[:3]}. {d}, '{year % 100:02d}", f"{year}{m:02d}{d:02d}",
        f"{year}-{m:02d}-{d:02d}T08:15", f"{name.upper()} {d}, {year}", f"{m}-{d}-{year}",
        f"{d} {name[:3]} {year % 100:02d}",
    ]  # fmt: skip
    return pick(rng, forms)


def age(rng: Rng) -> str:
    """An age over 89 in the words of a note."""
    years = int(rng.integers(90, 108))
    spoken = f"ninety-{pick(rng, _UNITS)}"
    forms = [
        f"{years}-year-old", f"{years} year old", f"{years} y/o", f"{years}yo", f"{years} y.o.",
        f"{years} years old", f"{years} years of age", f"aged {years}", f"age {years}",
        f"{spoken}-year-old", f"{spoken.replace('-', ' ')} years old", f"{years} yr old",
        f"{years}-yr-old", f"Age: {years}",
    ]  # fmt: skip
    return pick(rng, forms)


def phone(rng: Rng) -> str:
    """A telephone number of North America or elsewhere."""
    area, exchange, line = (
        digits(rng, 3, first="23456789"),
        digits(rng, 3, first="23456789"),
        digits(rng, 4),
    )
    forms = [
        f"{area}-{exchange}-{line}", f"({area}) {exchange}-{line}", f"{area}.{exchange}.{line}",
        f"{area} {exchange} {line}", f"+1 {area} {exchange} {line}", f"1-{area}-{exchange}-{line}",
        f"({area}){exchange}-{line}", f"{area}-{exchange}-{line} ext. {digits(rng, 3)}",
        f"{area}-{exchange}-{line} x{digits(rng, 4)}", f"+44 20 {digits(rng, 4)} {digits(rng, 4)}",
        f"+49 {digits(rng, 3, first='123456789')} {digits(rng, 7)}", f"{area}/{exchange}-{line}",
        f"{area}{exchange}{line}", f"{exchange}-{line}", f"+1-{area}-{exchange}-{line}",
    ]  # fmt: skip
    return pick(rng, forms)


def email(rng: Rng) -> str:
    """A mail address."""
    first, last = given_name(rng).lower(), family_name(rng).lower().replace("'", "")
    user = pick(
        rng, [f"{first}.{last}", f"{first[0]}{last}", f"{last}{digits(rng, 2)}", f"{first}_{last}"]
    )
    return f"{user}@{pick(rng, _DOMAINS)}"


def url(rng: Rng) -> str:
    """A web address."""
    name = family_name(rng).lower().replace("'", "")
    forms = [
        f"https://www.{name}.com",
        f"http://{name}family.org/photos",
        f"www.{name}-health.net",
        f"{name}.com/about",
        f"https://mychart.{name}.org/p?id={digits(rng, 5)}",
        f"caringbridge.org/visit/{name}",
        f"www.{name}.co.uk",
    ]
    return pick(rng, forms)
