"""Checks that a match of a lower-case rule for names must pass; the reader is `lower_case`."""

from __future__ import annotations

import re

from catalog.deid import gazetteer as lists
from catalog.deid import lower_case as low
from catalog.deid.people_words import ADDRESSED, RELATIVE_VERB, VERBS
from catalog.deid.person_acts import OF_FIRMS, act
from catalog.deid.rule import Check
from catalog.deid.validators.person_name import is_anyones, is_placeholder

_OWN_DOCTOR = re.compile(
    r"(?i)\b(?:your|my|our|his|her|their|the|a|an|every|any|another|which|new|other) $"
)
_ADDRESSED = re.compile(
    r"(?:\A|[.:?!\n]|\b(?:hello|hi|hey|morning|afternoon|evening|day|is|am|thanks|bye|"
    r"dear),?)(?: you)? ?$"
)
_SPOKEN = re.compile(r"(?:spo|speak|talk|discuss|met|cons|dictat|not|seeing|by|inform|visit)")
_SURELY = re.compile(r"was accompanied by (?:his|her)|has been (?:eating|walking|sleeping)")
_ADDRESSED_LOW = re.compile(rf"(?i:{ADDRESSED.format(name=low.LOW, end='')})")
_OPENING = re.compile(
    r"(?:\A|[.!?\n:;]|(?:\A|[.!?\n:;] ?)(?:on|in|at|after|before|per|during|by|since|last|upon)"
    r"(?: [a-z0-9]+){1,4},?|\b(?:overnight|afterwards?|yesterday|today|tonight|then|since|later|"
    r"currently|now|(?:this|that|yesterday|next) (?:morning|afternoon|evening|day)|on exam|on "
    r"rounds|at home|meanwhile|subsequently|initially|again|per report|per mother|per nursing),?)"
    r"\s*$"
)
_OF_THINGS = re.compile(
    r"(?:'s)? (?:remains?|is|was|will be|has been|had|should be|can be) (?:in place|in situ|intact|"
    r"patent|removed|placed|elevated|negative|positive|no growth|discontinued|taken out|pulled|"
    r"draining|clamped|flushed|replaced|inserted|changed|ordered|used)\b"
)
_VAGUE = frozenset(("reports", "reported", "presents", "presented"))
_AFTER_NAME = re.compile(rf" ?[,.!?]|{RELATIVE_VERB}| (?:{VERBS})")
_NOTICE = re.compile(r" (?:was )?(?:notified|paged|called|informed|aware|present|at bedside)\b")
_WEAK_LABEL = re.compile(
    r"(?i)\b(?:re|cc|assistant|mother|father|spouse|contact|operator|signed|assist|patient|pt|"
    r"client|provider|physician|surgeon|attending|pcp|interpreter|witness|author)\b\W*$"
)
_DIALOGUE = re.compile(r"(?i)(?:patient|pt|client|mother|father|spouse|physician|doctor)\W*$")


def titled_lowercase(match: re.Match[str]) -> bool:
    """After a title any word that is neither English nor of grammar; a family name of any sense."""
    words = low.read_low(match)
    if not words or is_placeholder(words[0].word):
        return False
    text, word = match.string, words[0].word
    title = match[0].split(" ")[0].rstrip(".").lower()
    if title.startswith("doctor") and "." in match.string[match.start() : match.start("v")]:
        return False
    if title == "miss" and not _ADDRESSED.search(text, max(0, match.start() - 12), match.start()):
        return low.is_name(word) and not low.is_of_disease(text, words[:1])
    if title[0] in "dp" and _OWN_DOCTOR.search(text, max(0, match.start() - 9), match.start()):
        return low.is_name(word) and not low.is_of_disease(text, words[:1])
    if lists.is_common(word) and not lists.is_surname(word):
        return False
    return low.is_listed(word) or low.is_unknown(word)


def greeted_lowercase(match: re.Match[str]) -> bool:
    """After hello a given name of any sense, after okay one that is no English word."""
    words = low.read_low(match)
    if not words:
        return False
    word = words[0].word
    opener = match.string[match.start() : match.start("v")].lower()
    if re.match(r"(?:hi|hello|hey|dear|morning|afternoon|evening|thanks|thank you,|meet)", opener):
        is_addressed = not opener.startswith("thank") or "," in opener
        return low.is_given(word) or low.is_name(word) or (is_addressed and low.is_unknown(word))
    return low.is_name(word)


def relative_lowercase(match: re.Match[str]) -> bool:
    """A listed name; before a verb or a comma any word that is no English one."""
    words = low.read_low(match)
    if not words or low.is_of_disease(match.string, words):
        return False
    word, text = words[0].word, match.string
    if low.is_name(word):
        return True
    is_followed = _AFTER_NAME.match(text, words[0].end) is not None or (
        low.is_unknown(word) and re.match(r" [a-z]{3,}(?:s|ed)\b", text[words[0].end :]) is not None
    )
    return is_followed and (low.is_unknown(word) or (low.is_given(word) and " is" not in match[0]))


def officer_lowercase(match: re.Match[str]) -> bool:
    """A listed name; any word that is no English one before `notified` or `at bedside`."""
    words = low.read_low(match)
    if not words or low.is_of_disease(match.string, words):
        return False
    if _names(words):
        return True
    is_notice = _NOTICE.match(match.string, words[-1].end) is not None
    return is_notice and (low.is_unknown(words[0].word) or low.is_listed(words[0].word))


def credentialed_lowercase(match: re.Match[str]) -> bool:
    """The last word before RN or MD is a listed name, or the last two are no English words."""
    last = [word for word in re.findall(low.LOW, match["v"])][-2:]
    is_after_given = len(last) > 1 and low.is_given(last[0]) and low.is_listed(last[1])
    if is_after_given:
        return True
    has_comma = "," in match.string[match.end("v") : match.end()]
    if lists.is_city(last[-1]) or (match[0].endswith("md") and not has_comma):
        return False
    return low.is_name(last[-1]) or (has_comma and all(map(low.is_unknown, last)))


def labelled_lowercase(match: re.Match[str]) -> bool:
    """After a label for names any words that are no English ones, after others listed names."""
    words = low.read_low(match)
    if not words or low.is_of_disease(match.string, words):
        return False
    before = match.string[max(0, match.start() - 3) : match.start("v")]
    head = match.string[max(0, match.start() - 3) : match.start()].rstrip(" ")
    if _DIALOGUE.search(before) and len(words) == 1:
        return low.is_name(words[0].word) and low.is_sure(words[0].word)
    if _WEAK_LABEL.search(before) or head[-1:].isalnum():
        return _names(words) or _full(words) or all(low.is_unknown(w.word) for w in words[:2])
    return low.is_listed(words[0].word) or low.is_unknown(words[0].word)


def listed_lowercase(match: re.Match[str]) -> bool:
    """A listed name, a given and a family name, or two words that are no English ones."""
    words = low.read_low(match)
    if not words or low.is_of_disease(match.string, words):
        return False
    two_unknown = len(words) > 1 and all(low.is_unknown(word.word) for word in words[:2])
    is_spoken = _SPOKEN.match(match[0].lower()) is not None or " by " in match[0].lower()
    address = _ADDRESSED_LOW.match(match.string, match.start())
    if address is not None and words[0].word in address.groups() and is_anyones(words[0].word):
        return not low.is_never(words[0].word)
    return _names(words) or _full(words) or (two_unknown and is_spoken)


def named_lowercase(match: re.Match[str]) -> bool:
    """After `my name is` any word that is no English one; after `this is` listed names."""
    words = low.read_low(match)
    if not words or low.is_of_disease(match.string, words):
        return False
    opener = match.string[match.start() : match.start("v")].lower()
    if re.match(r"(?:my name|name is|names are|goes by|nick|maiden|last name|first name)", opener):
        return low.is_given(words[0].word) or low.is_unknown(words[0].word)
    return _names(words[:2]) or _full(words)


def aged_lowercase(match: re.Match[str]) -> bool:
    """Who is 54 years old, and is called by no role: the last word of the two or both."""
    words = re.findall(low.LOW, match["v"])
    last = words[-1]
    is_told = re.match(r",?(?: who)? (?:is|was) ", match.string[match.end("v") :]) is not None
    if low.is_name(last) or (low.is_unknown(last) and (is_told or len(words) > 1)):
        return True
    return len(words) > 1 and low.is_name(words[0]) and low.is_listed(last)


def subject_lowercase(match: re.Match[str]) -> bool:
    """A listed name does something; a name that is a word too, what only people do."""
    words = low.read_low(match)
    text = match.string
    if not words or low.is_of_disease(text, words) or words[-1].end < match.end("v") - 2:
        return False
    if _OF_THINGS.match(text, words[-1].end) and not low.is_sure(words[-1].word):
        return False
    if _names(words):
        return True
    verb = act(text, match.end("v"))
    before = text[max(0, match.start() - 40) : match.start()]
    if not verb or verb in _VAGUE or _OPENING.search(before) is None:
        return False
    if all(low.is_listed(word.word) and is_anyones(word.word) for word in words):
        return True
    is_pair = len(words) > 1 and verb not in OF_FIRMS
    is_sure = is_pair or _SURELY.match(text, match.end("v") + 1) is not None
    return is_sure and all(low.is_unknown(word.word) for word in words)


def full_name_lowercase(match: re.Match[str]) -> bool:
    """A given and a family name side by side, one of them no English word."""
    if not low.is_given(match["v"].split(" ", 1)[0]):
        return False
    words = low.read_low(match)
    is_town = lists.is_city(" ".join(word.word for word in words[:2]))
    return not is_town and _full(words) and not low.is_of_disease(match.string, words)


def surname_first_lowercase(match: re.Match[str]) -> bool:
    """`smith, robert`: both are no English words."""
    words = low.read_low(match)
    if len(words) < 2 or low.is_of_disease(match.string, words):
        return False
    family, given = words[0].word, words[1].word
    is_pair = lists.is_surname(family) and lists.is_given(given)
    return is_pair and low.is_name(family) and low.is_name(given)


def initialed_lowercase(match: re.Match[str]) -> bool:
    """A given name that is no English word, and the initial of a family name."""
    words = low.read_low(match)
    return len(words) == 1 and low.is_given(words[0].word) and low.is_name(words[0].word)


def sure_lowercase(match: re.Match[str]) -> bool:
    """A name and nothing else; a given name that has a disease of its own, without it."""
    bare = match["v"].removesuffix("'s")
    if not (low.is_sure(bare) or bare in low.given_without_word()):
        return False
    words = low.read_low(match)
    return bool(words) and not low.is_of_disease(match.string, words)


def _names(words: tuple[low.LowWord, ...]) -> bool:
    """One of the first two is listed and no English word, and the first can be a name."""
    first = words[0].word
    if low.is_name(first):
        return True
    can_be = low.is_unknown(first) or low.is_given(first)
    return can_be and any(low.is_name(word.word) for word in words[1:2])


def _full(words: tuple[low.LowWord, ...]) -> bool:
    """A given and a family name, at least one of them no English word."""
    if len(words) < 2:
        return False
    first, last = words[0].word, words[1].word
    is_pair = low.is_given(first) and lists.is_surname(last) and not low.is_never(last)
    return is_pair and (low.is_name(first) or low.is_name(last))


LOWER_CASE_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        *(titled_lowercase, greeted_lowercase, relative_lowercase, officer_lowercase),
        *(credentialed_lowercase, labelled_lowercase, listed_lowercase, named_lowercase),
        *(aged_lowercase, subject_lowercase, full_name_lowercase, surname_first_lowercase),
        *(initialed_lowercase, sure_lowercase),
    )
}
