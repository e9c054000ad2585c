"""Checks that a match of a rule for numbers, codes, biometrics or photographs must pass."""

from __future__ import annotations

import re

from catalog.deid import checksums
from catalog.deid.rule import Check
from catalog.deid.validators_dates import unit_follows


def _digits(match: re.Match[str]) -> str:
    return checksums.digits_of(match["v"])


def code(match: re.Match[str]) -> bool:
    """At least three digits; no year, date, quantity or band of a chromosome."""
    value = match["v"]
    digits = checksums.digits_of(value)
    if len(digits) < 3 or re.fullmatch(r"(?:18|19|20)\d\d(?:-\d\d(?:\d\d)?)?", value):
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


def mixed(match: re.Match[str]) -> bool:
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
            *(code, long_code, licence, unique_code, bare_code, mixed, plate, biometric),
            *(photograph, handle),
        )
    },
    "ssn": lambda match: checksums.is_ssn(match["v"]),
    "nhs_number": lambda match: checksums.is_nhs_number(match["v"]),
    "card_number": lambda match: checksums.is_card_number(match["v"]),
    "iban": lambda match: checksums.is_iban(match["v"]),
    "dea": lambda match: checksums.is_dea(match["v"]),
    "vin": lambda match: checksums.is_vin(match["v"]),
    "gtin": lambda match: checksums.is_gtin(match["g"]),
}
