"""Rules for names of persons (A) in lower case: dictation, chat, and shouted text read as such.

They are tried on the text with its shouted passages in lower case (`lower_case.uncased`). A name of
the lists that is no English word needs nothing beside it; all others need what stands around.
"""

from __future__ import annotations

from catalog.deid import people_words as near
from catalog.deid.lower_case import (
    LOW,
    LOW_NAMES,
    given_without_word,
    names_in_context,
    parts,
    sure_names,
)
from catalog.deid.person_acts import BETWEEN
from catalog.deid.rule import DeidRule, words_of

_END = (
    r"(?= ?[,.!?;:]|\s*$| ?\n| (?:how|i|i'm|i've|it|it's|this|my|"
    r"nice|good|what|tell|we|thanks|is)\b)"
)

LOWER_CASE_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="name_after_title_lowercase",
        letter="A",
        pattern=rf"\b(?i:mrs?|ms|mx|miss|missus|mister|prof|professor|drs?|doctor|doc)\b"
        rf" ?\.? ?(?P<v>(?:[a-z]\. ?|[b-hj-z] ){{0,2}}{LOW_NAMES})",
        example="mr . zorvin",
        near_miss="mr angiography",
        is_uncased=True,
        check="titled_lowercase",
        context=(*near.TITLES, "doc"),
    ),
    DeidRule(
        id="name_after_greeting_lowercase",
        letter="A",
        pattern=r"\b(?i:hi|hello|hey|dear|morning|afternoon|evening|thanks|thank you|bye|"
        r"goodbye|welcome|sorry|alright|all right|okay|ok|yes|well|so|and you|"
        rf"see you|meet you)(?: there| again)?(?:,| ,)? (?P<v>{LOW}){_END}",
        example="hey kim, how is the pain",
        near_miss="hey there, how is the pain",
        is_uncased=True,
        check="greeted_lowercase",
        context=(*near.GREETINGS, "alright", "so", "right", "you"),
    ),
    DeidRule(
        id="name_of_relative_lowercase",
        letter="A",
        pattern=rf"\b(?i:{near.RELATIVES})(?:(?:'s)? (?:name is|named|is named|called|is "
        rf"called|is)|"
        rf",|:| ,)? (?P<v>{LOW_NAMES})",
        example="his wife zorvin was present",
        near_miss="his wife also was present",
        is_uncased=True,
        check="relative_lowercase",
        context=near.RELATIVE_WORDS,
    ),
    DeidRule(
        id="name_after_role_lowercase",
        letter="A",
        pattern=rf"\b(?i:{near.ROLE_LABELS})(?: was| is|,|:)? (?P<v>{LOW_NAMES})",
        example="social worker kim smith",
        near_miss="nurse practitioner",
        is_uncased=True,
        check="officer_lowercase",
        context=near.ROLES,
    ),
    DeidRule(
        id="name_before_credential_lowercase",
        letter="A",
        pattern=rf"\b(?P<v>{LOW_NAMES}) ?,? (?:md|m\.d\.|rn|r\.n\.|np|pa-c|phd|ph\.d\.|dds|dmd|dpm|"
        r"lcsw|lpn|crna|fnp(?:-c|-bc)?|arnp|aprn|pharmd|mbbs|facs|facc|psyd|lmft|msw|bsn|msn|"
        r"cnm|rph|"
        r"dpt)(?![a-z])",
        example="signed by kim smith, rn",
        near_miss="seen by the attending md",
        is_uncased=True,
        check="credentialed_lowercase",
        context=near.CREDENTIALS,
    ),
    DeidRule(
        id="name_after_label_lowercase",
        letter="A",
        pattern=rf"(?:\A|(?<=[\s;,.|(/*>-]))(?i:{near.LABELS}|patient|pt|client)(?:\(s\))?"
        rf" ?(?:[:=|#]| - ) ?(?P<v>{LOW}, ?{LOW_NAMES}|{LOW_NAMES})",
        example="next of kin: kim smith",
        near_miss="provider: cardiology",
        gate="label",
        is_uncased=True,
        check="labelled_lowercase",
    ),
    DeidRule(
        id="name_after_by_lowercase",
        letter="A",
        pattern=rf"\b(?i:{near.BY}) by:? (?:(?:his|her|their|the) [a-z]+,? )?(?P<v>{LOW_NAMES})",
        example="dictated by kim smith",
        near_miss="seen by cardiology",
        is_uncased=True,
        check="listed_lowercase",
        context=("by",),
    ),
    DeidRule(
        id="name_after_contact_lowercase",
        letter="A",
        pattern=rf"\b(?i:{near.WITH}|dictating on|dictation on|note on|seeing) (?P<v>{LOW_NAMES})",
        example="spoke with kim smith",
        near_miss="spoke with radiology",
        is_uncased=True,
        check="listed_lowercase",
        context=(*near.CONTACT_WORDS, "dictating", "dictation", "note", "seeing"),
    ),
    DeidRule(
        id="name_after_named_lowercase",
        letter="A",
        pattern=r"\b(?i:my name is|my name's|name is|names are|named|nicknamed|goes by|maiden name"
        r"(?: of| was)?|addressed as|alias|this is|i am|i'm|it's|meet|introduce|"
        rf"(?:patient|pt|client)(?:'s name)?(?: today)? is|last name|first name|surname(?: is)?)"
        rf" ?,? (?P<v>{LOW_NAMES})",
        example="my name is zorvin",
        near_miss="my name is not",
        is_uncased=True,
        check="named_lowercase",
        context=(
            *("name", "names", "named", "nicknamed", "goes", "addressed", "alias", "this", "am"),
            *("i", "it", "meet", "introduce", "patient", "pt", "client", "surname"),
        ),
    ),
    DeidRule(
        id="name_of_patient_lowercase",
        letter="A",
        pattern=rf"\b(?i:{near.PATIENTS})(?:,| ,| is| was)? (?P<v>{LOW_NAMES})",
        example="pt kim smith seen today",
        near_miss="patient education given",
        is_uncased=True,
        check="listed_lowercase",
        context=near.PATIENT_WORDS,
    ),
    DeidRule(
        id="name_before_age_lowercase",
        letter="A",
        pattern=rf"\b(?P<v>{LOW}(?: {LOW}| [a-z]\.? {LOW})?)(?: ?,(?: an?)?|,?(?: who)? (?:is|"
        rf"was) an?)"
        r"(?: [a-z-]+){0,2} (?:[0-9]{1,3}|[a-z]+ty|[a-z]+ty[ -][a-z]+)"
        r"(?:[ -]*(?:years?|yrs?|months?|weeks?|days?)[ -]+old|[ -]*y/?o|[ -]*y\.o)\b",
        example="zorvin is a 54-year-old",
        near_miss="patient is a 54-year-old",
        is_uncased=True,
        check="aged_lowercase",
        context=words_of("old yo o y"),
    ),
    DeidRule(
        id="name_as_subject_lowercase",
        letter="A",
        pattern=rf"\b(?P<v>{LOW}(?: (?:[a-z]\.? )?(?!(?:is|was|has|had|will)\b){LOW})?),? {BETWEEN}"
        rf"(?:{near.VERBS})",
        example="kim denies chest pain",
        near_miss="radiology reports no fracture",
        is_uncased=True,
        check="subject_lowercase",
        context=near.VERB_WORDS,
    ),
    DeidRule(
        id="name_full_lowercase",
        letter="A",
        pattern=rf"(?<![\w@./:'-])(?P<v>{LOW} (?:[a-z]\.? )?{LOW})(?![a-z0-9@/_]|\.[a-z]{{2}})",
        example="robert smith",
        near_miss="mark young",
        is_uncased=True,
        check="full_name_lowercase",
        context=parts(names_in_context()),
    ),
    DeidRule(
        id="name_surname_first_lowercase",
        letter="A",
        pattern=rf"\b(?P<v>{LOW}, ?{LOW}(?: [a-z]\b\.?)?)",
        example="smith, robert",
        near_miss="white, brown",
        is_uncased=True,
        check="surname_first_lowercase",
        context=parts(names_in_context()),
    ),
    DeidRule(
        id="name_and_initial_lowercase",
        letter="A",
        pattern=rf"\b(?P<v>{LOW} [a-z])(?:\.,|,| (?:was|is|has|reports|denies|states)\b|\. "
        r"(?:was|is|has|reports|denies|states|presents|presented)\b)",
        example="robert s., with a cough",
        near_miss="hepatitis b, with a cough",
        is_uncased=True,
        check="initialed_lowercase",
        context=parts(given_without_word()),
    ),
    DeidRule(
        id="name_lowercase",
        letter="A",
        pattern=r"(?<![\w@./:'-])(?P<v>[a-z](?:'?[a-z-]+)[a-z])(?![a-z0-9@/_]|\.[a-z]{2})",
        example="maria",
        near_miss="mark",
        is_uncased=True,
        check="sure_lowercase",
        context=parts(sure_names() | given_without_word()),
    ),
)
