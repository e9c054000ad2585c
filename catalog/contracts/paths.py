"""Paths into nested columns, as `from` in a column's rule writes them: text to steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TypeAlias

from catalog.contracts.contract import ColumnRule

_BARE = re.compile(r'[^.\[\]"]+')
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_PLACE = re.compile(r"\[(-?[0-9]{1,9})\]")
_FIELD = re.compile(r'"(?:[^"]|"")*"|[^.\[\]"=]+')
_CONDITION = re.compile(
    rf"\[\s*((?:{_FIELD.pattern})(?:\.(?:{_FIELD.pattern}))*)\s*="
    r'\s*(?:"((?:[^"]|"")*)"\s*|([^\]"]+))\]'
)
GRAMMAR = 'names joined by dots, "a.b" in quotes where a name has a dot; [], [0], [#] or [code=x]'


@dataclass(frozen=True)
class Name:
    """A field of an object, or a key of a map."""

    name: str


@dataclass(frozen=True)
class Item:
    """One element of a list, counted from 0, or from its end by -1, -2, ..."""

    index: int


@dataclass(frozen=True)
class Each:
    """Every element of a list: `[]`."""


@dataclass(frozen=True)
class Position:
    """The place from 1 of an element of the list that is exploded: `[#]`."""


@dataclass(frozen=True)
class Where:
    """The elements of a list of which a field is some text: `[system=x]`, or `[type=text/*]`."""

    fields: tuple[str, ...]
    text: str
    is_prefix: bool


Step: TypeAlias = Name | Item | Each | Position | Where
Path: TypeAlias = tuple[Step, ...]


class PathFaultError(ValueError):
    """A text that is no path; the message says why and repeats nothing of it."""


@cache
def path_steps(text: str) -> Path:
    """The steps of a path.

    >>> path_steps('patient."study.id"')
    (Name(name='patient'), Name(name='study.id'))
    >>> path_steps("notes[].text")
    (Name(name='notes'), Each(), Name(name='text'))

    Raises:
        PathFaultError: if it is none.
    """
    name, at = _name(text, 0)
    steps: list[Step] = [Name(name)]
    while at < len(text):
        if text[at] == ".":
            name, at = _name(text, at + 1)
            steps.append(Name(name))
        elif text[at] == "[":
            step, at = _bracket(text, at)
            steps.append(step)
        else:
            raise PathFaultError("has a sign where a dot or a bracket belongs")
    if Position() in steps[:-1]:
        raise PathFaultError("goes on behind [#], which is a number")
    return tuple(steps)


def path_text(names: tuple[str, ...]) -> str:
    """The path of fields, each in quotes where it needs them.

    >>> path_text(("patient", "study.id"))
    'patient."study.id"'
    """
    return ".".join(
        name if _BARE.fullmatch(name) else '"{}"'.format(name.replace('"', '""')) for name in names
    )


def column_paths(name: str, rule: ColumnRule) -> tuple[Path, ...]:
    """The paths of a column that is not simply one of the file; none of one that is.

    A list that is exploded without saying where is the one at the end of its path.

    >>> column_paths("id", ColumnRule(type="string", **{"from": "patient.id"}))
    ((Name(name='patient'), Name(name='id')),)
    """
    if flat_name(name, rule) is not None:
        return ()
    written = rule.from_ if rule.from_ is not None else rule.in_file
    texts = written if isinstance(written, tuple) else (written,)
    paths = [path_steps(t) if rule.from_ and t else (Name(str(t or name)),) for t in texts]
    if rule.explode and not any(Each() in path or Position() in path for path in paths):
        paths[-1] = (*paths[-1], Each())
    return tuple(paths)


def flat_name(name: str, rule: ColumnRule) -> str | int | None:
    """What the file calls a column at its top, or its place there; None of one that lies deeper.

    >>> flat_name("age", ColumnRule(type="integer", in_file="Age")), flat_name("a.b", _RULE)
    ('Age', 'a.b')
    """
    if rule.join is not None or rule.explode:
        return None
    if rule.from_ is None:
        return name if rule.in_file is None else rule.in_file
    if isinstance(rule.from_, tuple):
        return None
    steps = path_steps(rule.from_)
    return steps[0].name if len(steps) == 1 and isinstance(steps[0], Name) else None


_RULE = ColumnRule(type="string")


def is_nested(columns: Mapping[str, ColumnRule]) -> bool:
    """Whether a column of the contract lies below the top of its file, or is made of a list."""
    return any(flat_name(name, rule) is None for name, rule in columns.items())


def _name(text: str, at: int) -> tuple[str, int]:
    if match := _QUOTED.match(text, at):
        name = match[1].replace('""', '"')
    elif match := _BARE.match(text, at):
        name = match[0]
    else:
        raise PathFaultError("has no name where one belongs")
    if not name.strip():
        raise PathFaultError("has an empty name")
    return name, match.end()


def _bracket(text: str, at: int) -> tuple[Step, int]:
    if text.startswith("[]", at):
        return Each(), at + 2
    if text.startswith("[#]", at):
        return Position(), at + 3
    if match := _PLACE.match(text, at):
        return Item(int(match[1])), match.end()
    if match := _CONDITION.match(text, at):
        fields = tuple(_plain(field) for field in _FIELD.findall(match[1]))
        quoted, bare = match[2], match[3]
        if quoted is None and bare.strip():
            is_prefix = bare.strip().endswith("*")
            return Where(fields, bare.strip().removesuffix("*"), is_prefix), match.end()
        if quoted is not None:
            return Where(fields, quoted.replace('""', '"'), is_prefix=False), match.end()
    raise PathFaultError("has brackets that hold no place and no condition")


def _plain(text: str) -> str:
    quoted = _QUOTED.fullmatch(text.strip())
    return quoted[1].replace('""', '"') if quoted else text.strip()


def exploded_lists(columns: Mapping[str, ColumnRule]) -> tuple[Path, ...]:
    """The paths of the lists that make rows, the outer ones first; each holds the one before.

    Raises:
        PathFaultError: if two of them lie side by side, or one is counted and not exploded.
    """
    exploded: dict[Path, None] = {}
    counted: dict[Path, None] = {}
    for name, rule in columns.items():
        for path in column_paths(name, rule):
            if path[-1] == Position():
                counted[*path[:-1], Each()] = None
            ends = [end for end, step in enumerate(path, start=1) if step == Each()]
            exploded.update(dict.fromkeys(path[:end] for end in ends if rule.explode))
    if any(rule.explode for rule in columns.values()):
        exploded.update(counted)
    lists = sorted(exploded, key=len)
    if any(inner[: len(outer)] != outer for outer, inner in pairwise(lists)):
        raise PathFaultError("two lists that lie side by side are exploded")
    if not counted.keys() <= exploded.keys():
        raise PathFaultError("[#] counts the elements of a list that no column explodes")
    return tuple(lists)
