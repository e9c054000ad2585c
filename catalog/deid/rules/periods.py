"""Rules for spans finer than a year, and for dates without a year or with odd marks (C)."""

from __future__ import annotations

from catalog.deid.rule import DeidRule, words_of
from catalog.deid.rules.dates import HOLIDAY, MONTH, MONTH_WORDS

_YEAR = r"(?:19|20)[0-9]{2}"
_SHORT = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
_PART = r"(?i:late|early|mid|the end of|end of|beginning of|middle of|start of)"
_WHEN = (
    r"(?i:since|until|till|last|next|this|this past|in|by|from|before|after|through|thru|around|"
    r"during|between|back in|as of)"
)
SHORT_WORDS = words_of("jan feb mar apr jun jul aug sep sept oct nov dec")

PERIOD_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="date_month_short",
        letter="C",
        pattern=rf"\b(?:(?:{_WHEN}|{_PART})[ -]|mid)(?P<v>{_SHORT})\b\.?(?![-'\w])",
        example="since late Sept",
        near_miss="nasal Sept deviation",
        context=SHORT_WORDS,
    ),
    DeidRule(
        id="date_month_short_any_case",
        letter="C",
        pattern=rf"\b{_PART}[ -](?P<v>(?i:jan|feb|mar|apr|jun|jul|aug|sept?|nov)|oct)\b"
        r"\.?(?![-'\w])",
        example="started early oct",
        near_miss="the OCT showed edema",
        context=SHORT_WORDS,
    ),
    DeidRule(
        id="date_quarter",
        letter="C",
        pattern=rf"(?<![\w-])(?P<v>(?:(?:[Qq][1-4]|[1-4][Qq]|H[12]|[12]H)(?:[ /,-]{{1,2}}|'| of )?"
        rf"{_YEAR}|"
        rf"(?:Q[1-4]|[1-4]Q)[ /-]?'[0-9]{{2}}|(?:FY ?)?{_YEAR}[ /-]{{0,2}}(?:Q[1-4]|[1-4]Q|H[12])))"
        r"(?![\w-])",
        example="relapse in Q3 2019",
        near_miss="q3 h, 2019 mL in all",
        gate="digit",
    ),
    DeidRule(
        id="date_quarter_short",
        letter="C",
        pattern=r"(?<![\w-])(?P<v>[1-4]Q[0-3][0-9]|Q[1-4]-?[0-3][0-9])(?![\w-]|\.\d)",
        example="relapse in 3Q19",
        near_miss="gain of 1Q21",
        gate="digit",
        after=r"\b(?i:in|since|by|during|until|through|late|early|end of|from|before|after) ",
    ),
    DeidRule(
        id="date_quarter_spelled",
        letter="C",
        pattern=r"\b(?P<v>(?i:first|second|third|fourth|last|1st|2nd|3rd|4th) "
        rf"(?i:quarter|half|third|semester|trimester|month|week)(?:,| of| in)? "
        rf"(?:the year |calendar year )?{_YEAR})\b",
        example="third quarter of 2019",
        near_miss="third quarter of the moon",
        gate="year",
        context=words_of("quarter half third semester trimester month week"),
    ),
    DeidRule(
        id="date_season",
        letter="C",
        pattern=rf"\b(?P<v>(?i:spring|summer|autumn|winter)(?:time)?(?:,| of| in)? "
        rf"(?:{_YEAR}|'[0-9]{{2}}))\b",
        example="summer of 2019",
        near_miss="summer camp 2019",
        context=words_of("spring summer autumn winter springtime summertime wintertime"),
    ),
    DeidRule(
        id="date_season_fall",
        letter="C",
        pattern=r"\b(?i:in|the|since|last|early|late|until|of|during|by|mid|through|this)[ -]"
        rf"(?P<v>(?i:fall) (?:of )?{_YEAR})\b",
        example="in the fall of 2019",
        near_miss="injured by fall in 2019",
        gate="year",
        context=("fall",),
    ),
    DeidRule(
        id="date_week",
        letter="C",
        pattern=rf"(?<![\w-])(?P<v>{_YEAR}-?W[0-5][0-9](?:-?[1-7])?|"
        rf"(?i:week|wk|kw|cw)\.? ?[0-5]?[0-9](?:,| of|/| /)? ?{_YEAR})(?![\w-])",
        example="seen in 2019-W32",
        near_miss="week 32 of 40",
        gate="year",
    ),
    DeidRule(
        id="date_holiday_year",
        letter="C",
        pattern=rf"\b(?P<v>(?i:{HOLIDAY}),? (?:of |in )?{_YEAR})\b",
        example="Christmas 2019",
        near_miss="Christmas disease 2019",
        gate="year",
        context=words_of(
            "christmas thanksgiving halloween year easter valentine valentines memorial labor july "
            "independence mother mothers father fathers patrick veterans good boxing columbus "
            "presidents cinco groundhog juneteenth"
        ),
    ),
    DeidRule(
        id="date_year_then_month",
        letter="C",
        pattern=rf"\b(?P<v>{_YEAR}(?:, |[ /-])(?P<m>{MONTH}))(?![\w'])",
        example="2019 November",
        near_miss="2019 may be right",
        gate="year",
        context=MONTH_WORDS,
        check="month",
    ),
    DeidRule(
        id="date_year_slash_month",
        letter="C",
        pattern=rf"(?<![\w/.-])(?P<v>(?P<c>{_YEAR})[/-](?P<a>0[1-9]|1[0-2]))(?![\w/-]|\.\d)",
        example="relapsed 2019/09",
        near_miss="season 2009/10",
        gate="year",
        check="year_month",
    ),
    DeidRule(
        id="date_spaced",
        letter="C",
        pattern=rf"(?<![\w.,/-])(?P<v>(?P<a>[0-3]?[0-9])"
        r"(?: [/.-]|[/.-]|(?= [0-3]?[0-9][/.-](?:19|20))) ?"
        rf"(?P<b>[0-3]?[0-9])[ /.-](?P<c>{_YEAR}))(?![\w/%-]|[.,]\d)",
        example="seen 04/23 1973",
        near_miss="seen 44/23 1973",
        gate="year",
        check="spaced_day",
    ),
    DeidRule(
        id="date_spaced_two_digits",
        letter="C",
        pattern=rf"(?<![\w.,/-])(?P<v>(?P<a>[0-3][0-9]) (?P<b>[0-3][0-9]) (?P<c>{_YEAR}))"
        r"(?![\w/%-]|[.,]\d)",
        example="seen 03 14 2019",
        near_miss="seen 33 44 2019",
        gate="year",
        check="spaced_day",
    ),
    DeidRule(
        id="date_spaced_year_first",
        letter="C",
        pattern=rf"(?<![\w.,/-])(?P<v>(?P<c>{_YEAR})[ /.-](?P<a>[01][0-9])[ /.-](?P<b>[0-3][0-9]))"
        r"(?![\w/%-]|[.,]\d)",
        example="seen 2019 03 14",
        near_miss="seen 2019 13 44",
        gate="year",
        check="spaced_day",
    ),
    DeidRule(
        id="date_slash_alone",
        letter="C",
        pattern=r"(?:\A|(?<=[\n(]))(?P<v>(?P<a>1[0-2]|0?[1-9])/(?P<b>3[01]|2[0-9]|1[3-9]))"
        r"(?=\Z|\)|:| ?- |, )",
        example="(3/14) stable",
        near_miss="(3/10) stable",
        gate="slash",
        check="slash_alone",
    ),
    DeidRule(
        id="date_slash_range",
        letter="C",
        pattern=r"(?<![\w/.-])(?P<v>(?P<a>1[0-2]|0?[1-9])/(?P<b>3[01]|[12][0-9]|0?[1-9])"
        r"(?: ?- ?| to | through | thru | until )(?P<a2>1[0-2]|0?[1-9])/"
        r"(?P<b2>3[01]|[12][0-9]|0?[1-9]))(?![\w/]|\.\d|-\d)",
        example="admitted 3/14-3/18",
        near_miss="murmur 2/6-3/6",
        gate="slash",
        check="slash_range",
    ),
    DeidRule(
        id="date_day_slash_month",
        letter="C",
        pattern=r"(?<![\w/.-])(?P<v>(?P<b>1[3-9]|2[0-9]|3[01])/(?P<a>1[0-2]|0?[1-9]))"
        r"(?![\w/]|\.\d|-\d)(?<!24/7)",
        example="admitted on 14/3",
        near_miss="on call 24/7",
        gate="slash",
        after=r"\b(?i:on|since|dob|born|dated|admitted|discharged|seen|until)[:,]? (?:on )?",
        check="month_slash_day",
    ),
)
