"""One rule of the Safe Harbor gate as a data row, and the eighteen identifiers by letter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

Check = Callable[["re.Match[str]"], bool]

PHI = "phi:"  # what the codes of the gate's findings begin with
UNJUDGED = "script_not_judged"  # what a text in other letters than Latin ones is set aside for
IDENTIFIERS: dict[str, str] = {
    "A": "name",
    "B": "geography",
    "C": "date_or_age",
    "D": "phone",
    "E": "fax",
    "F": "email",
    "G": "ssn",
    "H": "medical_record",
    "I": "health_plan",
    "J": "account",
    "K": "licence",
    "L": "vehicle",
    "M": "device",
    "N": "url",
    "O": "ip_address",
    "P": "biometric",
    "Q": "photograph",
    "R": "unique_code",
}
"""45 CFR 164.514(b)(2)(i), letter by letter."""


@dataclass(frozen=True)
class DeidRule:
    """What one kind of identifier looks like.

    The value is the group `v` of `pattern`, or the whole match. `gate` is the kind of character
    without which the pattern is not even tried. `context` holds lower-case words of which the text
    must hold one (none given: no context is needed). `after` is a pattern that must end where the
    value begins, for values that are rarer than what stands before them. `check` names a function
    of catalog/deid/validators/table.py that the match must pass. A rule that `is_uncased` reads
    shouted passages in lower case. `example` is hit by this rule,
    `near_miss` looks like it and is not; both are invented, and the tests of every rule are made
    from them.
    """

    id: str
    letter: str
    pattern: str
    example: str
    near_miss: str
    gate: str = ""
    context: tuple[str, ...] = field(default=())
    after: str = ""
    check: str = ""
    is_uncased: bool = False

    @property
    def identifier(self) -> str:
        """The name of the Safe Harbor identifier that this rule is about."""
        return IDENTIFIERS[self.letter]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, as a table row holds them.

    >>> words_of("call phone")
    ('call', 'phone')
    """
    return tuple(text.split())


CAP = r"(?:[A-Z](?:'[A-Z])?[a-z]+(?:[A-Z][a-z]+)?(?:-[A-Z]?[a-z]+)?|[A-Z][A-Z'-]{0,18}[A-Z])"
"""A word that is written like a name: Lee, McDonald, O'Brien, Jean-Luc, SMITH."""

TITLED = r"[A-Z](?:'[A-Z])?[a-z]+(?:[A-Z][a-z]+)?(?:-[A-Z]?[a-z]+)?"
"""A word that is written like a name and is not in capitals throughout: Lee, McDonald."""

PARTICLE = (
    r"(?:(?:[Vv]an|[Vv]on|[Dd]e|[Dd]el|[Dd]ella|[Dd]a|[Dd]os|[Dd]i|[Bb]in|[Ii]bn|[Aa]l|[Ee]l|"
    r"[Tt]er|[Ll]a|[Ll]e|[Ss]t\.?|[Dd]ela|[Dd]elos|[Aa]bu|[Bb]int|[Zz]u|[Dd]u)[ -](?:(?:der|"
    r"den|la|los|las) )?)"
)

NAMES = rf"{PARTICLE}?{CAP}(?: (?:[A-Z]\.? ){{0,2}}{PARTICLE}?{CAP}){{0,2}}"
"""One to three such words, initials and particles between them."""

INITIALED = rf"(?:[A-Z]\.? ?){{1,2}}{CAP}"
"""Initials and a word: J. R. Smith."""

CODE = (
    r"(?P<v>(?:[A-Z]{1,4} )?(?=[A-Za-z/.-]{0,8}[0-9])[A-Za-z0-9]"
    r"(?:[A-Za-z0-9]|[-/.](?=[A-Za-z0-9])|(?<=[0-9]) (?=[0-9])){2,24})(?![A-Za-z0-9])"
)
"""A run of letters and digits; a check asks how many digits there are."""

GLUE = (
    r"(?i:\s{0,2}(?:(?:numbers?|num|nos?|nr|id|ids|identifier|code|is|was|as|of|on file|card|"
    r"ending(?: in)?|ends? (?:in|with)|reads?|under|listed as|assigned|recorded as)\b\.?|"
    r"[#:=.(\[,\"-])){0,6}\s{0,2}"
)
"""What stands between a label and its code: number, no., #, is, a colon."""

NUMBERED = r"(?i:\s{0,2}(?:(?:numbers?|num|nos?|nr|id|ids|identifier|code)\b\.?|[#:=]))"
"""What a label needs that also means other things: a number word or sign."""


def labelled_rule(
    rule_id: str,
    letter: str,
    labels: str,
    example: str,
    near_miss: str,
    *,
    context: str,
    is_weak: bool = False,
    check: str = "code",
) -> DeidRule:
    """A code that follows one of the labels (a pattern, any case).

    `context` holds the words of which a text with such a label has at least one; a weak label
    also needs a number word or sign after it.
    """
    pattern = rf"\b(?i:{labels})(?![a-z]){NUMBERED if is_weak else ''}{GLUE}{CODE}"
    return DeidRule(
        id=rule_id,
        letter=letter,
        pattern=pattern,
        example=example,
        near_miss=near_miss,
        gate="numbered" if is_weak else "digit",
        context=words_of(context),
        check=check,
    )


def bare(rule_id: str, letter: str, labels: str, example: str, near_miss: str) -> DeidRule:
    """A number of six digits and more behind one of the labels: plain words, in any case."""
    return DeidRule(
        id=rule_id,
        letter=letter,
        pattern=r"(?<![\w.])(?P<v>(?:[A-Za-z]{1,4}-?)?[0-9](?:[0-9A-Za-z]|-(?=[0-9A-Za-z])|"
        r"(?<=[0-9]) (?=[0-9])){4,24})(?![A-Za-z0-9])",
        example=example,
        near_miss=near_miss,
        gate="digit",
        context=tuple(labels.replace(" ", "|").split("|")),
        after=rf"\b(?i:{labels})(?![a-z]){GLUE}",
        check="record_number",
    )
