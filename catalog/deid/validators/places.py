"""Checks that a match of a rule for places must pass: streets, towns, counties."""

from __future__ import annotations

import re
from collections.abc import Callable

from catalog.deid import gazetteer
from catalog.deid import lower_case as low
from catalog.deid.rule import Check, words_of
from catalog.deid.rules.places import STATE_NAMES
from catalog.deid.validators import checksums
from catalog.deid.validators.dates import unit_follows

_REGIONS = gazetteer.regions()
_CODE_WORDS = words_of("in or me ok hi id as al la de ma pa co oh mo")
_AFTER_TOWN = re.compile(
    r" ?(?:[.,;)\n]|$)| [A-Z]| (?:with|and|but|since|until|for|alone|by|on|at|his|her|their|"
    r"now|where|when|all)\b"
)


def address(match: re.Match[str]) -> bool:
    """A number and a street, and not a count of doctors."""
    return not re.search(r"\b(?:and|of|the) (?:Dr|St)\.?$", match["v"])


def address_lowercase(match: re.Match[str]) -> bool:
    """The words between number and street are no small words of a sentence."""
    middle = match["v"].split(" ")[1:-1]
    small = frozenset(
        words_of(
            "feet foot miles mile yards blocks steps minutes hours days weeks meters the a an of "
            "in on to for and or his her my their with from at down up by drive per year years "
            "times people units mg ml degrees day week month months cars old more over"
        )
    )
    return not small.intersection(middle)


def town_and_state(match: re.Match[str]) -> bool:
    """A town, and not a physician of Maryland or the next word of a sentence in capitals."""
    town, state = (part.strip() for part in match["v"].rsplit(",", 1))
    first = town.split(" ")[0]
    if gazetteer.is_common(first) and not gazetteer.is_city(town):
        return False
    if gazetteer.is_eponym(match.string, match.end("v")) and not gazetteer.is_city(town):
        return False
    if town.lower() in _REGIONS or town.split(" ")[-1].lower() in _REGIONS:
        return gazetteer.is_city(town)
    if len(state) == 2:
        return state not in ("MD", "PA", "DO", "OR", "MS", "MA", "OK", "HI") or gazetteer.is_city(
            town
        )
    return True


def state_zip(match: re.Match[str]) -> bool:
    """A state and five digits that are no quantity."""
    return not re.match(
        r"\.\d|,\d", match.string[match.end("v") : match.end("v") + 2]
    ) and not unit_follows(match)


def country_code(match: re.Match[str]) -> bool:
    """No year: `in Germany 1999`."""
    return not re.search(r" (?:18|19|20)[0-9]{2}$", match["v"]) and not unit_follows(match)


_OF_TOWNS = re.compile(
    r"(?i)\b(?:liv(?:es?|ed|ing)|work(?:s|ed|ing)?|plant|factory|office|clinic|hospital|school|"
    r"college|university|store|shop|restaurant|farm|mine|mill|house|home|apartment|facility|"
    r"church|prison|jail|job|born|raised|grew|moved|retired|resid\w+|travel\w*|visit\w*|stay\w*|"
    r"vacation\w*|drove|flew|accident|crash|fire|conference|wedding|teach\w*|stationed|"
    r"transferred|referred|family|sister|brother|son|daughter|parents|friends?|employed|"
    r"incarcerated|native|center|nursing|shelter|arrived|returned|returning|coming|came)\b"
)


def town(match: re.Match[str]) -> bool:
    """After `lives in`: a listed city, or a word that is no state, country, role or season."""
    name = match["v"]
    if gazetteer.is_city(name) or gazetteer.is_city(name.split(" ")[0]):
        return name.lower() not in _REGIONS
    if name.lower() in _REGIONS or name.split(" ")[0].lower() in _REGIONS:
        return False
    if name.split(" ")[-1].lower() in _REGIONS or any(map(gazetteer.is_common, name.split(" "))):
        return False
    place_verb = re.match(
        r"(?i)(?:live|living|resid|moved|relocat|born|native|original|grew|raised|city|town|"
        r"village|suburb|travel|trip|drove|hails|return|visit|vacation|emig|immig|hometown|place|"
        r"birthplace)",
        match.string[match.start() :],
    )
    return place_verb is not None and not gazetteer.is_eponym(match.string, match.end("v"))


def town_lowercase(match: re.Match[str]) -> bool:
    """A listed city in lower case."""
    if re.search(r"\b(?:new|north|south|east|west) $", match.string[: match.start("v")][-6:]):
        return False
    whole = re.split(r",|(?i:\b(?:" + STATE_NAMES + r")\b)", match["v"])[0].strip()
    words = whole.split(" ")
    options = {*(" ".join(words[:count]) for count in range(1, len(words) + 1)), words[-1]}
    options.add(" ".join(words[-2:]))
    if not _REGIONS.isdisjoint(options) or gazetteer.is_eponym(match.string, match.end("v")):
        return False
    return any(
        gazetteer.is_only_city(option) or ("," in match["v"] and gazetteer.is_city(option))
        for option in options
    )


def street_lowercase(match: re.Match[str]) -> bool:
    """A number, a name that is no quantity, and an abbreviated kind of street."""
    middle = match["v"].split(" ")[1:-1]
    terms = frozenset(
        words_of(
            "slice view phase contrast chest head ml mg mcg kg cm mm pm am units tabs tablets "
            "hours hrs days weeks months years yrs beats breaths percent visits pts patients "
            "doses drops"
        )
    )
    return address_lowercase(match) and not terms.intersection(middle)


def town_and_code_lowercase(match: re.Match[str]) -> bool:
    """A listed town and the code of a state; before a code that is a word too, nothing else."""
    town_, code = match["v"].rsplit(",", 1)
    words = town_.split(" ")
    options = (" ".join(words[-count:]) for count in range(1, len(words) + 1))
    is_town = gazetteer.is_only_city if code.strip() in _CODE_WORDS else gazetteer.is_city
    return any(is_town(option) for option in options)


def state_zip_lowercase(match: re.Match[str]) -> bool:
    """Codes that are words too (in, or, me) need a comma or a town before them."""
    is_word = match["v"][:2] in _CODE_WORDS
    before = match.string[: match.start("v")][-2:]
    return state_zip(match) and (not is_word or before == ", ")


def county_lowercase(match: re.Match[str]) -> bool:
    """A county, parish or township whose name is listed or no English word."""
    name = match["v"].split(" ")[-2]
    return low.is_name(name) or gazetteer.is_city(name) or low.is_unknown(name)


def town_after_living_lowercase(match: re.Match[str]) -> bool:
    """After `lives in` a listed city, or a word that is neither English nor a region."""
    words = [word.rstrip(".") for word in match["v"].split(" ")]
    options = {" ".join(words[:count]) for count in range(1, len(words) + 1)}
    if not _REGIONS.isdisjoint(options):
        return False
    if any(gazetteer.is_city(option) for option in options):
        return True
    first = words[0]
    is_home = (
        re.match(r"(?:liv|resid|mov|reloc|born|rais|grew|nat|stay|orig)", match[0]) is not None
    )
    rest = match.string[match.start("v") + len(first) :]
    ends = _AFTER_TOWN.match(rest) is not None and not re.search(r" to \S+$", match[0])
    return is_home and ends and len(first) > 4 and low.is_unknown(first)


def town_listed(match: re.Match[str]) -> bool:
    """Begins with a city that needs no context, and no criteria are named after it."""
    return _begins_with(match, gazetteer.is_only_city)


def town_in(match: re.Match[str]) -> bool:
    """Behind `in` or `near` any city of the lists, and no word of grammar, month or eponym."""
    name = match["v"].rstrip(".")
    if name.lower() in _REGIONS or gazetteer.is_common(name):
        return False
    if low.is_english(name.lower()) and not _lives_there(match):
        return False
    is_whole = gazetteer.is_city(name) and not gazetteer.is_eponym(match.string, match.end("v"))
    return is_whole or _begins_with(match, gazetteer.is_only_city)


def _lives_there(match: re.Match[str]) -> bool:
    """What people or houses do in a town stands before it, as in `works at a plant in Reading`."""
    sentence = re.split(r"[.!?\n]", match.string[max(0, match.start() - 80) : match.start()])[-1]
    is_near = match[0].lower().startswith(("near", "outside", "downtown"))
    return is_near or _OF_TOWNS.search(sentence) is not None


def _begins_with(match: re.Match[str], is_place: Callable[[str], bool]) -> bool:
    parts = match["v"].split(" ")
    for count in range(len(parts), 0, -1):
        name = " ".join(parts[:count])
        if is_place(name):
            end = match.start("v") + len(name.rstrip("."))
            last = name.rstrip(".").split(" ")[-1]
            is_firm = gazetteer.is_organisation(match.string, last, end)
            return not is_firm and not gazetteer.is_eponym(match.string, end)
    return False


def county(match: re.Match[str]) -> bool:
    """A county with a name of its own."""
    first = match["v"].split(" ")[0]
    if re.match(r"(?i)county|parish|township|precinct", first):
        return not gazetteer.is_common(match["v"].split(" ")[-1])
    return not gazetteer.is_common(first)


def coordinates(match: re.Match[str]) -> bool:
    """A latitude and a longitude."""
    numbers = re.findall(r"-?\d+\.\d+", match["v"])
    return len(numbers) != 2 or (abs(float(numbers[0])) <= 90 and abs(float(numbers[1])) <= 180)


PLACE_CHECKS: dict[str, Check] = {
    **{
        check.__name__: check
        for check in (
            *(address, address_lowercase, town_and_state, state_zip, country_code, town),
            *(
                town_lowercase,
                town_listed,
                town_in,
                town_after_living_lowercase,
                county,
                coordinates,
            ),
            *(street_lowercase, town_and_code_lowercase, state_zip_lowercase, county_lowercase),
        )
    },
    "zip3": lambda match: match["v"] in checksums.RESTRICTED_ZIP3,
}
