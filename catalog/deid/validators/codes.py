"""Checks that a match of a rule for numbers, codes, biometrics or photographs must pass."""

from __future__ import annotations

import re

from catalog.deid.rule import Check
from catalog.deid.validators import checksums
from catalog.deid.validators.checksums import is_placeholder
from catalog.deid.validators.dates import unit_follows


def _digits(match: re.Match[str]) -> str:
    return checksums.digits_of(match["v"])


_DIAGNOSIS = re.compile(r"(?:[A-TV-Z][0-9][0-9A-Z](?:\.[0-9A-Z]{1,4})?|[0-9]{3}\.[0-9]{1,2})")
_OTHER_CODE = re.compile(
    r"(?i)(?:\b(?:ndc|upc|gtin|ean|isbn|hp|hpo|go|doid|o?mim|lot|ref|cat(?:alog)?|loinc|"
    r"snomed(?: ct)?|icd|cpt|hcpcs|drg|model|code|codes|nct|pmid|pmc|doi|part|item|umls|cui|rxnorm|"
    r"rxcui|rx|version|orpha\w*|hgnc|chebi|mondo|uberon|ncbi|gene|refseq|genbank|ensembl|cas|atc|meddra|unii|taxid|"
    r"grant|award|approx(?:imately)?|about|over|nearly|roughly|than|least|total of|sum of|of)\W*"
    r"(?:(?:no|number|code|id|is|was)\b\W*){0,2}|[$\u20ac\u00a3<>=~^]\s?)$"
)
_LABEL = re.compile(
    r"(?i)\b(?:mrn|m\.r\.n|records?|ids?|numbers?|num|nos?|nr|acc|acct|accounts?|ssn|serial|s/n|sn|"
    r"medicaid|medicare|policy|license|licence|passport|fax|phone|tel|call|cell|pager|card|har|csn|"
    r"fin|encounter|visit|accession|patient|pt|chart|case|order)\b\W{0,4}$"
)
_REGISTERED = re.compile(
    r"1\.2\.840\.10008\.|2\.16\.840\.1\.113883\.(?:[3-6]|1\.11)\.|1\.3\.6\.1\.4\.1\.19376\."
)


def _is_diagnosis(match: re.Match[str]) -> bool:
    """`ICD code Z79.4`: a code of a disease, where the label could be that of a device."""
    is_icd = re.match(r"(?i)icd\b", match[0]) is not None
    return is_icd and _DIAGNOSIS.match(match["v"]) is not None


def record_number(match: re.Match[str]) -> bool:
    """A code of six digits and more: no round number, and no code of a thing or a concept."""
    digits = _digits(match)
    if len(digits) < 6 or digits.endswith("000") or not code(match):
        return False
    return _OTHER_CODE.search(_before(match)) is None


def leading_zero(match: re.Match[str]) -> bool:
    """A number that begins with zero, behind no label: no dose, no code of a thing."""
    if is_placeholder(_digits(match)) or unit_follows(match):
        return False
    before = _before(match)
    return not (_OTHER_CODE.search(before) or _LABEL.search(before))


def sample_code(match: re.Match[str]) -> bool:
    """A code of a year and a number; no marker of a cell, gene or drug."""
    value = match["v"]
    is_marker = re.match(r"(?:CD|HLA|IL|CK|CA|HPV|ICD|ER|PR|HER|NCT|GLUT|BRCA)-?[0-9]", value)
    return not is_marker and len(_digits(match)) >= 5 and not unit_follows(match)


def uid(match: re.Match[str]) -> bool:
    """A dotted identifier of an object; none that a standard gave to a class or a code system."""
    value = match["v"]
    if len(value) < 18 or value.count(".") < 5 or _REGISTERED.match(value):
        return False
    return max(map(len, value.split("."))) >= 4


def _before(match: re.Match[str]) -> str:
    return match.string[max(0, match.start("v") - 32) : match.start("v")]


def code(match: re.Match[str]) -> bool:
    """At least three digits; no year, date, quantity or band of a chromosome."""
    value = match["v"]
    digits = checksums.digits_of(value)
    if len(digits) < 3 or is_placeholder(digits) or _is_diagnosis(match):
        return False
    if re.fullmatch(r"(?:18|19|20)\d\d(?:-\d\d(?:\d\d)?)?", value):
        return False
    if re.search(r"\d\d?/\d|^\d{1,2}[pq]\d", value):
        return False
    return not unit_follows(match)


def long_code(match: re.Match[str]) -> bool:
    """A code of at least five digits, or of four and a letter."""
    count = len(_digits(match))
    return code(match) and (
        count >= 5 or (count >= 4 and re.search("[A-Za-z]", match["v"]) is not None)
    )


def licence(match: re.Match[str]) -> bool:
    """A code of at least four digits."""
    return code(match) and len(_digits(match)) >= 4


def unique_code(match: re.Match[str]) -> bool:
    """A code that is no number of a registered trial and no phone number."""
    return code(match) and not re.match(r"(?i)nct|isrctn|eudract|pmid|doi|icd|cpt", match["v"])


def bare_code(match: re.Match[str]) -> bool:
    """A code of five signs or more behind a bare `ID:`."""
    return unique_code(match) and len(match["v"]) >= 5


def is_mixed_code(match: re.Match[str]) -> bool:
    """At least four digits and three letters that change places more than once."""
    value = match["v"]
    changes = len(re.findall(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])", value))
    letters = sum(sign.isalpha() for sign in value)
    has_own_rule = checksums.is_vin(value) or checksums.is_iban(value)
    return len(_digits(match)) >= 4 and letters >= 3 and changes >= 2 and not has_own_rule


def plate(match: re.Match[str]) -> bool:
    """Letters and digits, or five digits and more; no quantity."""
    value = match["v"]
    has_letter = re.search("[A-Z]", value) is not None
    return (
        (has_letter or len(_digits(match)) >= 5)
        and bool(_digits(match))
        and not unit_follows(match)
    )


def biometric(match: re.Match[str]) -> bool:
    """No description of an eye or a gait: those words need a word of keeping."""
    return not re.search(
        r"(?i)(?:retina|iris|foot|gait|vein)[a-z ]*(?:was|were|taken|"
        r"obtained)$",
        match["v"],
    )


def photograph(match: re.Match[str]) -> bool:
    """A picture that shows who it is; not of a wound, a joint or an organ."""
    after = match.string[match.end() : match.end() + 40]
    return not re.match(r"(?i)'s? (?:wound|skin|back|foot|hand|lesion|rash|eye|retina)", after)


def handle(match: re.Match[str]) -> bool:
    """A handle with a digit or a joining sign."""
    return len(match["v"]) >= 4


CODE_CHECKS: dict[str, Check] = {
    **{
        check.__name__: check
        for check in (
            *(code, long_code, licence, unique_code, bare_code, is_mixed_code, plate, biometric),
            *(photograph, handle, record_number, leading_zero, sample_code, uid),
        )
    },
    "number": lambda match: not is_placeholder(_digits(match)),
    "ssn": lambda match: checksums.is_ssn(match["v"]),
    "nhs_number": lambda match: checksums.is_nhs_number(match["v"]),
    "card_number": lambda match: checksums.is_card_number(match["v"]),
    "iban": lambda match: checksums.is_iban(match["v"]),
    "dea": lambda match: checksums.is_dea(match["v"]),
    "vin": lambda match: checksums.is_vin(match["v"]),
    "gtin": lambda match: checksums.is_gtin(match["g"]),
}
