"""Checks that a match of a rule for names must pass: is what stands there a name of somebody?"""

from __future__ import annotations

import re

from catalog.deid import gazetteer as lists
from catalog.deid import lower_case as low
from catalog.deid.people_words import ADDRESSED, RELATIVE_VERB
from catalog.deid.person_acts import OF_FIRMS, OF_PAPERS, act
from catalog.deid.rule import Check, words_of
from catalog.deid.validators.person_name import (
    WORD,
    is_anyones,
    is_eponym,
    is_listed_word,
    is_named,
    is_placeholder,
    read_name,
)

_SAINT = re.compile(
    r"\b(?:[Ss]t\.?|[Ss]aint|Mount|Mt\.?|Lake|Fort|Port|San|Santa|Camp|New|Los|Las|El)[ -]$"
)
_DISEASES = frozenset(
    words_of("syndrome disease dystrophy anemia dysplasia type disorder sign ataxia")
)
_SURELY_PEOPLE = re.compile(
    r",? (?:is an? [0-9]+[- ]?(?:year|yr|y/?o|month|week|day)|was accompanied by (?:his|her) |"
    r"(?:denies|denied|states|stated|endorses|complains of|complained of|smokes|drinks|voided|"
    r"ambulated) |tolerated the procedure|was (?:extubated|discharged home)|"
    r"has been (?:able to|eating|walking|feeling|sleeping|drinking|ambulating|smoking)|"
    r"remains? (?:intubated|sedated|hospitalized|admitted|awake|unresponsive|npo|NPO|on the vent))"
)
_END = r"| ?[.;,]|\s*$"
_ADDRESSED = re.compile(rf"(?i:{ADDRESSED.format(name='[a-z]+', end=_END)})")
_SAYS_WHO = re.compile(r"(?:\A|[.!?:;\n]\s*|\b(?:I|we|We|and|then|RN|MD|nurse) )\Z")
_DUMMIES = frozenset(
    words_of(
        "anon anonymous anonymized anonymised patient phantom test qa removed redacted "
        "unknown name "
        "deidentified de-identified pseudonym dummy case subject none subj study sample no"
    )
)
_NEAR_RELATIVES = re.compile(
    r"(?:wife|husband|partner|spouse|roommate|friend|son|daughter|fiancee?|girlfriend|boyfriend|"
    r"caregiver|guardian|neighbor|stepson|stepdaughter|grandson|granddaughter|nephew|niece) "
)
_RELATIVE_VERB = re.compile(RELATIVE_VERB)
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


def has_title(match: re.Match[str]) -> bool:
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


def names_somebody(match: re.Match[str]) -> bool:
    """Any plausible word; behind a bare `named` a listed one, for drugs are named too."""
    is_bare = match[0].lower().startswith("named")
    return listed_or_two(match) if is_bare else plausible(match)


def is_listed(match: re.Match[str]) -> bool:
    """At least one word is of the lists and nothing else, or two make a full name."""
    name = read_name(match)
    return is_named(name.words) and not is_eponym(match.string, name)


def listed_or_two(match: re.Match[str]) -> bool:
    """As `is_listed`, or two words of which neither is known to be something else."""
    name = read_name(match)
    words = name.words
    is_town = lists.is_city(" ".join(words)) or (bool(words) and lists.is_city(words[0]))
    is_firm = any(word.lower() in lists.words("institutions") for word in WORD.findall(match["v"]))
    two = len(words) > 1 and not (is_town or is_firm) and not any(map(str.isupper, words[:2]))
    single = len(words) == 1 and lists.is_given(words[0]) and lists.is_surname(words[0])
    return (is_named(words) or two or single) and not is_eponym(match.string, name)


def is_contacted(match: re.Match[str]) -> bool:
    """As `listed_or_two`, or any listed name that somebody told something: `told Brown to`."""
    if listed_or_two(match):
        return True
    address = _ADDRESSED.match(match.string, match.start())
    name = read_name(match)
    if address is None or match["v"] not in address.groups() or not is_anyones(match["v"]):
        return False
    before = match.string[max(0, match.start() - 8) : match.start()]
    if address["called"] and _SAYS_WHO.search(before) is None:
        return False
    return match["v"].istitle() and not is_eponym(match.string, name)


def labelled_name(match: re.Match[str]) -> bool:
    """After a label any plausible words; after a label of other uses only listed ones."""
    before = match.string[match.start() : match.start("v")]
    is_weak = _WEAK_LABEL.search(before) is not None
    head = match.string[max(0, match.start() - 3) : match.start()].rstrip(" ")
    is_weak = is_weak or head[-1:].isalnum()
    return listed_or_two(match) if is_weak else bool(read_name(match).words) and has_title(match)


def patient_label(match: re.Match[str]) -> bool:
    """A full name; with a comma one listed word is enough: `Patient: Quist, Annika`."""
    words = read_name(match).words
    if len(words) > 1 and "," in match["v"]:
        return lists.is_surname(words[0]) or lists.is_given(words[1])
    return full_name(match)


def has_credentials(match: re.Match[str]) -> bool:
    """A name before MD or RN, and not a town before the state of Maryland."""
    words = read_name(match).words
    if not words or is_placeholder(words[0]):
        return False
    if match["v"].isupper() and match[0].endswith(" DO"):
        return is_named(words) and not is_eponym(match.string, read_name(match))
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


def is_greeted(match: re.Match[str]) -> bool:
    """A given name in whatever sense, a family name and nothing else, or a word between commas."""
    name = read_name(match)
    if not name.words:
        return False
    word, text = name.words[0], match.string
    opener = text[match.start() : match.start("v")].lower()
    is_unknown = low.is_unknown(word.lower()) and not word.isupper()
    if re.match(r"(?:ok|okay|yes|no|sure|well|sorry|come|bye|welcome)", opener):
        is_name = lists.is_only_given(word) or lists.is_only_surname(word)
    elif opener.startswith("thank"):
        is_addressed = "," in opener and re.match(r"[,.!?]|$", text[match.end("v") :]) is not None
        is_name = lists.is_only_given(word) or lists.is_only_surname(word)
        is_name = is_name or (is_addressed and (is_unknown or lists.is_given(word)))
    else:
        is_name = lists.is_given(word) or lists.is_surname(word) or is_unknown
    return is_name and not is_eponym(text, name)


def subject(match: re.Match[str]) -> bool:
    """What does or suffers something that only people do, and is listed or two words long."""
    name = read_name(match)
    words, text, end = name.words, match.string, match.end("v")
    n_words = len([word for word in WORD.findall(match["v"]) if len(word) > 1])
    if not words:
        verb = act(text, end) if n_words == 1 and is_anyones(match["v"]) else ""
        return verb not in ("", *OF_PAPERS) and match["v"].istitle()
    if len(words) < n_words - 1 or is_eponym(text, name):
        return False
    verb = act(text, end)
    is_loose = not verb or (verb in OF_PAPERS | OF_FIRMS and not lists.is_given(words[0]))
    if is_loose and lists.is_city(" ".join(words)):
        return False
    if is_named(words) or not verb:
        return is_named(words)
    if _SURELY_PEOPLE.match(text, end) and low.is_unknown(words[0].lower()):
        return not words[0].isupper()
    known = any(map(is_anyones, words))
    is_pair = len(words) > 1 and verb not in OF_FIRMS and not any(map(str.isupper, words))
    return known or is_pair


def full_name(match: re.Match[str]) -> bool:
    """A given and a family name side by side, in either order with a comma."""
    name = read_name(match)
    words = name.words
    if len(words) < 2 or is_eponym(match.string, name) or lists.is_city(" ".join(words[:2])):
        return False
    if re.search(
        r"\b(?:St\.?|Saint|ST\.?) $", match.string[max(0, match.start() - 7) : match.start()]
    ):
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


def has_initial(match: re.Match[str]) -> bool:
    """`Robert S.`: a given name and an initial; one that is a word too needs the full stop."""
    word, initial = match["v"].split(" ")
    text, end = match.string, match.end("v")
    if not lists.is_given(word) or lists.is_common(word) or is_eponym(text, read_name(match)):
        return False
    is_stop = text[end : end + 1] == "."
    is_word = low.is_english(word.lower()) or len(word) < 4 or initial in "AI"
    return is_stop or not (is_word or lists.is_ambiguous(word))


def person_name(match: re.Match[str]) -> bool:
    """`FAMILY^GIVEN` as DICOM writes it, and no dummy."""
    parts = WORD.findall(match["v"].lower())
    return not _DUMMIES.intersection(parts) and not is_placeholder(parts[0])


def _stands_alone(match: re.Match[str]) -> bool:
    """No saint, no hospital, no part of the name of a disease: `Fuchs endothelial dystrophy`."""
    text = match.string
    before = text[max(0, match.start() - 24) : match.start()]
    if _SAINT.search(before) or _SYNDROME_OF.search(before):
        return False
    if is_eponym(text, read_name(match)):
        return False
    if lists.is_region(" ".join(WORD.findall(text[match.start("v") : match.end() + 24])[:2])):
        return False
    following = WORD.findall(text[match.end() : match.end() + 48].split(".")[0])[:4]
    return not any(word.lower() in _DISEASES for word in following)


def is_given_name(match: re.Match[str]) -> bool:
    """A given name and nothing else; in capitals only in a text that has nothing else."""
    value = match["v"]
    is_joined = "-" in value and not all(map(is_listed_word, value.split("-")))
    if (
        not lists.is_only_given(value)
        or is_joined
        or (value.isupper() and (len(value) < 4 or not match.string.isupper()))
    ):
        return False
    return _stands_alone(match)


def surname(match: re.Match[str]) -> bool:
    """A family name and nothing else, not joined to another word."""
    value, text = match["v"], match.string
    joined = "-" in (text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1])
    joined = joined or text[match.end() : match.end() + 1] == "'"
    return not joined and lists.is_only_surname(value) and _stands_alone(match)


PEOPLE_CHECKS: dict[str, Check] = {
    "titled": has_title,
    "plausible": plausible,
    "named": names_somebody,
    "officer": officer,
    "listed": is_listed,
    "listed_or_two": listed_or_two,
    "contacted": is_contacted,
    "labelled": labelled_name,
    "patient_label": patient_label,
    "credentialed": has_credentials,
    "listed_relative": relative,
    "greeted": is_greeted,
    "subject": subject,
    "full_name": full_name,
    "surname_first": surname_first,
    "initialed": has_initial,
    "person_name": person_name,
    "given": is_given_name,
    "surname": surname,
}
