"""Clinical sentences with one planted identifier each, from a seed; knows nothing of the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from tests.experiments.deid import plants, plants_numbers
from tests.experiments.deid.plants import Rng, pick

Maker = Callable[[Rng], tuple[str, str]]
Phrases = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Planted:
    """A text and where in it the identifier of this kind stands."""

    identifier: str
    text: str
    start: int
    end: int


def plant(kind: str, n: int, *, seed: int) -> list[Planted]:
    """`n` clinical texts with one planted identifier of this kind each; a function of the seed."""
    rng = np.random.default_rng([seed, *kind.encode()])
    identifier, make = KINDS[kind]
    return [written(_phrases(), rng, identifier, *make(rng)) for _ in range(n)]


def plant_values(kind: str, values: Sequence[str], *, seed: int) -> list[Planted]:
    """One clinical text for each of these values of a kind; a name is split at its last space."""
    rng = np.random.default_rng([seed, *kind.encode()])
    identifier, make = KINDS[kind]
    texts = []
    for value in values:
        if kind == "name":
            carrier, shown = _named(rng, *value.rsplit(" ", 1))
        else:
            carrier, shown = make(rng)[0], value
        texts.append(written(_phrases(), rng, identifier, carrier, shown))
    return texts


@cache
def phrases_of(name: str) -> dict[str, tuple[str, ...]]:
    """The phrases of `<name>.txt` beside this file by heading; lines with # are comments."""
    text = (Path(__file__).parent / f"{name}.txt").read_text("utf-8")
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("["):
            heading = line.strip("[]")
        elif line and not line.startswith("# "):
            found.setdefault(heading, []).append("" if line == "." else line.replace("\\n", "\n"))
    return {name: tuple(lines) for name, lines in found.items()}


def _phrases() -> dict[str, tuple[str, ...]]:
    return phrases_of("planted_carriers")


def written(phrases: Phrases, rng: Rng, identifier: str, carrier: str, value: str) -> Planted:
    """The value in its carrier, with a phrase before and one behind."""
    parts = (pick(rng, phrases["before"]), carrier, pick(rng, phrases["after"]))
    whole = " ".join(part for part in parts if part).replace("\n ", "\n").replace(" \n", "\n")
    head, tail = whole.split("{x}")
    return Planted(identifier, head + value + tail, len(head), len(head) + len(value))


def _name(rng: Rng) -> tuple[str, str]:
    return _named(rng, plants.given_name(rng), plants.family_name(rng))


def _named(rng: Rng, first: str, last: str) -> tuple[str, str]:
    """A carrier and what stands in it of this person's name."""
    carrier = pick(rng, _phrases()["name"])
    parts = {"first": first, "last": last, "i": plants.letters(rng, 1)}
    parts |= {"FIRST": first.upper(), "LAST": last.upper()}
    start = min(carrier.find("{" + key) for key in parts if "{" + key in carrier)
    end = max(carrier.rfind(key + "}") + len(key) + 1 for key in parts if key + "}" in carrier)
    return f"{carrier[:start]}{{x}}{carrier[end:]}", carrier[start:end].format(**parts)


def _in(kind: str, make: Callable[[Rng], str]) -> Maker:
    return lambda rng: (pick(rng, _phrases()[kind]), make(rng))


def _listed(rng: Rng, *, kind: str) -> tuple[str, str]:
    return pick(rng, _phrases()[kind]), pick(rng, _phrases()[f"{kind} values"])


def _coded(kind: str, bare: str, make: Callable[[Rng], tuple[str, bool]]) -> Maker:
    def planted(rng: Rng) -> tuple[str, str]:
        value, is_self_evident = make(rng)
        is_bare = is_self_evident and rng.random() < 0.5
        return pick(rng, _phrases()[bare if is_bare else kind]), value

    return planted


def _vehicle(rng: Rng) -> tuple[str, str]:
    if rng.random() < 0.5:
        return pick(rng, _phrases()["vin"]), plants_numbers.vin(rng)
    return pick(rng, _phrases()["plate"]), plants_numbers.plate(rng)


KINDS: dict[str, tuple[str, Maker]] = {
    "name": ("name", _name),
    "geography": ("geography", _in("geography", plants.place)),
    "date": ("date_or_age", _in("date", plants.day)),
    "age over 89": ("date_or_age", _in("age over 89", plants.age)),
    "phone": ("phone", _in("phone", plants.phone)),
    "fax": ("fax", _in("fax", plants.phone)),
    "email": ("email", _in("email", plants.email)),
    "ssn": ("ssn", _in("ssn", plants_numbers.ssn)),
    "medical_record": ("medical_record", _in("medical_record", plants_numbers.record_number)),
    "health_plan": ("health_plan", _in("health_plan", plants_numbers.plan_number)),
    "account": ("account", _coded("account", "card", plants_numbers.account)),
    "licence": ("licence", _in("licence", plants_numbers.licence)),
    "vehicle": ("vehicle", _vehicle),
    "device": ("device", _in("device", plants_numbers.serial)),
    "url": ("url", _in("url", plants.url)),
    "ip_address": ("ip_address", _in("ip_address", plants_numbers.ip_address)),
    "biometric": ("biometric", partial(_listed, kind="biometric")),
    "photograph": ("photograph", partial(_listed, kind="photograph")),
    "unique_code": ("unique_code", _coded("unique_code", "bare code", plants_numbers.unique_code)),
}
"""What is planted: the row of the report, the Safe Harbor identifier, and how it is made."""
