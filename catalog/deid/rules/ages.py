"""Rules for ages over 89, and for what tells such an age (C)."""

from __future__ import annotations

from catalog.deid.rule import DeidRule, words_of
from catalog.deid.rules.dates import TEEN, UNIT

_NINETIES = rf"(?i:ninety(?:[ -](?:{UNIT}))?|(?:one |a )?hundred(?:(?: and)? (?:{UNIT}|{TEEN}))?)"
_OVER = r"(?:9[0-9]|1[01][0-9]|12[0-5])"
_PERSON = (
    "he|she|patient|pt|client|resident|mother|father|mom|dad|mum|grandmother|grandfather|grandma|"
    "grandpa|granny|nana|aunt|uncle|wife|husband|sister|brother|spouse|gentleman|lady|woman|man|who|"
    "I|mr\\.? [a-z]+|mrs\\.? [a-z]+|ms\\.? [a-z]+"
)
_YEARS = r"(?i:years?|yrs?|y)\b\.?"
_SEX = r"(?i:male|female|man|woman|lady|gentleman|m|f)"
_COMES = (
    "who|presents|presented|presenting|admitted|s/p|here|c/o|hx|h/o|pmh|from|found|brought|"
    "complains|complaining|arrived|transferred|fell|status"
)

AGE_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="age_years",
        letter="C",
        pattern=rf"(?<![\w.,/-])(?P<v>{_OVER}(?:[ -]{{0,2}}{_YEARS}[ -]?(?i:olds?|"
        r"of age|young|o\b\.?)|[ -]?(?i:y/o|yo|y\.o\.?|yom|yof|y\.?/?o\.?)\b|-?year-?old|"
        r"[ -]?(?:WM|WF|BM|BF|AAM|AAF|HM|HF|YOM|YOF)\b))",
        example="a 93-year-old woman",
        near_miss="an 89-year-old woman",
        gate="digit",
    ),
    DeidRule(
        id="age_years_and_sex",
        letter="C",
        pattern=rf"(?<![\w.,/-])(?P<v>{_OVER}[ -]?(?i:years?|yrs?|y)\.?[ /-]?"
        rf"(?:{_SEX}|(?i:white|black|caucasian|hispanic|asian|african))\b)",
        example="97y male",
        near_miss="87y male",
        gate="digit",
    ),
    DeidRule(
        id="age_and_sex",
        letter="C",
        pattern=rf"(?<![\w.,/=-])(?<!of )(?<!male and )(?<!room )(?P<v>{_OVER} ?/ ?[MFmf](?![\w/])|"
        rf"[MF] ?/ ?{_OVER}(?![\w/%]|\.\d)|"
        rf"{_OVER}[ -](?i:male|female)(?![\w-]| (?i:and [0-9]{{1,4}}|patients?|subjects|cases|"
        r"participants|volunteers|controls|adults|children|sex|rats|mice)\b))",
        example="97/F with a fall",
        near_miss="97 male patients",
        gate="digit",
    ),
    DeidRule(
        id="age_label",
        letter="C",
        pattern=r"\b(?i:aged?|age of|age is|age was|age:|turn(?:s|ed|ing)|lived to(?: be)?|died "
        r"at|passed(?: away)? at|birthday,?)(?: about| approximately)?[ "
        rf":]{{1,2}}(?P<v>{_OVER})(?![\w%/]|[.-]\d)(?! ?(?:percent|mg|ml|mmhg|degrees|months|"
        r"weeks|days|pounds|lbs|kg))",
        example="died at age 94",
        near_miss="died at age 84",
        gate="digit",
        context=(
            *("age", "aged", "turned", "turning", "turns", "lived", "died", "passed", "birthday"),
        ),
    ),
    DeidRule(
        id="age_sex_short",
        letter="C",
        pattern=rf"(?<![\w.,/])(?P<v>{_OVER}(?:[MF](?= (?:with|w/|{_COMES})\b)| "
        rf"(?:M(?= (?:with|w/|{_COMES})\b)|F(?= (?:{_COMES})\b))))",
        example="94F with chest pain",
        near_miss="T 98.6F with chills",
        gate="digit",
        check="not_temperature",
    ),
    DeidRule(
        id="age_is_years",
        letter="C",
        pattern=r"\b(?i:is|was|am|'s|he's|she's|I'm|be|now|at)(?: now| almost| nearly)? "
        rf"(?P<v>(?:{_OVER}|{_NINETIES}) (?i:years? (?:old|of age)|years(?= (?:and|when|at)|"
        r"[.,;])))",
        example="she is 94 years old",
        near_miss="she is 49 years old",
        context=("year", "years"),
    ),
    DeidRule(
        id="age_of_person",
        letter="C",
        pattern=rf"(?<= )(?P<v>{_OVER})(?![\w%/:-]|\.\d|,\d)(?=[.,;!?)]|$| "
        r"(?i:and (?!\d)|but |who |now\b|today\b|lives? |living |still |so |this |next |"
        r"in (?:January|February|March|April|May|June|July|August|September|October|November|"
        r"December)|with (?:a |an |her |his |dementia|chf|copd)))",
        example="she is 98 and still drives",
        near_miss="her pulse is 98 and regular",
        gate="digit",
        after=rf"\b(?i:(?:{_PERSON})(?: is| was|'s|'m| am| just turned| will be)"
        r"(?: now| almost| nearly| about| already| only| just){0,3} )",
        check="age_of_person",
    ),
    DeidRule(
        id="age_birthday",
        letter="C",
        pattern=rf"\b(?P<v>(?:{_OVER}(?:st|nd|rd|th)|(?i:ninetieth|ninety[ -](?:first|second|third|"
        r"fourth|fifth|sixth|seventh|eighth|ninth)|(?:one )?hundredth)) "
        r"(?i:birthday|b-?day|year of life))\b",
        example="her 95th birthday",
        near_miss="her 85th birthday",
        context=("birthday", "bday", "day", "life"),
    ),
    DeidRule(
        id="age_birth_year",
        letter="C",
        pattern=r"\b(?i:born|birth|d\.?o\.?b\.?|birth ?year|birthdate)(?i: was| is| in| year|,|:|"
        r" about| around| circa){0,3} ?(?P<v>18[5-9][0-9]|19[0-2][0-9]|193[0-4])(?![\w/-]|\.\d|"
        r" ?(?i:g|gm|grams?|hours|hrs|h|lbs|kg)\b)",
        example="born in 1921",
        near_miss="born in 1951",
        gate="digit",
        context=words_of("born birth dob b birthyear birthdate"),
    ),
    DeidRule(
        id="age_spoken",
        letter="C",
        pattern=rf"\b(?P<v>{_NINETIES}[ -](?:(?i:years?|yrs?)[ -](?i:olds?|of age)|"
        r"(?i:y/o|yo|y\.o\.?)(?!\w)))",
        example="ninety-three year old man",
        near_miss="eighty-three year old man",
        context=("ninety", "hundred"),
    ),
    DeidRule(
        id="age_spoken_bare",
        letter="C",
        pattern=r"\b(?i:he|she|mother|father|mom|dad|mum|grandmother|grandfather|grandma|"
        r"grandpa|I)(?i: is|'s| was|'m| am|'ll be| will be| turned| just turned| died at| "
        r"passed away at| lived to(?: be)?)(?: almost| about)? (?P<v>(?i:ninety(?:[ "
        rf"-](?:{UNIT}))?))(?! (?i:percent|pounds|lbs|degrees|over|beats|kilos|point|miles|"
        r"minutes|days|hours|weeks|one|two|three|four|five|six|seven|eight|nine|thousand|"
        r"dollars|feet|for|even))\b",
        example="my mom is ninety three now",
        near_miss="she is ninety percent better",
        context=("ninety",),
    ),
    DeidRule(
        id="age_at_spoken",
        letter="C",
        pattern=r"\b(?i:age|aged|age of|died at|passed away at|lived to|turned|turning)(?: the "
        rf"age of)? (?P<v>{_NINETIES})\b(?! (?i:percent|pounds|degrees|over))",
        example="died at the age of ninety two",
        near_miss="died at the age of sixty two",
        context=("ninety", "hundred"),
    ),
)
