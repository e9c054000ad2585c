"""The Safe Harbor gate: text and columns in; rule ids and positions out, never a value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from catalog.deid.gazetteer import fold
from catalog.deid.lower_case import uncased
from catalog.deid.rule import Check, Rule
from catalog.deid.rules import RULES
from catalog.deid.validators import CHECKS
from rpe_core.errors import InputError

_WORDS = re.compile(r"[a-z0-9]+")
_GATES = {
    "digit": re.compile(r"[0-9]"),
    "upper": re.compile(r"[A-Z]"),
    "dot": re.compile(r"\."),
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
    rule: Rule
    pattern: re.Pattern[str]
    context: frozenset[str]
    check: Check | None


_COMPILED = tuple(
    _Compiled(
        rule,
        re.compile(rule.pattern),
        frozenset(rule.context),
        CHECKS[rule.check] if rule.check else None,
    )
    for rule in RULES
)


def scan_text(text: str) -> list[Finding]:
    """All findings in a text, by position; a passage may be found by several rules.

    >>> [(f.rule_id, f.start, f.end) for f in scan_text("Stable. MRN 00417736, no fever.")]
    [('mrn', 12, 20)]
    """
    return sorted(
        found for compiled, view in _due(fold(text)) for found in _findings(compiled, view)
    )


def scan_column(column: pa.Array | pa.ChunkedArray) -> dict[int, tuple[str, ...]]:
    """Row index to the sorted ids of the rules that hit, for rows with a hit only; nulls have none.

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


def _rule_ids(text: str) -> tuple[str, ...]:
    return tuple(
        sorted(c.rule.id for c, view in _due(fold(text)) if next(_findings(c, view), None))
    )


def _due(plain: str) -> Iterator[tuple[_Compiled, str]]:
    """The rules whose gate is open and whose context words occur, and the text that they read."""
    present = frozenset(_WORDS.findall(plain.lower()))
    in_lower_case = uncased(plain)
    is_open = {name: pattern.search(plain) is not None for name, pattern in _GATES.items()}
    for compiled in _COMPILED:
        if is_open[compiled.rule.gate] and (
            not compiled.context or not compiled.context.isdisjoint(present)
        ):
            yield compiled, in_lower_case if compiled.rule.is_uncased else plain


def _findings(compiled: _Compiled, view: str) -> Iterator[Finding]:
    place = 0
    while match := compiled.pattern.search(view, place):
        if compiled.check is None or compiled.check(match):
            group = "v" if match["v"] is not None else 0
            yield Finding(
                match.start(group), match.end(group), compiled.rule.id, compiled.rule.identifier
            )
            place = match.end()
        else:
            # a refused match may hide one that begins inside it
            place = match.start() + 1
