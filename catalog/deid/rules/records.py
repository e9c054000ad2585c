"""Rules for numbers of records, cases and samples that stand without a number word (G, H, J, R)."""

from __future__ import annotations

from catalog.deid.rule import DeidRule, bare, words_of

_PLACES = (
    "OR|ED|ER|ICU|MICU|SICU|CCU|NICU|PICU|CT|MRI|PACU|IR|SNF|L&D|cath|tele|floor|room|rm|bed|ward|"
    "unit|clinic|theatre|radiology|surgery|x-?ray|endo|dialysis|home|rehab|recovery|triage"
)
_LABORATORY = (
    "path|pathology|cyto|cytology|cytopathology|surgical|surg path|surg|histology|histo|autopsy|"
    "biopsy|bx|specimen|slide|slides|block|accession|acc|case|tissue|frozen|report|sample|smear|pap"
)
_SERIES = r"[A-Za-z]{1,3}-?[0-9]{2}[-:]?[A-Z]{0,2}[0-9]{3,7}(?:[- ]?[A-Z][0-9]{0,2})?"

RECORD_RULES: tuple[DeidRule, ...] = (
    bare(
        "mrn_bare",
        "H",
        "patient|pt|hospital|hosp|chart|unit|record|file|ur|urn|hn|registry|registration|clinic|"
        "facility|inpatient|outpatient|admission",
        "Patient 00417736 seen",
        "patient 4417 seen",
    ),
    bare(
        "account_bare",
        "J",
        "har|fin|csn|encounter|visit|guarantor|claim|invoice|receipt|bill|billing",
        "HAR 455363150",
        "HAR 4553",
    ),
    bare(
        "code_bare",
        "R",
        "accession|acc|specimen|case|order|requisition|req|barcode|study|sample|slide|lab|referral|"
        "ticket|prescription|rx|confirmation|reference|participant|subject",
        "Accession 44177360",
        "accession 4417",
    ),
    DeidRule(
        id="record_field",
        letter="H",
        pattern=r"\b(?i:(?:patient|pat|pt|person|member|subject|mrn|account|acct|visit|encounter|"
        r"accession|study|specimen|case|order|issuer|hospital)[_-]?(?:ids?|nos?|nr|num|number|mrn|"
        r"key|identifier))[\"']? ?[:=|] ?[\"']?"
        r"(?P<v>[A-Za-z0-9](?:[A-Za-z0-9]|[-/.](?=[A-Za-z0-9])){3,24})(?![A-Za-z0-9])",
        example="PatientID=00417736",
        near_miss="PatientID=none",
        gate="numbered",
        check="long_code",
    ),
    DeidRule(
        id="record_leading_zero",
        letter="H",
        pattern=r"(?<![\w:./,_-])(?P<v>0[0-9]{6,9})(?![\w/:-]|[.,]\d)",
        example="00417736 to OR 4",
        near_miss="0000000",
        gate="digit",
        check="leading_zero",
    ),
    DeidRule(
        id="record_before_move",
        letter="H",
        pattern=r"(?<![\w:./,_-])(?P<v>[1-9][0-9]{5,9})(?= (?i:transferred|admitted|arrived|"
        r"discharged|brought|presents|presented|c/o|s/p|here for|(?:back )?(?:to|from|in) "
        rf"(?:the )?(?:{_PLACES})\b))",
        example="4417736 to ICU",
        near_miss="100000 admitted yearly",
        gate="digit",
        context=(
            *("to", "from", "in", "transferred", "admitted", "arrived", "discharged", "brought"),
            *("presents", "presented", "c", "s", "here"),
        ),
        check="record_number",
    ),
    DeidRule(
        id="code_of_sample",
        letter="R",
        pattern=rf"\b(?i:{_LABORATORY})(?: (?i:number|num|no|id|report|case|path(?:ology)?))?"
        rf"[\s.:#(-]{{1,3}}(?P<v>{_SERIES}|[0-9]{{2}}[:-][A-Za-z]{{0,3}}[0-9]{{4,7}})(?![\w-])",
        example="Path C24-71989",
        near_miss="specimen CD34 positive",
        gate="digit",
        context=words_of(_LABORATORY.replace("|", " ")),
        check="sample_code",
    ),
    DeidRule(
        id="code_of_series",
        letter="R",
        pattern=r"(?<![\w-])(?P<v>[A-Z]{1,2}-?(?:[0-2][0-9]|9[0-9])-[0-9]{4,6}"
        r"(?:[- ]?[A-Z][0-9]{0,2})?)(?![\w-]|\.\d)",
        example="see S24-71989",
        near_miss="see S24-719",
        gate="digit",
        check="sample_code",
    ),
    DeidRule(
        id="code_uid",
        letter="R",
        pattern=r"(?<![\w.])(?P<v>[0-2](?:\.(?:0|[1-9][0-9]{0,38})){4,30})(?![\w]|\.\d)",
        example="1.2.840.113619.2.55.3.604688119.971",
        near_miss="1.2.840.10008.1.2.4.70",
        gate="dot",
        check="uid",
    ),
    DeidRule(
        id="code_uid_of_uuid",
        letter="R",
        pattern=r"(?<![\w.])(?P<v>2\.25\.[0-9]{20,39})(?![\w]|\.\d)",
        example="2.25.329800735698586629295641978511506172918",
        near_miss="2.25.32980",
        gate="dot",
    ),
)
