"""What only a person does or has done to, in a note: the verbs that tell a name from a word.

`Walker tolerated the procedure` is about somebody, `Walker was given to the patient` is not. Each
entry is a verb and what must follow it; nothing must where the verb alone says it.
"""

from __future__ import annotations

import re

from catalog.deid.rule import words_of

_ABLE = r"(?:un)?able to (?!be\b|draw|flush|advance|pass|aspirate)"
_GOING = (
    r"(?:eat|drink|walk|ambulat|sleep|rest|breath|cough|vomit|void|cry|talk|ask|request|complain|"
    r"refus|tolerat|feel|feed|tak|hav|us|smok|attend|exercis|stay|recover|wean|do)ing"
)
_STATE = (
    r"intubated|sedated|afebrile|febrile|alert|awake|asleep|confused|comfortable|unresponsive|"
    r"asymptomatic|hospitalized|admitted|ventilated|lethargic|agitated|combative|tearful|anxious|"
    r"npo|NPO|hemodynamically|hypoxic|hypotensive|oriented|ambulatory|bedbound|bedridden|homeless|"
    r"sober|drowsy|delirious|oxygen dependent|full code|a full code"
)
_SORT = (
    r"(?:(?:very |well-?|pleasant,?|lovely|delightful|retired|former|current|elderly|healthy|"
    r"nourished|developed|unfortunate|thin|obese|frail) )*(?:man|woman|gentleman|lady|boy|girl|"
    r"male|female|smoker|nonsmoker|patient|teacher|nurse|widow|widower|candidate|veteran|student|"
    r"farmer|infant|full code|poor historian)\b"
)
_SUPPORT = (
    r"(?:on|off) (?:(?:the|a|an|his|her|[0-9]+ ?l(?:iters?)?(?: of)?|home|supplemental|heparin|"
    r"insulin|nasal|high flow|full|minimal) )*(?:vent\b|ventilator|room air|oxygen|o2|O2|bipap|"
    r"BiPAP|cpap|CPAP|pressors|levophed|drip|gtt|ecmo|ECMO|cannula|dialysis|hospice|comfort care|"
    r"bed ?rest|telemetry|sedation|isolation|precautions|antibiotics|steroids|baseline)"
)
_AWAY = (
    r"(?:to|from) (?:(?:the|a|our|his|her|another|outside|operating|recovery|hospital|"
    r"step-?down|surgical|medical|emergency) )*(?:or|OR|ed|ED|er|ER|icu|ICU|micu|MICU|sicu|SICU|"
    r"pacu|PACU|ccu|CCU|floor|ward|unit|room|cath lab|home|hospital|department|rehab|snf|SNF|"
    r"hospice|bathroom|radiology|surgery|dialysis|facility|clinic|ct\b|CT\b|mri\b|MRI\b)"
)
_OWN = r"(?:his|her|their)\b"
_COUNT = r"(?:an?|no|any|some|one|two|three|four|several|more|further|another|his|her|their|[0-9]+)"
_KIND = (
    r"(?:low|high|mild|moderate|severe|some|more|less|new|worsening|significant|chest|back|"
    r"abdominal|good|bad|restless|uneventful|loose|large|small|low-grade|more|further|regular)"
)
_TROUBLE = (
    r"(?:fevers?|pain|nausea|vomiting|emesis|headaches?|chills|coughs?|seizures?|falls?|strokes?|"
    r"visitors?|complaints?|questions|concerns|difficulty|trouble|shortness|dizziness|diarrhea|"
    r"bowel movements?|bm|BM|stools?|night|day|breakfast|lunch|dinner|baby|appointment|episodes?|"
    r"surgery|palpitations|heart attack|rash|colonoscopy|mammogram|sore throat|cold)\b"
)
_HAD = rf"(?:{_COUNT} )?(?:{_KIND} )*{_TROUBLE}"
_SEEN = (
    r"seen(?! (?:on|within|near|through|under|along|between|at the|by (?:ct|mri|us|ultra|x|CT|MRI)|"
    r"in the (?!clinic|office|ed\b|ED\b|emergency|hospital|icu|ICU|morning|afternoon)))\b"
)
_BEEN = rf"(?:{_ABLE}|{_GOING}|{_STATE}|{_SUPPORT}|{_SEEN}|well\b|sick|ill\b|in the hospital)"
_GIVEN = (
    rf"(?:{_COUNT}|the|iv|IV|oral|intravenous|instructions|information|fluids|oxygen|discharge|"
    r"prescriptions?|education|morphine|tylenol|Tylenol|antibiotics|medications?|pain|blood)\b"
)
_DIET = (
    r"(?:(?:the|a|an|this|his|her|full|clear|soft|regular|oral|po|PO|tube) )*(?:procedures?|"
    r"operation|surgery|anesthesia|diet|feeds?|feedings?|meals?|liquids?|intake|lunch|breakfast|"
    r"dinner|extubation|wean|weaning|treatments?|therapy|infusion|session|exam|visit|transfer|"
    r"dialysis|chemotherapy|po\b|PO\b|clears|sitting|walking|ambulation)"
)
_BACK = r"(?:to|home|for|with|today|from|yesterday|in|back|by|after|this|and)\b"

_BASE = (
    r"(?:eat|drink|walk|sleep|void|ambulate|return|follow (?:up|commands)|go (?:home|to)|like to|"
    r"want|remember|tolerate|take|recall|speak|talk|stand|sit|feel|see (?:me|us|dr|his|her)|call|"
    r"need to|come (?:in|back|to)|undergo|smoke|know|understand|have (?:any|pain|a|an|surgery|his|"
    r"her|chest|follow|another)|get (?:up|out|his|her)|agree|move|breathe|cough|swallow|wear|use|"
    r"drive|work|do well|be (?:discharged|seen|admitted|transferred|scheduled|going|able to|"
    r"aroused|npo|reevaluated|evaluated|followed))\b"
)

_ACTS: dict[str, str] = {
    **dict.fromkeys(
        words_of(
            "denies denied states stated complains complained reports reported endorses endorsed "
            "presents presented consented refused declined underwent ambulates ambulated smokes "
            "drinks lives lived says said voided vomited wishes wished requests requested phoned "
            "telephoned verbalized verbalizes"
        ),
        "",
    ),
    "is": rf"an? (?:[0-9]|{_SORT})|allergic to|scheduled (?:for|to)|followed (?:by|for|in)|eager|"
    rf"reluctant|worried|concerned about|happy|{_ABLE}|"
    rf"{_GOING}|{_STATE}|{_SUPPORT}|going home|doing well|married|retired|"
    r"willing to|agreeable|living (?:alone|at|in an?|with)|here (?:today|for|with)",
    "was": rf"{_ABLE}|able to be (?:discharged|weaned|extubated|transferred|moved|fed)|{_GOING}|"
    rf"{_STATE}|{_SUPPORT}|given {_GIVEN}|born|discharged|accompanied by|{_SEEN}|extubated|"
    r"brought (?:in\b|home|by (?:ems|EMS|ambulance|police|family|his|her))|"
    r"readmitted|counsell?ed|instructed|advised|reassured|told|asked|informed|resting|sent home|"
    rf"(?:transferred|taken|moved|brought|sent|wheeled|discharged) {_AWAY}|bathed|fed|consented|"
    r"placed in (?:restraints|isolation)|"
    r"made (?:npo|NPO|comfortable|dnr|DNR)|helped|encouraged to|made aware|pronounced|"
    r"started on|weaned|scheduled (?:for|to)|placed on (?:bipap|BiPAP|oxygen|the vent|hospice|"
    r"comfort|[0-9]+ l)|anxious|up (?:all|in|to|and|walking)|"
    r"rude|pleasant and|calm|referred (?:by|for)|treated (?:for|with)|hit by|"
    r"lost to follow|last seen|kept npo|diaphoretic|"
    r"found (?:down|unresponsive|asleep|wandering|lying|sitting|on the floor)|in the (?:icu|"
    r"ICU|hospital)|upset|worried|happy|cooperative|offered (?!to\b)|nause(?:ous|ated)|"
    r"diagnosed (?:with|as)",
    **dict.fromkeys(
        ("has", "had"),
        rf"(?:had )?{_HAD}|been {_BEEN}|(?:a|no) history|not (?:eaten|slept|voided|had)",
    ),
    **dict.fromkeys(
        ("remains", "remained", "remain"),
        rf"{_STATE}|{_SUPPORT}|on a vent|off pressors|in the (?:hospital|icu|ICU)|at {_OWN}|"
        r"in (?:bed|good spirits|no distress|restraints)",
    ),
    **dict.fromkeys(("tolerated", "tolerates"), _DIET),
    **dict.fromkeys(
        ("continues", "continued"),
        rf"{_SUPPORT}|to (?:have|improve|do|recover|eat|complain|refuse|report|deny|smoke|drink|"
        r"take|feel|do well|ambulate|vomit|cough|ask|request|work with|sleep)\b",
    ),
    **dict.fromkeys(
        ("asked", "asks"), r"(?:to|for|about|if|whether|that|when|why|how|what|the|me|us)\b"
    ),
    **dict.fromkeys(("agreed", "agrees", "wants", "wanted", "hopes", "hoped"), r"(?:to|with)\b"),
    **dict.fromkeys(
        ("feels", "felt"),
        r"(?:better|well|worse|fine|ok|okay|good|tired|dizzy|weak|sick|unwell|nauseated|anxious|"
        r"that|short of|like|much|more|very|so|hot|cold|faint|lightheaded|depressed|sad)\b",
    ),
    **dict.fromkeys(
        ("called", "calls"),
        rf"(?:to|about|back|in|with|from|today|yesterday|this (?:morning|afternoon)|for|the (?:"
        rf"clinic|office|nurse|doctor|unit|floor)|us|asking|stating|saying|and|{_OWN})\b",
    ),
    **dict.fromkeys(("returned", "returns", "came", "comes"), _BACK),
    **dict.fromkeys(("went", "goes"), rf"home|back to|{_AWAY}|to (?:sleep|bed|work|school)"),
    **dict.fromkeys(("takes", "took"), _OWN),
    **dict.fromkeys(("received", "receives"), rf"(?:{_COUNT}|iv|IV|instructions)\b"),
    **dict.fromkeys(("ate", "eats", "drank", "slept", "sleeps"), ""),
    **dict.fromkeys(("works", "worked"), r"(?:as|at|for|in|with)\b"),
    **dict.fromkeys(
        ("walked", "walks"), r"(?:to|with|in|[0-9]+|around|down|a|the|without|about|using|daily)\b"
    ),
    **dict.fromkeys(("needs", "needed"), r"(?:to (?!be\b)|help\b|assistance|oxygen|his\b|her\b)"),
    **dict.fromkeys(("required", "requires"), r"(?:oxygen|assistance|intubation|restraints)"),
    "understands": r"(?:and|the|that|how)\b",
    "fell": r"(?:at|on|and|from|down|out|while|in|off|asleep|twice|again)\b",
    "left": rf"(?:ama\b|AMA\b|against medical|without being|home|{_OWN})",
    "arrived": r"(?:to|at|by|in|from|with)\b",
    "expressed": r"(?:understanding|concern|interest|a wish|worry|fear)",
    **dict.fromkeys(
        words_of("will would can could cannot does did should didn't doesn't couldn't can't won't"),
        rf"(?:not )?(?:also |now |still )?{_BASE}",
    ),
    **dict.fromkeys(
        words_of(
            "died wakes noticed notices remembers recalls spiked drove awoke sneezed wept "
            "fainted collapsed admits admitted believes thinks thought enjoys dislikes likes sees "
            "stood sat eloped"
        ),
        "",
    ),
    "passed": r"(?:away|out|gas|a stone|his|her)\b",
    "woke": r"(?:up|with|from|confused|at)\b",
    **dict.fromkeys(
        ("became", "becomes", "gets", "got"),
        rf"(?:very |more |increasingly |acutely )?(?:{_STATE}|tired|dizzy|short of|upset|"
        rf"nause|up\b|out of|into bed|{_OWN}|hypo|weak|diaphoretic|apneic|tachy|"
        r"worse|better|brady|sick)",
    ),
    **dict.fromkeys(
        ("developed", "develops"),
        rf"{_HAD}|(?:a |an |new |acute )*(?:rash|pneumonia|sepsis|delirium|hives|confusion|"
        r"swelling|hypotension|hypoxia|ileus|dvt|DVT|infection|uti|UTI|allergy|acute|bleeding)",
    ),
    **dict.fromkeys(
        ("lost", "gained"),
        r"(?:[a-z0-9]+ (?:pounds|lbs|kg|pregnancies)|weight|"
        r"consciousness|interest|his|her|a lot)\b",
    ),
    **dict.fromkeys(
        ("quit", "stopped", "started", "tried", "avoids", "finished"),
        r"(?:smoking|drinking|taking|eating|using|breathing|working|school|"
        r"physical|a diet|to (?!be)|dialysis|chemo|chemotherapy|therapy|his|her|"
        r"insulin|metformin)\b",
    ),
    "pulled": r"(?:out|at|his|her|off)\b",
    **dict.fromkeys(("opens", "opened", "moves", "moved"), r"(?:his|her|both|all|eyes|to)\b"),
    **dict.fromkeys(("follows", "followed"), r"(?:commands|up|a diet|simple|all)\b"),
    **dict.fromkeys(("drives", "sits", "stands"), r"(?:a|the|to|up|in|at|with|himself|herself)\b"),
    **dict.fromkeys(
        ("uses", "used", "wears"), r"(?:a|an|his|her|home|oxygen|insulin|cpap|tobacco)\b"
    ),
    "worries": r"(?:about|that)\b",
    **dict.fromkeys(
        ("appears", "appeared", "looks", "looked", "seems", "seemed"),
        rf"(?:to be )?(?:very |more |quite |a bit |much )?(?:{_STATE}|well\b|tired|"
        r"ill\b|anxious|sad|better|older|younger|his stated|her stated|pale|depressed|weak|"
        r"uncomfortable|upset|calm|relaxed|in pain|frail|nervous|happy)",
    ),
}

BETWEEN = (
    r"(?:(?:who|also|then|now|today|yesterday|still|later|again|overnight|currently|initially|"
    r"subsequently|reportedly|finally|never|just|herself|himself) )?"
)
"""What may stand between a name and its verb: `Mason later called`."""


_MAY_END = frozenset(("called", "calls", "walked", "returned"))


def _phrase(verb: str, rest: str) -> str:
    end = r"|(?= ?[.;!?]|\s*$)" if verb in _MAY_END else ""
    return f"{verb}(?: (?:{rest}){end})" if rest else rf"{verb}\b"


ACTS = f"(?:{'|'.join(_phrase(verb, rest) for verb, rest in _ACTS.items())})"
"""A verb of the acts and what follows it, as a pattern."""

ACT_WORDS = tuple(verb.split("'")[0] for verb in _ACTS)
"""The verbs, one of which stands in any text with an act."""

OF_FIRMS = frozenset(
    words_of(
        "called calls asked asks agreed agrees wants wanted requests requested phoned telephoned "
        "works worked feels felt came comes returned returns needs needed requires required "
        "received receives went goes left arrived understands will would can could cannot does "
        "did should didn't doesn't couldn't can't won't thinks thought believes started followed "
        "follows moved noticed notices tried uses used admits drove drives"
    )
)
"""Verbs that wards and firms have as well: `Home Health called back`."""

OF_PAPERS = frozenset(words_of("reports reported says said states stated presents presented"))
"""Verbs that findings and papers have as well: `English reports`."""

_ACT = re.compile(rf",? {BETWEEN}(?P<act>{ACTS})")


def act(text: str, end: int) -> str:
    """The verb of what only people do, where that stands behind the word that ends here, or ''.

    >>> act("Walker tolerated the diet", 6), act("Walker was given to her", 6)
    ('tolerated', '')
    """
    match = _ACT.match(text, end)
    return match["act"].split(" ")[0] if match else ""
