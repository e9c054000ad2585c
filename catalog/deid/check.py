"""The Safe Harbor gate: text and columns in; rule ids and positions out, never a value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from catalog.deid.lower_case import lower_shouted_text
from catalog.deid.reading import Reading, read_text
from catalog.deid.rule import PHI, UNJUDGED, Check, DeidRule
from catalog.deid.rules.table import RULES
from catalog.deid.validators.table import CHECKS
from rpe_core.errors import InputError

_WORDS = re.compile(r"[a-z0-9]+")
_GATES = {
    "digit": re.compile(r"[0-9]"),
    "upper": re.compile(r"[A-Z]"),
    "dot": re.compile(r"\."),
    "year": re.compile(r"(?:19|20)[0-9]{2}"),
    "slash": re.compile(r"[0-9][/-][0-9]"),
    "numbered": re.compile(
        r"(?:\b(?i:numbers?|num|nos?|nr|ids?|identifier|code)\b|[#:=])[^0-9]{0,100}[0-9]"
    ),
    "at": re.compile(r"@"),
    "caret": re.compile(r"\^"),
    "label": re.compile(r"[:=|#]| - "),
    "colon": re.compile(r":[0-9A-Fa-f]{0,4}:"),
    "": re.compile(r""),
}


@dataclass(frozen=True, order=True)
class Finding:
    """Where a rule saw an identifier: characters `start` to `end` of the text, never the text."""

    start: int
    end: int
    rule_id: str
    identifier: str


@dataclass(frozen=True)
class _Compiled:
    rule: DeidRule
    pattern: re.Pattern[str]
    context: frozenset[str]
    after: re.Pattern[str] | None
    check: Check | None


_COMPILED = tuple(
    _Compiled(
        rule,
        re.compile(rule.pattern),
        frozenset(rule.context),
        re.compile(rf"(?:{rule.after})\Z") if rule.after else None,
        CHECKS[rule.check] if rule.check else None,
    )
    for rule in RULES
)
AFTER_CHARS = 64  # how far before a value a pattern `after` looks


def scan_text(text: str) -> list[Finding]:
    """All findings in a text, by position; a passage may be found by several rules.

    A text that is mostly in other letters than Latin ones has the finding `UNJUDGED` as a whole.

    >>> [(f.rule_id, f.start, f.end) for f in scan_text("Stable. MRN 00417736, no fever.")]
    [('mrn', 12, 20)]
    """
    reading = read_text(text)
    findings = {f for compiled, views in _due(reading) for f in _findings(compiled, views, reading)}
    if reading.is_foreign:
        findings.add(Finding(0, len(text), UNJUDGED, UNJUDGED))
    return sorted(findings)


def scan_column(column: pa.Array | pa.ChunkedArray) -> dict[int, tuple[str, ...]]:
    """Row index to the sorted ids of the rules that hit, for rows with a hit only; nulls have none.

    `UNJUDGED` stands among them where the rules cannot read the letters of a text.

    Raises InputError unless the column holds strings.

    >>> scan_column(pa.array(["No fever.", None, "Seen on 03/14/2019."]))
    {2: ('date_numeric',)}
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise InputError(
            f"a column of type {column.type} cannot be scanned for identifiers.",
            expected="a string column",
        )
    hits: dict[int, tuple[str, ...]] = {}
    for row, text in enumerate(column.to_pylist()):
        if text and (ids := _rule_ids(text)):
            hits[row] = ids
    return hits


def row_codes(rule_ids: Iterable[str], *, other_scripts_read: bool) -> tuple[str, ...]:
    """The codes that a row with these hits is set aside with: `phi:` and the rule, or `UNJUDGED`.

    Args:
        rule_ids: what `scan_column` found in the row.
        other_scripts_read: another gate has read the texts in other letters than Latin ones.

    >>> row_codes(["date_numeric", "script_not_judged"], other_scripts_read=False)
    ('phi:date_numeric', 'script_not_judged')
    """
    codes = {i if i == UNJUDGED else f"{PHI}{i}" for i in rule_ids}
    return tuple(sorted(codes - ({UNJUDGED} if other_scripts_read else set())))


def _rule_ids(text: str) -> tuple[str, ...]:
    reading = read_text(text)
    ids = [c.rule.id for c, views in _due(reading) if next(_findings(c, views, reading), None)]
    return tuple(sorted([*ids, UNJUDGED] if reading.is_foreign else ids))


def _due(reading: Reading) -> Iterator[tuple[_Compiled, tuple[str, ...]]]:
    """The rules whose gate is open and whose context words occur, and the readings they look at."""
    plain = reading.plain
    views = (plain,) if reading.broken is None else (plain, reading.broken)
    uncased_views = tuple(map(lower_shouted_text, views))
    present = frozenset(_WORDS.findall(plain.lower()))
    is_open: dict[str, bool] = {}
    for compiled in _COMPILED:
        if compiled.context and compiled.context.isdisjoint(present):
            continue
        gate = compiled.rule.gate
        if gate not in is_open:
            is_open[gate] = _GATES[gate].search(plain) is not None
        if is_open[gate]:
            yield compiled, uncased_views if compiled.rule.is_uncased else views


def _findings(compiled: _Compiled, views: tuple[str, ...], reading: Reading) -> Iterator[Finding]:
    rule = compiled.rule
    for view in views:
        for match in _matches(compiled, view):
            yield Finding(*_place(match, reading), rule.id, rule.identifier)


def _place(match: re.Match[str], reading: Reading) -> tuple[int, int]:
    group = "v" if match["v"] is not None else 0
    return reading.span(match.start(group), match.end(group))


def _is_kept(compiled: _Compiled, match: re.Match[str]) -> bool:
    after, start = compiled.after, match.start("v")
    if after is not None and not after.search(match.string, max(0, start - AFTER_CHARS), start):
        return False
    return compiled.check is None or compiled.check(match)


def _matches(compiled: _Compiled, plain: str) -> Iterator[re.Match[str]]:
    start = 0
    while match := compiled.pattern.search(plain, start):
        if _is_kept(compiled, match):
            yield match
            start = match.end()
        else:
            # a refused match may hide one that begins inside it
            start = match.start() + 1
