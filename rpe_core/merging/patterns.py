"""Expressions of rank_pattern and alpha_pattern: which one PEFT would take, in bounded time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import regex

MAX_SECONDS = 5.0  # for all expressions of a configuration: they come from strangers
_FULL_NAME = re.compile(r"\^((?:\w|-|\\[.-])+)\$?")
_ATOM = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEAT = re.compile(r"(?<=[^(|])(?:[*+?]|\{[\d,]+\})[?+]?")
_MAX_REPEATS, _MAX_OPTIONS = 5, 12  # a search tries as many ways as a name's length to this power
_SEARCHED = ("target_modules", "exclude_modules", "layers_pattern")


class PatternError(ValueError):
    """An expression that is none, or expressions whose search does not end in time."""


class Patterns:
    """The expressions of a mapping in their order, and the value of the first that fits a name.

    A search with backtracking can be endless. `regex` reads what `re` reads, and can be stopped.

    Raises:
        PatternError: one of them cannot be used.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = list(values.values())
        self._seconds = MAX_SECONDS
        self._full, self._others = dict[str, int](), list[tuple[int, regex.Pattern[str]]]()
        for number, pattern in enumerate(values):
            if name := _FULL_NAME.fullmatch(pattern):
                self._full.setdefault(name[1].replace("\\", ""), number)
            else:
                self._others.append((number, _compiled(pattern)))

    def find(self, names: Iterable[str], default: Any) -> Any:
        """PEFT's rule: the value of the first expression that a name, or a tail of it, answers to.

        Raises:
            PatternError: the search does not end in time.
        """
        spelled = list(names)
        bare = [
            name.removesuffix("\n") for name in spelled
        ]  # `$` stands before a last line end too
        last = min((self._full[name] for name in bare if name in self._full), default=None)
        for number, expression in self._others:
            if last is not None and number > last:
                break
            if any(self._answers(expression, name) for name in spelled):
                return self._values[number]
        return default if last is None else self._values[last]

    def _answers(self, expression: regex.Pattern[str], name: str) -> bool:
        began = time.perf_counter()
        try:
            return expression.match(name, timeout=max(self._seconds, 1e-3)) is not None
        except TimeoutError:
            raise PatternError from None
        finally:
            self._seconds -= time.perf_counter() - began


def expressions(config: Mapping[str, Any]) -> list[str]:
    """All that PEFT searches names of modules for, and stops no search that does not end."""
    patterns = [config.get(key) for key in _SEARCHED]
    several = config.get("layers_pattern")
    patterns += several if isinstance(several, list) else []
    for key in ("rank_pattern", "alpha_pattern"):
        patterns += config.get(key) or {}
    return [each for each in patterns if isinstance(each, str)]


def is_soon_found(pattern: str) -> bool:
    r"""Whether any engine's search for an expression ends soon: few repeats, and none of a group.

    >>> is_soon_found(r"(?:.*\.)?layers\.(0|1)\..*(q|v)_proj"), is_soon_found("(.*)*x")
    (True, False)
    """
    bare = _ATOM.sub("a", pattern)
    repeats = list(_REPEAT.finditer(bare))
    options = sum(match[0].startswith("?") for match in repeats)
    of_groups = [m for m in repeats if bare[m.start() - 1] == ")" and not m[0].startswith("?")]
    is_few = options <= _MAX_OPTIONS and len(repeats) - options <= _MAX_REPEATS
    return is_few and not of_groups


def _compiled(pattern: str) -> regex.Pattern[str]:
    whole = rf"(.*\.)?({pattern})$"  # how PEFT builds it
    try:
        re.compile(whole)
        return regex.compile(whole)
    except (re.error, regex.error, OverflowError, RecursionError):
        raise PatternError from None
