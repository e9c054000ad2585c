"""Expressions of rank_pattern and alpha_pattern: what `re` answers, in a time that is bounded.

They come from strangers, and a search with backtracking can be endless. So the places of a name
that an expression can reach are followed all at once, as the bits of a number: nothing is ever
tried again, and the work is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

# The parser of `re` itself: no other agrees with it on every expression. It matches nothing.
_parser: Any = import_module("re._parser")

MAX_WORK = 3_000_000  # steps, some seconds: of a whole configuration
_PLAIN = re.compile(r"\^?(?:[\w. -]|\\[A-Za-z.-])*\$?")  # no choice, so nothing to try again
_FULL_NAME = re.compile(r"\^((?:\w|-|\\[.-])+)\$?")
_WORD = re.compile(r"\w")
_CATEGORIES = {
    "CATEGORY_DIGIT": re.compile(r"\d"),
    "CATEGORY_NOT_DIGIT": re.compile(r"\D"),
    "CATEGORY_SPACE": re.compile(r"\s"),
    "CATEGORY_NOT_SPACE": re.compile(r"\S"),
    "CATEGORY_WORD": _WORD,
    "CATEGORY_NOT_WORD": re.compile(r"\W"),
}

Nodes = Iterable[tuple[Any, Any]]
Holds = Callable[[str], bool]


class PatternError(ValueError):
    """An expression that is none, that asks for what cannot be bounded, or that costs too much."""


class Patterns:
    """The expressions of a mapping in their order, and the value of the first that fits a name.

    Raises:
        PatternError: one of them cannot be used.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = list(values.values())
        self._work, self._full, self._others = 0, dict[str, int](), list[tuple[int, Any]]()
        for number, pattern in enumerate(values):
            if name := _FULL_NAME.fullmatch(pattern):
                self._full.setdefault(name[1].replace("\\", ""), number)
            else:
                self._others.append((number, self._compiled(pattern)))

    def find(self, names: Iterable[str], default: Any) -> Any:
        """PEFT's rule: the value of the first expression that a name, or a tail of it, answers to.

        Raises:
            PatternError: the expressions cost too much.
        """
        spelled = list(names)
        last = min((self._full[name] for name in spelled if name in self._full), default=None)
        for number, expression in self._others:
            if last is not None and number > last:
                break
            if any(self._answers(expression, name) for name in spelled):
                return self._values[number]
        return default if last is None else self._values[last]

    def spend(self) -> None:
        """Count a step."""
        self._work += 1
        if self._work > MAX_WORK:
            raise PatternError

    def _answers(self, expression: Any, name: str) -> bool:
        self.spend()
        if isinstance(expression, re.Pattern):
            return expression.match(name) is not None
        try:
            return bool(_Walk(name, self.spend).reach(expression, 1, 0))
        except RecursionError:
            raise PatternError from None

    @staticmethod
    def _compiled(pattern: str) -> Any:
        whole = rf"(.*\.)?({pattern})$"  # how PEFT builds it
        try:
            if _PLAIN.fullmatch(pattern):
                return re.compile(whole)
            parsed = _parser.parse(whole)
            _require_known(parsed)
        except (re.error, OverflowError, RecursionError):
            raise PatternError from None
        return parsed


def _require_known(nodes: Nodes) -> None:
    """Raise PatternError where a node looks back at a group, or never gives back what it took."""
    for kind, value in nodes:
        if not hasattr(_Walk, f"_{str(kind).lower()}"):
            raise PatternError
        for inner in _inside(value):
            _require_known(inner)


def _inside(value: Any) -> Iterator[Nodes]:
    if isinstance(value, _parser.SubPattern):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _inside(part)


class _Walk:
    """Where in a text an expression can end: sets of places as numbers, bit i for place i."""

    def __init__(self, text: str, spend: Callable[[], None]) -> None:
        self._text, self._spend = text, spend
        self._all = (1 << (len(text) + 1)) - 1
        self._places: dict[tuple[object, int], int] = {}

    def reach(self, nodes: Nodes, starts: int, flags: int) -> int:
        """The places where these nodes end, one after the other, from any of the starts."""
        for kind, value in nodes:
            self._spend()
            if not starts:
                return 0
            starts = getattr(self, f"_{str(kind).lower()}")(value, starts, flags)
        return starts

    def _literal(self, code: int, starts: int, flags: int) -> int:
        return self._one(starts, (code, flags), lambda c: self._is(code, c, flags))

    def _not_literal(self, code: int, starts: int, flags: int) -> int:
        return self._one(starts, (~code, flags), lambda c: not self._is(code, c, flags))

    def _any(self, _: None, starts: int, flags: int) -> int:
        return self._one(starts, ("any", flags), lambda c: bool(flags & re.DOTALL) or c != "\n")

    def _in(self, items: list[tuple[Any, Any]], starts: int, flags: int) -> int:
        return self._one(starts, (id(items), flags), lambda c: self._is_among(items, c, flags))

    def _branch(self, value: Any, starts: int, flags: int) -> int:
        ends = 0
        for nodes in value[1]:
            ends |= self.reach(nodes, starts, flags)
        return ends

    def _subpattern(self, value: Any, starts: int, flags: int) -> int:
        _, more, less, nodes = value
        return self.reach(nodes, starts, (flags | more) & ~less)

    def _max_repeat(self, value: Any, starts: int, flags: int) -> int:
        least, most, nodes = value
        # after so many rounds a set of places has come to rest: each round goes on, or stands still
        rest = 2 * len(self._text) + 2
        for _ in range(min(int(least), rest)):
            starts = self.reach(nodes, starts, flags)
        ends = new = starts
        for _ in range(min(int(most) - int(least), rest)):
            new = self.reach(nodes, new, flags) & ~ends
            ends |= new
            if not new:
                break
        return ends

    _min_repeat = _max_repeat  # the same places, in another order

    def _at(self, kind: Any, starts: int, flags: int) -> int:
        return starts & self._where(lambda place: self._is_at(str(kind), place, flags))

    def _assert(self, value: Any, starts: int, flags: int) -> int:
        return starts & self._where(lambda place: self._holds(value, place, flags), among=starts)

    def _assert_not(self, value: Any, starts: int, flags: int) -> int:
        return starts & ~self._assert(value, starts, flags)

    def _holds(self, value: Any, place: int, flags: int) -> bool:
        direction, nodes = value
        if direction > 0:
            return bool(self.reach(nodes, 1 << place, flags))
        start = place - nodes.getwidth()[0]
        return start >= 0 and bool(self.reach(nodes, 1 << start, flags) >> place & 1)

    def _one(self, starts: int, key: tuple[object, int], holds: Holds) -> int:
        """One character further, where it is such a one."""
        if key not in self._places:
            found = (place for place, character in enumerate(self._text) if holds(character))
            self._places[key] = sum(1 << place for place in found)
        return (starts & self._places[key]) << 1

    def _where(self, holds: Callable[[int], bool], *, among: int | None = None) -> int:
        looked = self._all if among is None else among
        places = (p for p in range(len(self._text) + 1) if looked >> p & 1)
        return sum(1 << place for place in places if holds(place))

    def _is_at(self, kind: str, place: int, flags: int) -> bool:
        text, n = self._text, len(self._text)
        many = bool(flags & re.MULTILINE)
        if kind in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            after_line = many and kind == "AT_BEGINNING" and place and text[place - 1] == "\n"
            return place == 0 or bool(after_line)
        if kind == "AT_END_STRING":
            return place == n
        if kind == "AT_END":
            return place == n or (text[place] == "\n" and (many or place == n - 1))
        words = [0 <= p < n and _WORD.match(text[p]) is not None for p in (place - 1, place)]
        return (words[0] != words[1]) == (kind == "AT_BOUNDARY")

    @staticmethod
    def _is(code: int, character: str, flags: int) -> bool:
        same = chr(code)
        if flags & re.IGNORECASE:
            return character.lower() == same.lower()
        return character == same

    def _is_among(self, items: list[tuple[Any, Any]], character: str, flags: int) -> bool:
        is_negated = str(items[0][0]) == "NEGATE"
        spelled = {character}
        if flags & re.IGNORECASE:
            spelled |= {character.lower(), character.upper()}
        found = any(self._is_item(item, each) for item in items[is_negated:] for each in spelled)
        return found != is_negated

    @staticmethod
    def _is_item(item: tuple[Any, Any], character: str) -> bool:
        kind, value = str(item[0]), item[1]
        if kind == "LITERAL":
            return character == chr(value)
        if kind == "RANGE":
            return bool(value[0] <= ord(character) <= value[1])
        return _CATEGORIES[str(value)].match(character) is not None
