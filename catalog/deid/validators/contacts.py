"""Checks that a match of a rule for phone, fax, mail, web and network addresses must pass."""

from __future__ import annotations

import ipaddress
import re

from catalog.deid.rule import Check
from catalog.deid.validators.checksums import digits_of, is_placeholder
from catalog.deid.validators.dates import unit_follows

_DATE_OR_ADDRESS = re.compile(
    r"(?:19|20)\d\d[-.]?\d\d?[-.]?\d\d?|\d\d?[-.]\d\d?[-.](?:19|20)\d\d|(?:\d{1,3}\.){3}\d{1,3}|"
    r"\d{5}-\d{4}"
)
_NUMBER_OF_ELSE = re.compile(
    r"(?i)(?<!phone)(?<!cell)(?<!home)(?<!work)(?<!contact)(?<!mobile)(?<!pager)(?<!office)"
    r"(?<!back)(?<!my)(?<!his)(?<!her)(?<!their)(?<!emergency)(?<!toll-free)(?<!hotline)(?<!line)"
    r"(?<!the)(?<!at)(?<!^) number\b[^0-9]*$"
)
_OTHER_NUMBER = re.compile(
    r"(?i)\b(?:mrn|record|account|policy|member|serial|licen[sc]e|id|ssn|order|case|address|"
    r"reports?|icd|insurance)\b[^0-9]*$"
)


def not_fax(match: re.Match[str]) -> bool:
    """No fax number, which has a rule and an identifier of its own, and no placeholder."""
    if is_placeholder(digits_of(match["v"])):
        return False
    before = match.string[max(0, match.start("v") - 40) : match.start("v")]
    return not re.search(
        r"(?i)(?<!\d )\b(?:fax|faxed|facsimile|telefax|fx|e-?fax)\b[^0-9\n]*(?:\+?1[ "
        r".-]?)?$",
        before,
    )


def trunk_phone(match: re.Match[str]) -> bool:
    """Nine to eleven digits in groups."""
    is_ssn_shaped = re.fullmatch(r"\d{3}[ .-]\d{2}[ .-]\d{4}", match["v"]) is not None
    return 9 <= len(digits_of(match["v"])) <= 11 and not is_ssn_shaped and not_fax(match)


def context_phone(match: re.Match[str]) -> bool:
    """Seven to fifteen digits after a word about calling; no date, no quantity, no other number."""
    if not 7 <= len(digits_of(match["v"])) <= 15 or _DATE_OR_ADDRESS.fullmatch(match["v"]):
        return False
    before = match.string[max(0, match.start() - 16) : match.start("v")]
    if _NUMBER_OF_ELSE.search(before) or _OTHER_NUMBER.search(before):
        return False
    return not unit_follows(match) and not_fax(match)


def not_measure(match: re.Match[str]) -> bool:
    """A number that is no quantity."""
    return not unit_follows(match)


def fax(match: re.Match[str]) -> bool:
    """Seven to fifteen digits; behind a single F only with a colon."""
    label = match.string[match.start() : match.start("v")].lower()
    if re.match(r"(?:f|fx)\b", label) and not re.match(r"fx?\s?[:.]", label):
        return False
    digits = digits_of(match["v"])
    return 7 <= len(digits) <= 15 and not is_placeholder(digits)


def international_phone(match: re.Match[str]) -> bool:
    """No fax number, and no code of a drug that begins with two zeros."""
    before = match.string[max(0, match.start("v") - 8) : match.start("v")]
    return not_fax(match) and re.search(r"(?i)\bndc\W*$", before) is None


def not_email(match: re.Match[str]) -> bool:
    """A domain that no mail address ends in."""
    return match.string[match.start() - 1 : match.start()] != "@"


def domain(match: re.Match[str]) -> bool:
    """A path behind a domain whose labels hold letters."""
    host = match["v"].split("/")[0]
    return all(re.search("[a-z]{2}", label) for label in host.split(".")[:-1])


def spelled_domain(match: re.Match[str]) -> bool:
    """`at … dot com`: the last part is a known ending."""
    return re.search(r"(?i)(?:com|org|net|edu|gov|info|io|uk|de|ca|us|co)$", match["v"]) is not None


def ip_v4(match: re.Match[str]) -> bool:
    """Four numbers of a byte each, and not a version or section number."""
    try:
        ipaddress.IPv4Address(match["v"])
    except ValueError:
        return False
    before = match.string[max(0, match.start() - 12) : match.start()].lower()
    return not re.search(r"(?:\bv|version|section|release|\bec|\benzyme|§)\W*$", before)


def ip_v6(match: re.Match[str]) -> bool:
    """An IPv6 address; a time of day has no letters and no double colon."""
    value = match["v"]
    if re.fullmatch(r"[0-9:]+", value) and "::" not in value and value.count(":") < 7:
        return False
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return len(value) > 4


CONTACT_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        *(not_fax, trunk_phone, context_phone, not_measure, fax, not_email, domain),
        *(spelled_domain, ip_v4, ip_v6, international_phone),
    )
}
