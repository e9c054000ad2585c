"""Checks that a match of a rule for names must pass: is what stands there a name of somebody?"""

from __future__ import annotations

import re

from catalog.deid import gazetteer as lists
from catalog.deid.person_name import WORD, is_eponym, is_named, is_placeholder, read_name
from catalog.deid.rule import Check, words_of

_SAINT = re.compile(
    r"\b(?:[Ss]t\.?|[Ss]aint|Mount|Mt\.?|Lake|Fort|Port|San|Santa|Camp|New|Los|Las|El)[ -]$"
)
_DISEASES = frozenset(
    words_of("syndrome disease dystrophy anemia dysplasia type disorder sign ataxia")
)
_ONLY_PEOPLE = re.compile(
    r",? (?:(?:who|also|then|today|still) )?(?:is an? [0-9]|presented|presents|reports|reported|"
    r"denies|denied|states|stated|complains|complained|lives|lived|says|said|told|smokes|drinks|"
    r"was accompanied by (?:his|her) |was (?:born|admitted|discharged|accompanied|brought|seen)|"
    r"underwent|consented|refused|declined)"
)
_NEAR_RELATIVES = re.compile(
    r"(?:wife|husband|partner|spouse|roommate|friend|son|daughter|fiancee?|girlfriend|boyfriend|"
    r"caregiver|guardian|neighbor|stepson|stepdaughter|grandson|granddaughter|nephew|niece) "
)
_RELATIVE_VERB = re.compile(
    r",? (?:was|is|has|had|who|will|holds|manages|lives|helps|died|also|takes|brought|says|"
    r"states)\b"
)
_OWN_DOCTOR = re.compile(r"(?i)\b(?:your|my|our|his|her|their|the|a|every|any) doctors? $")
_CHIEF = re.compile(
    r"(?:Nurse|Judge|Officer|Detective|Sergeant|Sgt|Captain|Capt|Lieutenant|Lt|Pastor|Rabbi|Rev|"
    r"Chaplain|Attorney|Senator|Interpreter|Deacon|Imam|Colonel|Paramedic)"
)
_SYNDROME_OF = re.compile(r"(?:syndrome|disease|sign|hemoglobin|type|phenomenon|law) (?:of )?$")
_DISEASE = re.compile(r"(?:itis|oma|osis|emia|pathy|sclerosis|plegia|algia|ectomy)$")
_WEAK_LABEL = re.compile(
    r"(?i)\b(?:re|cc|assistant|mother|father|spouse|(?<!emergency )contact|"
    r"operator|signed|assist)\b\W*$"
)


def titled(match: re.Match[str]) -> bool:
    """After a title any word that is not a placeholder or the next sentence: `Dr. White`."""
    name = read_name(match)
    if _OWN_DOCTOR.search(match.string, max(0, match.start() - 8), match.start("v")):
        return is_named(name.words)
    if not name.words:
        word = WORD.findall(match["v"])[-1]
        return len(word) > 3 and lists.is_surname(word)
    return not is_placeholder(name.words[0])


def plausible(match: re.Match[str]) -> bool:
    """Any word that is neither common nor an eponym: the context already says that it is a name."""
    name = read_name(match)
    if not name.words or is_placeholder(name.words[0]):
        return False
    return not is_eponym(match.string, name)


def named(match: re.Match[str]) -> bool:
    """Any plausible word; behind a bare `named` a listed one, for drugs and firms are named too."""
    is_bare = match[0].lower().startswith("named")
    return listed_or_two(match) if is_bare else plausible(match)


def listed(match: re.Match[str]) -> bool:
    """At least one word is of the lists and nothing else, or two make a full name."""
    name = read_name(match)
    return is_named(name.words) and not is_eponym(match.string, name)


def listed_or_two(match: re.Match[str]) -> bool:
    """As `listed`, or two words of which neither is known to be something else."""
    name = read_name(match)
    words = name.words
    is_town = lists.is_city(" ".join(words)) or (bool(words) and lists.is_city(words[0]))
    is_firm = any(word.lower() in lists.words("institutions") for word in WORD.findall(match["v"]))
    two = len(words) > 1 and not (is_town or is_firm) and not any(map(str.isupper, words[:2]))
    single = len(words) == 1 and lists.is_given(words[0]) and lists.is_surname(words[0])
    return (is_named(words) or two or single) and not is_eponym(match.string, name)


def labelled_name(match: re.Match[str]) -> bool:
    """After a label any plausible words; after a label of other uses only listed ones."""
    before = match.string[match.start() : match.start("v")]
    is_weak = _WEAK_LABEL.search(before) is not None
    head = match.string[max(0, match.start() - 3) : match.start()].rstrip(" ")
    is_weak = is_weak or head[-1:].isalnum()
    return listed_or_two(match) if is_weak else bool(read_name(match).words) and titled(match)


def patient_label(match: re.Match[str]) -> bool:
    """A full name; with a comma one listed word is enough: `Patient: Quist, Annika`."""
    words = read_name(match).words
    if len(words) > 1 and "," in match["v"]:
        return lists.is_surname(words[0]) or lists.is_given(words[1])
    return full_name(match)


def credentialed(match: re.Match[str]) -> bool:
    """A name before MD or RN, and not a town before the state of Maryland."""
    words = read_name(match).words
    if not words or is_placeholder(words[0]):
        return False
    is_name = lists.is_surname(words[-1]) or len(words) > 1 or lists.is_given(words[0])
    return is_name or not lists.is_city(match["v"])


def officer(match: re.Match[str]) -> bool:
    """After a capital Nurse or Judge any plausible word, after other roles listed ones."""
    is_title = _CHIEF.match(match[0]) is not None and not match["v"].isupper()
    return plausible(match) if is_title else listed_or_two(match)


def relative(match: re.Match[str]) -> bool:
    """A listed or given name; an unknown word after `his wife`, after others before a verb."""
    name = read_name(match)
    words, text = name.words, match.string
    if not words or is_eponym(text, name) or words[0].isupper():
        return is_named(words) and not is_eponym(text, name)
    if is_named(words) or lists.is_given(words[0]):
        return True
    if lists.is_ambiguous(words[0]) or _DISEASE.search(words[0]) or text[match.start()].isupper():
        return len(words) > 1 and not lists.is_ambiguous(words[0])
    is_near = re.match(_NEAR_RELATIVES, match[0]) is not None
    return is_near or _RELATIVE_VERB.match(text, name.end) is not None


def greeted(match: re.Match[str]) -> bool:
    """A given name in whatever sense, a family name and nothing else, or a word between commas."""
    name = read_name(match)
    if not name.words:
        return False
    word, text = name.words[0], match.string
    opener = text[match.start() : match.start("v")].lower()
    if re.match(r"(?:ok|okay|yes|no|sure|well|sorry|thank|come|bye|welcome)", opener):
        is_name = lists.is_only_given(word) or lists.is_only_surname(word)
    else:
        is_name = lists.is_given(word) or lists.is_surname(word)
        is_name = is_name or ("," in opener and text[match.end("v") : match.end("v") + 1] == ",")
    return is_name and not is_eponym(text, name)


def subject(match: re.Match[str]) -> bool:
    """What does or suffers something that only people do, and is listed or two words long."""
    name = read_name(match)
    words, text = name.words, match.string
    n_words = len([word for word in WORD.findall(match["v"]) if len(word) > 1])
    if not words or len(words) < n_words - 1:
        return False
    if is_eponym(text, name) or lists.is_city(" ".join(words)):
        return False
    if is_named(words):
        return True
    if not _ONLY_PEOPLE.match(text, match.end("v")):
        return False
    known = any(lists.is_given(word) or lists.is_surname(word) for word in words)
    return known or (len(words) > 1 and not any(word.isupper() for word in words))


def full_name(match: re.Match[str]) -> bool:
    """A given and a family name side by side, in either order with a comma."""
    name = read_name(match)
    words = name.words
    if len(words) < 2 or is_eponym(match.string, name):
        return False
    first, last = (words[-1], words[0]) if "," in match["v"] else (words[0], words[-1])
    if lists.is_given(first) and lists.is_surname(last):
        return True
    return is_named(words) and not any(word.isupper() for word in words)


def surname_first(match: re.Match[str]) -> bool:
    """`Okonkwo, Annika`: one of the two is a name and nothing else, the other can be one."""
    name = read_name(match)
    if len(name.words) < 2 or is_eponym(match.string, name):
        return False
    family, given_name = name.words[0], name.words[1]
    sure = lists.is_only_surname(family) or lists.is_only_given(given_name)
    if lists.is_surname(family) and lists.is_given(given_name):
        return sure or re.search(r" [A-Z]\.?$", match["v"]) is not None
    is_town = lists.is_city(family)
    return lists.is_only_given(given_name) and not lists.is_given(family) and not is_town


def _stands_alone(match: re.Match[str]) -> bool:
    """No saint, no hospital, no part of the name of a disease: `Fuchs endothelial dystrophy`."""
    text = match.string
    before = text[max(0, match.start() - 24) : match.start()]
    if _SAINT.search(before) or _SYNDROME_OF.search(before):
        return False
    if is_eponym(text, read_name(match)):
        return False
    following = WORD.findall(text[match.end() : match.end() + 48].split(".")[0])[:4]
    return not any(word.lower() in _DISEASES for word in following)


def given(match: re.Match[str]) -> bool:
    """A given name and nothing else; in capitals only in a text that has nothing else."""
    value = match["v"]
    if not lists.is_only_given(value) or (value.isupper() and not match.string.isupper()):
        return False
    return _stands_alone(match)


def surname(match: re.Match[str]) -> bool:
    """A family name and nothing else, not joined to another word."""
    value, text = match["v"], match.string
    joined = "-" in (text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1])
    joined = joined or text[match.end() : match.end() + 1] == "'"
    return not joined and lists.is_only_surname(value) and _stands_alone(match)


def lowercase_pair(match: re.Match[str]) -> bool:
    """Two lower-case words of which the first is only a given, the second only a family name."""
    first, last = match["v"].split(" ")
    return lists.is_only_given(first) and lists.is_only_surname(last)


def listed_name(match: re.Match[str]) -> bool:
    """One lower-case word that is a name and nothing else."""
    return lists.is_only_given(match["v"]) or lists.is_only_surname(match["v"])


PEOPLE_CHECKS: dict[str, Check] = {
    "titled": titled,
    "plausible": plausible,
    "named": named,
    "officer": officer,
    "listed": listed,
    "listed_or_two": listed_or_two,
    "labelled": labelled_name,
    "patient_label": patient_label,
    "credentialed": credentialed,
    "listed_relative": relative,
    "greeted": greeted,
    "subject": subject,
    "full_name": full_name,
    "surname_first": surname_first,
    "given": given,
    "surname": surname,
    "lowercase_pair": lowercase_pair,
    "listed_name": listed_name,
}
