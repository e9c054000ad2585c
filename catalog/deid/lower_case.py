"""Names in text that has no capitals, or nothing else: what a lower-case word can be."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from catalog.deid import gazetteer as lists
from catalog.deid.rule import words_of

LOW = r"[a-z](?:[a-z'-]*[a-z])"
"""A word in lower case, of two letters at least."""

LOW_NAMES = rf"{LOW}(?: (?:[a-z]\.? ){{0,2}}{LOW}){{0,3}}"
"""One to four such words, initials between them."""

_SHOUTED = re.compile(r"(?<![A-Za-z])[A-Z][A-Z'.-]*(?:[^A-Za-z]+[A-Z][A-Z'.-]*)+(?![A-Za-z])")
_LOWERING = {ord(letter): letter.lower() for letter in string.ascii_uppercase}
_LONG = re.compile(r"[A-Z]{2,}")
_TOKEN = re.compile(r"[a-z][a-z'-]*")
_ELIDED = re.compile(r"[a-z]{1,4}'[a-z]{3,}")
_PARTICLES = frozenset(
    words_of("van von de del della da dos di du bin ibn bint al el ter la le st der den los las")
)
_ENDINGS = ("s", "es", "d", "ed", "ly", "r", "er", "rs", "ers", "al", "n", "y", "est", "st")
_OF_TERMS = re.compile(
    r"(?:tions?|ments?|ness|ity|ous|ously|ables?|ibles?|ism|itis|osis|omas?|emia|pathy|pathic|"
    r"graphy|grams?|scopy|tomy|ology|ologists?|ological|algia|plasty|plegia|ical|ically|ings?|"
    r"ives?|ively|ances?|ences?|ency|ially|ational|sclerosis|mab|nib|pril|sartan|olol|statin|"
    r"azole|cillin|mycin|floxacin|idine|amine|azine|oxide|ide|itic|otic|uria|phobia|ed|ly)$"
)
_SAINT = re.compile(
    r"\b(?:st\.?|saint|mount|mt\.?|lake|fort|port|san|santa|camp|new|los|las|el)[ -]$"
)
_DISEASES = frozenset(
    words_of(
        "syndrome disease dystrophy anemia dysplasia disorder ataxia dwarfism anomaly "
        "institute hospital university"
    )
)
_CLAUSE = re.compile(r"[.,;:(\n]")
_KINDS = ("eponym_nouns", "institutions")
_NEVER = frozenset(
    words_of(
        "will may can might must shall would could should did does has had have is are was were be "
        "been am do not no to of in on at by for with from and or but if so as that this these "
        "those there here he she they we you it his her their our your my who what when where why "
        "how up out off all any some more most much just very too also then than now him them us "
        "said says see sees saw seen call called days week weeks time back ok "
        "okay yes oh please thank thanks want wants ask asked tell told go going gone get gets got "
        "make made let lets if about into over one two three"
    )
)


@dataclass(frozen=True)
class LowWord:
    """A word of a match and where it ends in the text."""

    word: str
    start: int
    end: int


def lower_shouted_text(text: str) -> str:
    """The text with its shouted passages in lower case; other capitals stay, no place moves.

    >>> lower_shouted_text("NOTE: PT HEATHER SIMMONS SEEN. Stable, CHF.")
    'note: pt heather simmons seen. Stable, CHF.'
    """
    return _SHOUTED.sub(_lowered, text)


def _lowered(match: re.Match[str]) -> str:
    run = match[0]
    return run.translate(_LOWERING) if len(_LONG.findall(run)) > 1 else run


@cache
def _listed() -> frozenset[str]:
    return lists.words("given_names") | lists.words("surnames")


@cache
def sure_names() -> frozenset[str]:
    """Names that are nothing else in lower case either, four letters long at least."""
    other = lists.words("ambiguous") | lists.words("common_words") | lists.words("lower_case_words")
    return frozenset(name for name in names_in_context() - other if len(name) > 3)


@cache
def parts(names: frozenset[str]) -> tuple[str, ...]:
    """What a text must hold of a name to be searched for it: `ji-hoon`, `o'malley`."""
    other = lists.words("common_words") | lists.words("lower_case_words") | _NEVER
    runs = {part for name in names for part in re.findall("[a-z]+", name)}
    runs |= {name[1:] for name in names if name[0] in "od" and len(name) > 5}
    return tuple(sorted(run for run in runs - other if len(run) > 1))


@cache
def given_without_word() -> frozenset[str]:
    """Given names that eponyms, places or products bear as well, and that are no English words."""
    other = lists.words("common_words") | lists.words("lower_case_words") | lists.regions()
    eponyms = lists.words("surnames") & lists.words("ambiguous")
    names = lists.words("given_names") - other - eponyms
    return frozenset(name for name in names if len(name) > 3 and not lists.is_city(name))


@cache
def names_in_context() -> frozenset[str]:
    """All names of the lists that are no English words."""
    other = lists.words("common_words") | lists.words("lower_case_words")
    return frozenset(name for name in _listed() - other if name.removesuffix("s") not in other)


def _bare(word: str) -> str:
    return (word[:-2] if word.endswith("'s") else word).strip("'-")


def is_sure(word: str) -> bool:
    """A name and, as far as the lists know, nothing else.

    >>> is_sure("okonkwo"), is_sure("wilson"), is_sure("mark"), is_sure("o'malley")
    (True, False, False, True)
    """
    bare = _bare(word)
    if bare in sure_names() or bare.replace("'", "") in sure_names():
        return True
    return "-" in bare and all(part in sure_names() for part in bare.split("-"))


def is_name(word: str) -> bool:
    """A name of the lists that is no English word.

    >>> is_name("robert"), is_name("mark"), is_name("lee")
    (True, False, True)
    """
    bare = _bare(word)
    if is_never(bare):
        return False
    return is_sure(word) or bare in names_in_context()


def is_listed(word: str) -> bool:
    """A name of the lists, whatever else it is, unless it is one of the smallest words."""
    bare = _bare(word)
    return not is_never(bare) and (is_sure(word) or bare in _listed())


def is_never(word: str) -> bool:
    """A word of grammar: `dr may want to`."""
    return word in _NEVER


def is_given(word: str) -> bool:
    """A given name of the lists that is no word of grammar."""
    return not is_never(_bare(word)) and lists.is_given(word)


@cache
def _is_english(word: str) -> bool:
    pool = lists.words("lower_case_words")
    if word in pool or lists.is_common(word) or word in _NEVER:
        return True
    if len(word) > 5 and _OF_TERMS.search(word):
        return True
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if len(stem) > 2 and stem != word and (stem in pool or lists.is_common(stem)):
            return True
    return word.endswith(("ied", "ies")) and word[:-3] + "y" in pool


def is_english(word: str) -> bool:
    """An English or medical word, with or without an ending.

    >>> is_english("tolerated"), is_english("nephropathy"), is_english("zorvin")
    (True, True, False)
    """
    return _is_english(_bare(word))


def is_unknown(word: str) -> bool:
    """Neither in the lists of names nor a word that clinical text holds: a name in some places."""
    bare = _bare(word)
    is_contracted = "'" in bare and not _ELIDED.match(bare)
    return len(bare) > 2 and not is_contracted and not is_english(bare)


def read_low(match: re.Match[str]) -> tuple[LowWord, ...]:
    """The words of a value up to the first that is no name; initials and particles left out.

    The first word stands whatever it is, for what comes before it may tell that it is a name.
    """
    words: list[LowWord] = []
    for token in _TOKEN.finditer(match.string, match.start("v"), match.end("v")):
        word = token[0]
        if len(word) < 2 or (word in _PARTICLES and token.end() < match.end("v")):
            continue
        is_family = len(words) == 1 and is_listed(word) and is_name(words[0].word)
        if words and is_english(word) and not (is_name(word) or is_family):
            break
        words.append(LowWord(word, token.start(), token.end() - 2 * word.endswith("'s")))
    return tuple(words)


def is_of_disease(text: str, words: tuple[LowWord, ...]) -> bool:
    """What stands around makes it an eponym: `williams syndrome`, `robert wood johnson`."""
    start, end = words[0].start, words[-1].end
    if text[start - 1 : start] == "-" or text[end : end + 1] == "-":
        return True
    if _SAINT.search(text, max(0, start - 8), start) or lists.is_organisation(
        text, words[-1].word, end
    ):
        return True
    if lists.is_region(" ".join(_TOKEN.findall(text[start : end + 24])[:2])):
        return True
    following = _TOKEN.findall(_CLAUSE.split(text[end : end + 48])[0])[:4]
    if not _DISEASES.isdisjoint(following):
        return True
    if lists.is_eponym(text, end, lists=_KINDS):
        return True
    return any(
        not is_listed(after.word) and lists.is_eponym(text, word.end, lists=_KINDS)
        for word, after in pairwise(words)
    )
