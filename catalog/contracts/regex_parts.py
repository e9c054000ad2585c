"""The parts of a regular expression as Python parses it: `re` does this in a module of its own.

Nothing else reads what `re` keeps to itself; the contract test is tests/conformance/test_internals.
"""

from __future__ import annotations

import re._parser as regex_parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")


@dataclass(frozen=True)
class RegexPart:
    """An operator of a pattern, how often it may repeat what is inside it, and that."""

    highest: int  # 1 of an operator that does not repeat
    inner: tuple[RegexPart, ...]


def parse_pattern(pattern: str) -> tuple[RegexPart, ...]:
    """The operators of a pattern that compiles, one after the other.

    >>> (part,) = parse_pattern("(a{2,30})*")
    >>> part.highest > 1000, [inside.highest for inside in part.inner[0].inner]
    (True, [30])
    """
    return _parts_of(regex_parser.parse(pattern))


def _parts_of(tree: Any) -> tuple[RegexPart, ...]:
    return tuple(
        RegexPart(
            int(argument[1]) if str(operator) in _REPEATS else 1,
            tuple(part for below in _below(argument) for part in _parts_of(below)),
        )
        for operator, argument in tree
    )


def _below(argument: Any) -> Iterator[Any]:
    """The sub-patterns inside the argument of a parsed operator."""
    if isinstance(argument, regex_parser.SubPattern):
        yield argument
    elif isinstance(argument, list | tuple):
        for item in argument:
            yield from _below(item)
