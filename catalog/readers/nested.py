"""Nested values walked along the paths of a contract: one row, or one for each exploded element."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from catalog.contracts.contract import ColumnRule
from catalog.contracts.paths import (
    Each,
    Item,
    Name,
    Path,
    Position,
    Where,
    column_paths,
    exploded_lists,
)
from catalog.readers.cells import NESTED, CellRefusedError, Refused, decoded_cell

_NO_LIST: Final = object()  # stands for the element of what should be a list and is none


@dataclass(frozen=True)
class _RowWalk:
    """One path of a column: how many exploded lists it passes, and what is left below them."""

    depth: int
    steps: Path
    is_position: bool


class Shape:
    """The nested columns of a contract, ready to be taken from rows."""

    def __init__(self, columns: Mapping[str, ColumnRule]) -> None:
        self.paths = {
            name: paths for name, rule in columns.items() if (paths := column_paths(name, rule))
        }
        self._rules = columns
        lists = exploded_lists(columns)
        starts = [0, *map(len, lists)]
        self._levels = [path[start:-1] for start, path in zip(starts, lists, strict=False)]
        self._walks = {
            name: [_walk(path, columns[name], lists) for path in paths]
            for name, paths in self.paths.items()
        }

    @property
    def tops(self) -> frozenset[str]:
        """The columns of the file that hold the nested ones."""
        return frozenset(
            path[0].name
            for paths in self.paths.values()
            for path in paths
            if isinstance(path[0], Name)
        )

    def rows(self, row: Any, seen: dict[str, None]) -> Iterator[dict[str, Any]]:
        """The nested cells of each row that an object makes; what it has is noted in `seen`."""
        for nodes, places in self._elements([row], [], seen):
            yield {name: self._cell(name, nodes, places, seen) for name in self._walks}

    def _elements(
        self, nodes: list[Any], places: list[int], seen: dict[str, None]
    ) -> Iterator[tuple[list[Any], list[int]]]:
        depth = len(nodes) - 1
        if depth == len(self._levels):
            yield nodes, places
            return
        try:
            (inner,), is_there = reach(nodes[-1], self._levels[depth])
        except CellRefusedError:
            inner, is_there = _NO_LIST, True
        if is_there:
            of_list = [n for n, walks in self._walks.items() if any(w.depth > depth for w in walks)]
            seen.update(dict.fromkeys(of_list))
        elements = inner if isinstance(inner, list) else [] if inner is None else [_NO_LIST]
        for number, element in enumerate(elements, start=1):
            yield from self._elements([*nodes, element], [*places, number], seen)

    def _cell(
        self, name: str, nodes: Sequence[Any], places: Sequence[int], seen: dict[str, None]
    ) -> Any:
        rule = self._rules[name]
        lists: list[list[Any]] = []
        try:
            for walk in self._walks[name]:
                if walk.is_position:
                    lists.append([places[walk.depth - 1]])
                    seen[name] = None
                    continue
                values, is_there = reach(nodes[walk.depth], walk.steps)
                if is_there:
                    seen[name] = None
                lists.append(values)
            return _joined(rule, lists) if rule.join is not None else _single(lists[0])
        except CellRefusedError as refused:
            return Refused(refused.reason)


def reach(start: Any, steps: Path) -> tuple[list[Any], bool]:
    """The values at the end of a path, and whether the row has such a place at all.

    A null on the way is null at the end; a list that is null has no elements.

    >>> from catalog.contracts.paths import path_steps
    >>> reach({"a": [{"b": 1}, {}, None]}, path_steps("a[].b"))
    ([1, None, None], True)

    Raises:
        CellRefusedError: where the value on the way is no object, or no list.
    """
    nodes, is_there = [start], True
    for index, step in enumerate(steps):
        if isinstance(step, Name):
            held = [node for node in nodes if _is_object(node) and step.name in node]
            is_there = is_there and (bool(held) or not nodes)
            nodes = [node.get(step.name) if _is_object(node) else None for node in nodes]
        elif isinstance(step, Item):
            is_picked = index > 0 and isinstance(steps[index - 1], Where)
            lists = [nodes] if is_picked else [node or [] for node in nodes if _is_list(node)]
            nodes = [_at(elements, step.index) for elements in lists] or [None]
        else:
            lists = [node for node in nodes if _is_list(node)]
            nodes = [element for elements in lists for element in elements]
            if isinstance(step, Where):
                nodes = [node for node in nodes if _holds(node, step)]
    return nodes, is_there


def _walk(path: Path, rule: ColumnRule, lists: Sequence[Path]) -> _RowWalk:
    if path[-1] == Position():
        return _RowWalk(lists.index((*path[:-1], Each())) + 1, (), is_position=True)
    depth = 0
    if rule.explode:
        depth = sum(path[: len(prefix)] == prefix for prefix in lists)
    start = len(lists[depth - 1]) if depth else 0
    return _RowWalk(depth, path[start:], is_position=False)


def _is_object(node: Any) -> bool:
    if node is None or isinstance(node, dict):
        return node is not None
    raise CellRefusedError("wrong_type")


def _is_list(node: Any) -> bool:
    if node is None or isinstance(node, list):
        return node is not None
    raise CellRefusedError("wrong_type")


def _at(elements: Sequence[Any], index: int) -> Any:
    return elements[index] if -len(elements) <= index < len(elements) else None


def _holds(node: Any, step: Where) -> bool:
    """Whether the element says this text in the field; one that has no such field does not."""
    for name in step.fields:
        if not isinstance(node, dict):
            return False
        node = node.get(name)
    text = _text(node) if node is not None and not isinstance(node, list | dict) else None
    if text is None:
        return False
    return text.startswith(step.text) if step.is_prefix else text == step.text


def _single(values: Sequence[Any]) -> Any:
    """The one value of a path; an object or a list is none that a column could hold."""
    if len(values) > 1:
        raise CellRefusedError("several_values")
    value = values[0] if values else None
    return NESTED if isinstance(value, list | dict) or value is _NO_LIST else value


def _joined(rule: ColumnRule, lists: Sequence[Sequence[Any]]) -> str | None:
    """One text of all values; of a key or group only if none of them is missing."""
    texts = []
    for values in lists:
        parts = []
        for value in values:
            parts += value if isinstance(value, list) else [value]
        present = [_text(decoded_cell(p, rule)) for p in parts if p is not None and p != ""]
        if (rule.key or rule.group) and (not present or len(present) < len(parts)):
            return None
        texts += present
    return str(rule.join).join(texts) if texts else None


def _text(value: Any) -> str:
    """A value as text: as JSON spells it, dates as ISO does."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise CellRefusedError("invalid_utf8") from None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal):
        if not isfinite(value):
            raise CellRefusedError("not_finite")
        return format(value, "f") if isinstance(value, Decimal) else repr(value)
    if isinstance(value, date):
        return value.isoformat()
    raise CellRefusedError(value.reason if isinstance(value, Refused) else "wrong_type")
