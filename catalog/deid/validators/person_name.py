"""What a run of words can be of a person's name: its words, a full name, an eponym."""

from __future__ import annotations

import re
from dataclasses import dataclass

from catalog.deid import gazetteer as lists
from catalog.deid import lower_case as low
from catalog.deid.rule import words_of

WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_PARTICLES = frozenset(
    words_of(
        "van von de del della da dos di bin ibn al el ter la le st der den los las dela delos "
        "abu bint zu du"
    )
)


_COMMON_NAMES = frozenset(
    words_of(
        "april august autumn black braden day english french german good jan june long may summer "
        "west white will young"
    )
)
_ROLES = frozenset(
    words_of(
        "child childs person gang crew house home case ward son bone hand head heart chin shin "
        "colon skin stack"
    )
)
_PLACEHOLDERS = frozenset(words_of("doe lastname surname redacted anonymous deidentified"))


@dataclass(frozen=True)
class PersonName:
    """The words of a value that can be a name, and where in the text the last of them ends."""

    words: tuple[str, ...]
    first_end: int
    end: int


def read_name(match: re.Match[str]) -> PersonName:
    """The words up to the first that is never a name; initials and particles left out."""
    words: list[re.Match[str]] = []
    for word in WORD.finditer(match.string, match.start("v"), match.end("v")):
        if len(word[0]) < 2:
            continue
        is_family = bool(words) and len(word[0]) > 3 and lists.is_surname(word[0])
        is_word = word[0].isupper() and low.is_english(word[0].lower())
        if (
            lists.is_common(word[0]) or (is_word and not is_listed_word(word[0]))
        ) and not is_family:
            break
        words.append(word)
    kept = [word for word in words if word[0].lower() not in _PARTICLES] or words
    if not kept:
        return PersonName((), match.end("v"), match.end("v"))
    ends = [word.end() - 2 if word[0].endswith("'s") else word.end() for word in kept]
    return PersonName(tuple(word[0] for word in kept), ends[0], ends[-1])


def is_listed_word(word: str) -> bool:
    """Whether a word is a listed given name or family name."""
    return lists.is_given(word) or lists.is_surname(word)


def is_anyones(word: str) -> bool:
    """A listed name, whatever else it is, and no role, ward or word of grammar: `Young`, `Mark`."""
    low_word = word.lower()
    if lists.is_common(word) and low_word not in _COMMON_NAMES:
        return False
    return is_listed_word(word) and low_word not in _ROLES and len(word) > 2


def is_named(words: tuple[str, ...]) -> bool:
    """One word is a name and nothing else, or two are a given and a family name."""
    if any(lists.is_only_given(word) or lists.is_only_surname(word) for word in words):
        return True
    return len(words) > 1 and lists.is_given(words[0]) and lists.is_surname(words[-1])


def is_placeholder(word: str) -> bool:
    """What stands where a name was: two or three capitals, one letter over and over: `Dr. XXXX`."""
    if (len(set(word.lower())) == 1 and len(word) > 1) or word.lower() in _PLACEHOLDERS:
        return True
    return word.isupper() and len(word) < 4 and not (lists.is_given(word) or lists.is_surname(word))


def is_eponym(text: str, name: PersonName) -> bool:
    """What follows makes it one; after two words only in their case: `Jackson Pratt drain`."""
    kinds = ("eponym_nouns", "institutions")
    if not name.words:
        return False
    if lists.is_organisation(text, name.words[-1], name.end):
        return True
    if len(name.words) > 1:
        last = name.words[-1].lower()
        nouns = lists.words("eponym_nouns") | lists.words("institutions")
        if last in nouns and not lists.is_surname(last):
            return True
        if lists.is_region(" ".join(name.words[:2])):
            return True
        case = r"(?:'S)? [A-Z]{2}" if name.words[-1].isupper() else r"(?:'s)? [a-z]"
        lower = re.match(case, text[name.end : name.end + 5]) is not None
        first = lists.is_eponym(text, name.first_end, lists=("eponym_nouns",))
        return first or (lower and lists.is_eponym(text, name.end, lists=kinds))
    return lists.is_eponym(text, name.end, lists=kinds)
