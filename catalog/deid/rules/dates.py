"""Rules for dates finer than a year (C); ages have ages.py."""

from __future__ import annotations

from catalog.deid.rule import DeidRule, words_of

_LONG = "january|february|march|april|may|june|july|august|september|october|november|december"
MONTH = rf"(?i:{_LONG}|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?"
UNIT = "one|two|three|four|five|six|seven|eight|nine"
TEEN = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_ORDINAL = (
    r"(?i:(?:twenty|thirty)[ -](?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)|"
    "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|"
    "fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth)"
)
_CARDINAL = rf"(?i:(?:twenty|thirty)(?:[ -](?:{UNIT}))?|{TEEN}|{UNIT})"
_SPOKEN_YEAR = (
    rf"(?i:(?:nineteen|twenty|two thousand)(?: and)?(?:[ -](?:{UNIT}|{TEEN}|oh|o|twenty|thirty|"
    rf"forty|fifty|sixty|seventy|eighty|ninety)){{0,3}}|(?:o|oh) (?:{UNIT})|"
    rf"(?:sixty|seventy|eighty|ninety)(?:[ -](?:{UNIT}))?)"
)
_DAY = r"[0-3]?[0-9](?i:st|nd|rd|th)?"
_YEAR = r"(?:(?:18|19|20)[0-9]{2}|'[0-9]{2})"
_SOON = (
    "in|since|last|this|past|until|till|through|thru|during|early|late|mid|mid-|by|from|end of|"
    "beginning of|middle of|month of|back in|around|before|after|next|between|to|for|late in|the"
)
HOLIDAY = (
    "christmas(?: eve| day)?|thanksgiving(?: day)?|halloween|new year'?s(?: eve| day)?|easter"
    "(?: sunday)?|valentine'?s(?: day)?|memorial day|labor day|independence day|fourth of july|"
    "4th of july|mother'?s day|father'?s day|st\\.? patrick'?s day|veterans'? day|good friday|"
    "boxing day|columbus day|presidents'? day|cinco de mayo|groundhog day|juneteenth"
)

MONTH_WORDS = tuple(f"{_LONG}|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec".split("|"))

DATE_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="date_numeric",
        letter="C",
        pattern=r"(?<![\w/.])(?<!\d-)(?P<v>(?P<a>[0-3]?[0-9])\s?(?P<s>[/.-])\s?(?P<b>[0-3]?[0-9])"
        r"\s?(?P=s)\s?'?(?P<c>(?:18|19|20)?[0-9]{2}))(?![\w/]|-\d|\.\d)",
        example="03/14/2019",
        near_miss="33/44/2019",
        gate="digit",
        check="numeric_day",
    ),
    DeidRule(
        id="date_year_first",
        letter="C",
        pattern=r"(?<![\d/.-])(?P<v>(?P<c>(?:18|19|"
        r"20)[0-9]{2})(?P<s>[/.-])(?P<a>[01]?[0-9])(?P=s)(?P<b>[0-3]?[0-9]))(?![\d/]|-\d)",
        example="2019-03-14",
        near_miss="2019-13-44",
        gate="digit",
        check="numeric_day",
    ),
    DeidRule(
        id="date_compact",
        letter="C",
        pattern=r"(?<![\w.-])(?P<v>(?P<c>(?:19|"
        r"20)[0-9]{2})(?P<a>[01][0-9])(?P<b>[0-3][0-9]))(?:[0-9]{6})?(?![\w-]|\.\d)",
        example="study date 20190314",
        near_miss="study date 20191344",
        gate="digit",
        check="numeric_day",
    ),
    DeidRule(
        id="date_month_day",
        letter="C",
        pattern=rf"\b(?P<v>(?P<m>{MONTH})(?:,? the)?(?:[ -]|[.,/](?=\d))?(?:{_DAY}|{_ORDINAL}|"
        rf"{_CARDINAL})\b(?![.]?\d(?!\d\d\d\b))"
        rf"(?:(?:,| of|,? in)?[ .,/-]?(?:{_YEAR}|{_SPOKEN_YEAR})\b)?)",
        example="March 14th, 2019",
        near_miss="may 5 mg suffice",
        check="month",
        context=MONTH_WORDS,
    ),
    DeidRule(
        id="date_day_month",
        letter="C",
        pattern=rf"(?<![\w.,/-])(?P<v>(?:{_DAY}|(?i:the )?{_ORDINAL})(?:[ -]|(?i:,? day of | of ))"
        rf"?(?P<m>{MONTH})(?:,? ?(?:of )?-?[ ]?(?:{_YEAR}|[0-9]{{2}})\b)?)",
        example="14-MAR-2019",
        near_miss="2 may be enough",
        check="month",
        context=MONTH_WORDS,
    ),
    DeidRule(
        id="date_month_year",
        letter="C",
        pattern=rf"\b(?P<v>(?P<m>{MONTH})(?:,? of|,? in|,)?(?: the year)?[ -]{{1,2}}(?:{_YEAR}|"
        rf"{_SPOKEN_YEAR}|[0-9]{{2}})\b)",
        example="November of 2007",
        near_miss="may in 2007",
        check="month",
        context=MONTH_WORDS,
    ),
    DeidRule(
        id="date_month_joined",
        letter="C",
        pattern=r"(?<![A-Za-z0-9])(?P<v>(?:[0-3]?[0-9])?(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|"
        r"OCT|NOV|DEC|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[-/]?(?:(?:19|20)[0-9]{2}|"
        r"[0-9]{2}))(?![A-Za-z0-9])",
        example="14MAR2019",
        near_miss="14MARS2019",
        gate="digit",
    ),
    DeidRule(
        id="date_month_alone",
        letter="C",
        pattern=rf"\b(?i:{_SOON}|mid-?) ?(?P<v>(?P<m>(?i:{_LONG})))\b(?! (?:syndrome|fracture|"
        r"hemoglobin|have|need|not|also))",
        example="since last November",
        near_miss="this may help",
        check="month",
        context=MONTH_WORDS,
    ),
    DeidRule(
        id="date_month_slash_year",
        letter="C",
        pattern=r"(?<![\w/.-])(?P<v>(?:0?[1-9]|1[0-2])[/-](?:19|20)[0-9]{2})(?![\w/-])",
        example="03/2019",
        near_miss="13/2019",
        gate="digit",
    ),
    DeidRule(
        id="date_year_month",
        letter="C",
        pattern=r"\b(?i:date|dated|in|since|on|from|until)[: ]{1,2}(?P<v>(?P<c>(?:19|"
        r"20)[0-9]{2})-(?P<a>0[1-9]|1[0-2]))(?![\w-])",
        example="since 2019-03",
        near_miss="since 2009-10",
        gate="digit",
        check="year_month",
    ),
    DeidRule(
        id="date_month_slash_day",
        letter="C",
        pattern=r"(?<![\w/.-])(?P<v>(?P<a>1[0-2]|0?[1-9])[/-](?P<b>3[01]|[12][0-9]|0?[1-9]))"
        r"(?![\w/]|\.\d|-\d)",
        example="admitted on 3/14",
        near_miss="rated from 3/10 to 7/10",
        gate="slash",
        after=r"\b(?i:on|since|dated?|until|till|through|thru|from|before|after|dob|d\.o\.b\.|"
        r"doa|dos|week of|birth|birthday|admitted|discharged|seen|next|today|yesterday|tomorrow|"
        r"appointment|monday|tuesday|wednesday|thursday|friday|saturday|sunday|as of|by|starting|"
        r"began|beginning|effective|due|scheduled(?: for)?|visit|around|between|and|to|surgery|"
        r"labs|lab|ct|mri|x-?ray|echo|ekg|culture|cultures|results?|cxr|kub|ecg|eeg|emg|pet|"
        r"ultrasound|colonoscopy|egd|bx|biopsy|mammogram|d/c(?:'?d)?|f/u|adm|admit|"
        r"transfer(?:red)?|lmp|edd|edc|ed visit|er visit|last dose|started|stopped|mon|tues?|wed|"
        r"thurs?|fri|sat|sun|last seen|procedure|or date)[:,]?(?: of| on| from)? ?\(?",
        check="month_slash_day",
    ),
    DeidRule(
        id="date_ordinal_day",
        letter="C",
        pattern=r"\b(?i:on|since|until|by|from|before|after|for) the (?P<v>(?:[12]?[0-9]|"
        rf"3[01])(?:st|nd|rd|th)|{_ORDINAL})(?=[.,;]?$|[.,;] |\s(?:of (?:this|last|next|the|"
        r"that) month|at [0-9]|and (?:was|has|is|he|she|I)|when|because|for (?:a|his|her))\b)",
        example="seen on the 23rd of last month",
        near_miss="on the 5th rib",
        context=("the",),
        check="ordinal",
    ),
    DeidRule(
        id="date_holiday",
        letter="C",
        pattern=r"\b(?i:on|since|before|after|around|over|until|last|this|past|at|day of)(?: "
        rf"the)? (?P<v>(?i:{HOLIDAY}))",
        example="fell on Thanksgiving",
        near_miss="a christmas tree pattern",
        context=words_of(
            "christmas thanksgiving halloween new easter valentine valentines memorial labor "
            "independence fourth th mother mothers father fathers patrick veterans good boxing "
            "columbus presidents cinco groundhog juneteenth"
        ),
    ),
)
