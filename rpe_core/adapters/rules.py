"""Rules of declared values: how a value becomes a field's, and what is expected where it cannot."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_MODULE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


class ValueRule(NamedTuple):
    """Turns a declared value into a field's value, or raises ValueError; says what is expected."""

    read: Callable[[Any], Any]
    expected: str


def whole(lowest: int, highest: float = math.inf) -> Callable[[Any], int]:
    """A whole number between two bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise ValueError
        return value

    return read


def number(fits: Callable[[float], bool]) -> Callable[[Any], float]:
    """A number that fits."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
            raise ValueError
        return float(value)

    return read


def optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A value that another rule reads, or null."""
    return lambda value: None if value is None else read(value)


def one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    """One of some words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return read


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def modules(value: Any) -> tuple[str, ...]:
    """Names of modules; sorted, because their order means nothing and must not change an id."""
    if not isinstance(value, list | tuple) or not value or len(set(map(str, value))) < len(value):
        raise ValueError
    if not all(isinstance(name, str) and _MODULE.fullmatch(name) for name in value):
        raise ValueError
    return tuple(sorted(value))


def modules_if_any(value: Any) -> tuple[str, ...]:
    """Names of modules, sorted; the list may be empty."""
    return () if value in ([], ()) else modules(value)
