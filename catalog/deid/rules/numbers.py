"""Rules for numbers that were given to a person or a thing of theirs (G to M)."""

from __future__ import annotations

from catalog.deid.rule import GLUE, DeidRule, labelled_rule

_SSN_LABEL = (
    r"(?i:ssn|s\.?s\.? ?(?:#|no\b\.?|num(?:ber)?\b)|s\.s\.n\.?|"
    r"soc(?:ial)?\.? sec(?:urity)?\.?|social)(?![A-Za-z])"
)

NUMBER_RULES: tuple[DeidRule, ...] = (
    DeidRule(
        id="ssn",
        letter="G",
        pattern=r"(?<![\w-])(?P<v>[0-9]{3}(?: ?[-.] ?| )[0-9]{2}(?: ?[-.] ?| )[0-9]{4})(?!\w|-\d)",
        example="219-09-9999",
        near_miss="000-09-9999",
        gate="digit",
        check="ssn",
    ),
    DeidRule(
        id="ssn_labelled",
        letter="G",
        pattern=rf"\b{_SSN_LABEL}{GLUE}(?P<v>[0-9]{{3}}(?: ?[-._/] ?| )?[0-9]{{2}}"
        r"(?: ?[-._/] ?| )?[0-9]{4})(?!\w)",
        example="SSN 219099999",
        near_miss="SSN not given, 21909",
        gate="digit",
        check="number",
        context=("ssn", "ss", "s", "social", "soc"),
    ),
    DeidRule(
        id="ssn_last_four",
        letter="G",
        pattern=r"\b(?i:(?:last (?:four|4)(?: digits)?(?: of)?(?: the| his| her| their| my)? "
        r"(?:ssn|ss ?#|social(?: security)?(?: number)?)"
        rf"|(?:ssn|ss ?#|social security(?: number)?)[^0-9\n]{{0,12}}(?:ending|ends|last (?:four|"
        rf"4))(?: digits)?(?: in| with)?\)?)){GLUE}(?P<v>[0-9]{{4}})\b|"
        rf"(?P<w>[Xx*#]{{3}}-?[Xx*#]{{2}}-?[0-9]{{4}})\b",
        example="last four of SSN: 9999",
        near_miss="last four of his sons, 9999 steps",
        gate="digit",
    ),
    labelled_rule(
        "mrn",
        "H",
        r"mrn|m\.r\.n\.?|mr ?#|mr ?(?=no\b|number\b)|mpi|emr|epic|uhid|pid|chi|med(?:ical)? "
        r"?rec(?:ord)?s?|medical chart",
        "MRN: 00417736",
        "medical record from 2019",
        context="mrn m mr mpi emr epic uhid pid chi med medical medrec",
    ),
    labelled_rule(
        "mrn_weak_label",
        "H",
        r"(?:patient|pt|hospital|hosp|chart|unit|record|file|ur|urn|registry|case record|clinic|"
        r"facility|inpatient|outpatient|enterprise|admission|person)",
        "patient ID 00417736",
        "patient number two of the day, 417 ml",
        context="patient pt hospital hosp chart unit record file ur urn registry clinic facility "
        "inpatient outpatient enterprise admission person",
        is_weak=True,
    ),
    DeidRule(
        id="nhs_number",
        letter="H",
        pattern=r"(?<![\w-])(?P<v>[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4})(?![\w-])",
        example="NHS 943 476 5919",
        near_miss="NHS 943 476 5918",
        gate="digit",
        context=("nhs",),
        check="nhs_number",
    ),
    labelled_rule(
        "health_plan",
        "I",
        r"(?:member|subscriber|policy|policyholder|beneficiary|insurance|insured|insurer|plan|"
        r"health plan|group|payer|payor|enrollee|coverage|benefits?|rx ?(?:bin|pcn|grp|group)|"
        r"hmo|ppo|policy ?holder|prior auth(?:orization)?|dependent)",
        "member ID XQW004417736",
        "group of 417 members",
        context="member subscriber policy policyholder beneficiary insurance insured insurer plan "
        "health group payer payor enrollee coverage benefit benefits rx hmo ppo prior dependent",
        is_weak=True,
    ),
    labelled_rule(
        "health_plan_named",
        "I",
        r"hicn?|mbi|medicare|medicaid|medi-?cal|tricare|champus|blue ?cross(?: blue ?shield)?|"
        r"bcbs|aetna|cigna|humana|united ?healthcare|anthem|kaiser|wellpoint|centene|molina|"
        r"medigap|healthfirst|oxford",
        "Medicaid 004417736A",
        "Medicare since 2019",
        context="hic hicn mbi medicare medicaid medi medical tricare champus blue bluecross bcbs "
        "aetna cigna humana united unitedhealthcare anthem kaiser wellpoint centene molina medigap "
        "healthfirst oxford",
        check="long_code",
    ),
    DeidRule(
        id="medicare_beneficiary",
        letter="I",
        pattern=r"(?<![\w-])(?P<v>[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9][0-9]-?[AC-HJKMNP-RT-Y]"
        r"[AC-HJKMNP-RT-Y0-9][0-9]-?[AC-HJKMNP-RT-Y]{2}[0-9]{2})(?![\w-])",
        example="1EG4-TE5-MK73",
        near_miss="1SG4-TE5-MK73",
        gate="digit",
    ),
    labelled_rule(
        "account",
        "J",
        r"(?:account|acct|a/c|bank|checking|savings|bill|billing|invoice|encounter|visit|"
        r"guarantor|financial|csn|har|fin|claim|receipt|transaction|statement|payment|card|"
        r"credit card|debit card|loan|contact serial|hospital account|patient account|"
        r"collections?|deposit|wire)",
        "account number 004417736",
        "visit number 3 of 12",
        context="account acct a bank checking savings bill billing invoice encounter visit "
        "guarantor financial csn har fin claim receipt transaction statement payment card credit "
        "debit loan contact hospital patient collection collections deposit wire",
        is_weak=True,
    ),
    labelled_rule(
        "account_strong_label",
        "J",
        r"acct|csn|iban|swift|account|routing|aba|debit card|credit card|visa|mastercard|amex|"
        r"american express|discover(?: card)?",
        "acct 4417736",
        "on account of 12 falls",
        context="acct csn iban swift account routing aba debit credit visa mastercard amex "
        "american discover",
        check="long_code",
    ),
    DeidRule(
        id="payment_card",
        letter="J",
        pattern=r"(?<![\w.-])(?P<v>[1-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}|"
        r"3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}|[1-6][0-9]{11,18})(?![\w-])",
        example="4111 1111 1111 1111",
        near_miss="4111 1111 1111 1112",
        gate="digit",
        check="card_number",
    ),
    DeidRule(
        id="iban",
        letter="J",
        pattern=r"(?<![\w-])(?P<v>[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ "
        r"-]?[A-Za-z0-9]{1,4})?)(?![\w-])",
        example="GB82 WEST 1234 5698 7654 32",
        near_miss="GB82 WEST 1234 5698 7654 33",
        gate="digit",
        check="iban",
    ),
    labelled_rule(
        "licence",
        "K",
        r"(?:(?:driver'?s?'? |driving |medical |nursing |state |professional |pilot'?s? |hunting "
        r"|marriage |pharmacy |physician |fishing |gun |firearms? |teaching )?licen[sc]e|lic|"
        r"(?:birth |death |marriage |board )?certificate|certification|credential|permit|"
        r"passport|state id|identity card|id card|visa|green card|registration|concealed carry)",
        "driver's license number F1623-4417",
        "license renewed in 2019",
        context="license licence lic certificate certification credential permit passport state "
        "identity id visa green registration concealed",
        is_weak=True,
        check="licence",
    ),
    labelled_rule(
        "licence_strong_label",
        "K",
        r"dea|npi|upin|cdl|dl ?#?|driver'?s? licen[sc]e|driving licen[sc]e|licen[sc]e|passport|"
        r"lic\.|(?:birth|death|marriage) certificate|medical license",
        "passport X44177360",
        "driver's license since 1998",
        context="dea npi upin cdl dl driver drivers driving license licence passport lic birth "
        "death marriage medical",
        check="licence",
    ),
    DeidRule(
        id="licence_dea",
        letter="K",
        pattern=r"(?<![\w-])(?P<v>[ABCDEFGHJKLMPRSTUX][A-Z9][0-9]{7})(?![\w-])",
        example="AB1234563",
        near_miss="AB1234567",
        gate="digit",
        check="dea",
    ),
    DeidRule(
        id="vehicle_vin",
        letter="L",
        pattern=r"(?<![\w-])(?P<v>[A-HJ-NPR-Z0-9]{17})(?![\w-])",
        example="1M8GDM9AXKP042788",
        near_miss="1M8GDM9A1KP042788",
        gate="digit",
        check="vin",
    ),
    DeidRule(
        id="vehicle_vin_labelled",
        letter="L",
        pattern=r"\b(?i:vin|vehicle identification|vehicle id|"
        rf"chassis)\b{GLUE}(?P<v>[A-Za-z0-9-]{{8,20}})(?![\w-])",
        example="VIN WDB1240661C041773",
        near_miss="VIN III lesion",
        gate="digit",
        context=("vin", "vehicle", "chassis"),
        check="code",
    ),
    DeidRule(
        id="vehicle_plate",
        letter="L",
        pattern=r"\b(?i:licen[sc]e plates?|number plates?|plates? (?=no\b|number|#)|licen[sc]e "
        r"tag|plates?(?=:| reading)|vehicle reg(?:istration)?|car reg(?:istration)?|tags?(?= "
        r"number|:| no\b|#)|registration plate|reg(?= no\b| number|:)|(?:car|truck|van|vehicle|"
        r"motorcycle|sedan|suv|pickup)(?:,| with)? (?:(?:licen[sc]e )?plates?|tag|"
        r"reg(?:istration)?))(?i: reading| on (?:the|his|her) "
        rf"[a-z]+)?{GLUE}(?P<v>(?=[A-Z-]*[0-9 ])[A-Z0-9]{{1,4}}(?:[- ]?[A-Z0-9]{{2,4}}){{1,2}}|"
        rf"[A-Z0-9]{{4,8}})(?![\w-])",
        example="license plate HGT 4417",
        near_miss="plate and 12 screws",
        gate="digit",
        context=(
            *("license", "licence", "number", "plate", "plates", "tag", "tags", "reg", "vehicle"),
            *("car", "truck", "van", "motorcycle", "sedan", "suv", "pickup", "registration"),
        ),
        check="plate",
    ),
    labelled_rule(
        "device_serial",
        "M",
        r"(?:serial|s/n|ser\.?(?= no| #|ial)|imei|udi|device|implant|generator|asset tag|asset|"
        r"equipment|pacemaker|icd|lead|pump|monitor|prosthesis|stent|valve|glucometer|cpap|"
        r"hearing aid|defibrillator|stimulator|catheter|meid|machine|scanner|unit serial|"
        r"model/serial)",
        "serial number PJN4417736",
        "device number two, 417 ohm",
        context="serial s ser imei udi device implant generator asset equipment pacemaker icd lead "
        "pump monitor prosthesis stent valve glucometer cpap hearing defibrillator stimulator "
        "catheter meid machine scanner unit model",
        is_weak=True,
    ),
    DeidRule(
        id="device_sn",
        letter="M",
        pattern=r"\b(?:SN|S/N|s/n|Serial|serial|SERIAL|IMEI|imei|"
        rf"UDI){GLUE}(?P<v>[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){{4,24}})(?![A-Za-z0-9])",
        example="SN PJN4417736",
        near_miss="SN conduction, 44 ms",
        gate="digit",
        context=("sn", "s", "serial", "imei", "udi"),
        check="code",
    ),
    DeidRule(
        id="device_udi",
        letter="M",
        pattern=r"(?P<v>\(01\)(?P<g>[0-9]{14})(?:\([0-9]{2}\)[A-Za-z0-9-]{1,20}){0,4})",
        example="(01)00844588003288(21)4417A",
        near_miss="(01)00844588003280(21)4417A",
        gate="digit",
        check="gtin",
    ),
    DeidRule(
        id="device_mac",
        letter="M",
        pattern=r"(?<![\w:-])(?P<v>(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|"
        r"(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2})(?![\w:-])",
        example="00:1A:C2:7B:00:47",
        near_miss="00:1A:C2:7B:00",
        gate="digit",
    ),
)
