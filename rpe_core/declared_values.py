"""Declared values: how one becomes a field's, and what is expected else. No field here."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rpe_core.errors import Fault

_MODULE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


class ValueRule(NamedTuple):
    """Turns a declared value into a field's value, or raises ValueError; says what is expected."""

    read: Callable[[Any], Any]
    expected: str


class Option(NamedTuple):
    """A parameter that may be left out: how it is read, and its default."""

    rule: ValueRule
    default: Any


def read_values(
    declared: Mapping[str, Any],
    rules: Mapping[str, ValueRule],
    *,
    below: str = "",
    what: str = "is not usable",
) -> tuple[dict[str, Any], list[Fault]]:
    """The fields' values of all keys that have a rule, and a fault for each that has none.

    A key without a rule is left to the caller. The path of a fault is the key, `below` before it.

    >>> rule = ValueRule(whole(1), "a whole number of at least 1")
    >>> values, faults = read_values({"r": 8, "epochs": 0}, {"r": rule, "epochs": rule})
    >>> values, [str(fault) for fault in faults]
    ({'r': 8}, ['epochs: is not usable (a whole number of at least 1)'])
    """
    values: dict[str, Any] = {}
    faults = []
    for key, value in declared.items():
        if key in rules:
            try:
                values[key] = rules[key].read(value)
            except ValueError:
                faults.append(Fault(f"{below}{key}", what, rules[key].expected))
    return values, faults


def is_readable(value: Any, read: Callable[[Any], Any]) -> bool:
    """Whether a value can be read so.

    >>> is_readable(8, whole(1)), is_readable(True, whole(1))
    (True, False)
    """
    try:
        read(value)
    except ValueError:
        return False
    return True


def whole(lowest: int, highest: float = math.inf) -> Callable[[Any], int]:
    """A whole number between two bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise ValueError
        return value

    return read


def number(fits: Callable[[float], bool] = lambda _: True) -> Callable[[Any], float]:
    """A finite number that fits."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        if not (abs(value) <= sys.float_info.max and fits(value)):
            raise ValueError
        return float(value)

    return read


def optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Null, or what can be read otherwise."""
    return lambda value: None if value is None else read(value)


def either(word: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One word, or what else can be read."""
    return lambda value: word if value == word else read(value)


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
    """Names of modules, or none."""
    return () if value in ([], ()) else modules(value)
