"""Word lists of names and places, and what a word or a run of words can be a name of."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib import resources

from catalog.deid.people_words import VERB_WORDS

_SPECIAL = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u02bc\u00b4`", "'"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f\u3000", " "),
    **dict(zip("øØłŁđĐðÐþÞßæÆœŒı", "oOlLdDdDtTsaAoOi", strict=True)),
    "\uff20": "@",
    "\uff0e": ".",
    "\uff0f": "/",
    "\uff1a": ":",
}


def _folding() -> dict[int, str]:
    table = {ord(sign): plain for sign, plain in _SPECIAL.items()}
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00), *range(0xFF10, 0xFF5B)):
        plain = unicodedata.normalize("NFKD", chr(code))[0]
        if plain.isascii() and plain.isalnum():
            table.setdefault(code, plain)
    return table


_FOLDING = _folding()


def fold(text: str) -> str:
    r"""The text without accents, typographic dashes, quotes and spaces; never longer or shorter.

    >>> fold("Jos\u00e9 O\u2019Brien, 555\u20130100")
    "Jose O'Brien, 555-0100"
    """
    return text if text.isascii() else text.translate(_FOLDING)


@cache
def words(name: str) -> frozenset[str]:
    """The words of `<name>.txt` beside this file: lower case, folded; lines with # are comments."""
    text = resources.files("catalog.deid").joinpath(f"{name}.txt").read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(word for line in lines for word in fold(line).lower().split())


@cache
def cities(*, needs_context: bool) -> frozenset[str]:
    """Names of cities, lower case, in plain spelling; those that are other words too are apart."""
    text = resources.files("catalog.deid").joinpath("cities.txt").read_text("utf-8")
    sign = "?" if needs_context else "!"
    lines = (line[1:] for line in text.splitlines() if line.startswith(sign))
    return frozenset(word.replace("_", " ") for line in lines for word in line.split())


@cache
def regions() -> frozenset[str]:
    """States, countries and larger regions, lower case, in plain spelling: no identifiers."""
    return frozenset(word.replace("_", " ") for word in words("regions"))


def is_region(phrase: str) -> bool:
    """The phrase is a state, a country or a larger region: `Costa Rica`."""
    return phrase.lower() in regions()


@cache
def organisations() -> frozenset[str]:
    """Hospitals and firms that bear the name of a person, lower case, in plain spelling."""
    return frozenset(word.replace("_", " ") for word in words("organisations"))


@cache
def _organisations_by_word() -> dict[str, tuple[str, ...]]:
    by_word: dict[str, tuple[str, ...]] = {}
    for organisation in organisations():
        for word in organisation.split(" "):
            by_word[word] = (*by_word.get(word, ()), organisation)
    return by_word


def is_organisation(text: str, word: str, end: int) -> bool:
    """The word that ends here belongs to a hospital or a firm of the lists: `Mayo Clinic`."""
    around = text[max(0, end - 24) : end + 16].lower()
    return any(name in around for name in _organisations_by_word().get(word.lower(), ()))


def _parts(word: str) -> list[str]:
    """The word as the lists write it; of `Jean-Luc` each part too, of `long-term` none."""
    low = word.lower()
    bare = low[:-2] if low.endswith("'s") else low
    if "-" not in bare:
        return [bare, bare.replace("'", "")] if "'" in bare else [bare]
    parts = bare.split("-")
    is_of_words = any(_is_no_name(part) for part in parts)
    return [bare, bare.replace("'", "")] if is_of_words else [bare, bare.replace("'", ""), *parts]


def _is_no_name(part: str) -> bool:
    is_word = part in words("common_words") or part in words("lower_case_words")
    return is_word and part not in words("given_names") and part not in words("surnames")


@cache
def _unmistakable(name: str) -> frozenset[str]:
    return words(name) - words("ambiguous") - words("common_words")


def is_given(word: str) -> bool:
    """The word can be a given name, possibly among other things."""
    return any(part in words("given_names") for part in _parts(word))


def is_surname(word: str) -> bool:
    """The word can be a family name, possibly among other things."""
    if _FAMILY_ENDING.match(word):
        return True
    return any(part in words("surnames") for part in _parts(word))


def is_only_given(word: str) -> bool:
    """The word is a given name and, as far as the lists know, nothing else.

    >>> is_only_given("Maria"), is_only_given("Will"), is_only_given("Florence")
    (True, False, False)
    """
    return any(part in _unmistakable("given_names") for part in _parts(word))


_FAMILY_ENDING = re.compile(
    r"(?i)^[a-z]{3,}(?:[^n]ova|[^l]eva|[ao]vic|evic|ovich|evich|dottir|enko|czyk|wicz|owski|"
    r"ewski|inski|"
    r"ovska|insky|opoulos|idis|akis|shvili|sson|ssen|nsen|nssen|quist|qvist|lund|owska|ewska|"
    r"ckova)$"
)


def is_only_surname(word: str) -> bool:
    """The word is a family name and, as far as the lists know, nothing else.

    >>> is_only_surname("Okonkwo"), is_only_surname("Parkinson"), is_only_surname("Bell")
    (True, False, False)
    """
    if _FAMILY_ENDING.match(word) and not is_ambiguous(word):
        return True
    return any(part in _unmistakable("surnames") for part in _parts(word))


def is_common(word: str) -> bool:
    """The word is a role, place of care, term of medicine, month or sentence opener."""
    low = word.lower()
    bare = low[:-2] if low.endswith("'s") else low.rstrip(".'")
    return bare in words("common_words") or low in words("common_words")


def is_ambiguous(word: str) -> bool:
    """The word is in the list of names that are also something else."""
    return word.lower() in words("ambiguous")


_VERBS = frozenset(VERB_WORDS)
_NEXT = re.compile(
    r"(?:'s?|s')?(?:[ /-]+(?:(?:and|or) [A-Za-z][a-z]+ )?([A-Za-z][A-Za-z0-9'-]*))?(?: ([a-z]+))?"
)


def is_eponym(text: str, end: int, *, lists: tuple[str, ...] = ("eponym_nouns",)) -> bool:
    """What follows makes the word before `end` an eponym: `Bell's palsy`.

    >>> is_eponym("Bell's palsy", 4), is_eponym("Bell came in", 4)
    (True, False)
    """
    match = _NEXT.match(text, end)
    if match is None:
        return False
    following = [(match.group(1) or "").lower()]
    if following[0] not in words("common_words") and following[0] not in _VERBS:
        following.append((match.group(2) or "").lower())
    return any(word in words(name) for name in lists for word in following if word)


def _city_key(phrase: str) -> str:
    """The phrase as the lists write it: `St Louis.` is st. louis."""
    low = re.sub(r"\s+", " ", phrase.lower()).rstrip(".,;:")
    return re.sub(r"\b(st|ft|mt)\b\.?", _spell, low)


def _spell(match: re.Match[str]) -> str:
    return {"st": "st.", "ft": "fort", "mt": "mount"}[match[1]]


def is_city(phrase: str) -> bool:
    """The phrase is a city of the lists, whatever else it may be.

    >>> is_city("Sacramento."), is_city("St Louis"), is_city("Ft. Worth"), is_city("Harrowgate")
    (True, True, True, False)
    """
    low = _city_key(phrase)
    return low in cities(needs_context=False) or low in cities(needs_context=True)


def is_only_city(phrase: str) -> bool:
    """The phrase is a city and, as far as the lists know, nothing else."""
    return _city_key(phrase) in cities(needs_context=False)
