"""Pydantic's errors told as faults of a declaration: by type and place, never by value."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from catalog.errors import Fault
from rpe_core.errors import known_names, shown_name

TEXTS: Mapping[str, tuple[str, str]] = {
    "missing": ("is missing", ""),
    "string_type": ("must be text", "put it in quotes"),
    "int_type": ("must be a whole number", ""),
    "int_parsing": ("must be a whole number", ""),
    "int_from_float": ("must be a whole number", ""),
    "float_type": ("must be a number", ""),
    "float_parsing": ("must be a number", ""),
    "finite_number": ("must be a finite number", ""),
    "bool_type": ("must be true or false", "true, false"),
    "bool_parsing": ("must be true or false", "true, false"),
    "model_type": ("must be a mapping of keys to values", ""),
    "model_attributes_type": ("must be a mapping of keys to values", ""),
    "dict_type": ("must be a mapping of keys to values", ""),
    "tuple_type": ("must be a list", ""),
    "list_type": ("must be a list", ""),
    "date_type": ("must be a date", "YYYY-MM-DD"),
    "date_parsing": ("must be a date", "YYYY-MM-DD"),
    "date_from_datetime_parsing": ("must be a date", "YYYY-MM-DD"),
    "date_from_datetime_inexact": ("must be a date", "YYYY-MM-DD"),
    "literal_error": ("is no valid choice", ""),
    "enum": ("is no valid choice", ""),
    "union_tag_invalid": ("is no valid choice", ""),
    "string_too_short": ("must not be empty", ""),
    "too_short": ("has too few entries", ""),
    "string_pattern_mismatch": ("does not have the right form", ""),
    "value_error": ("is not valid", ""),
    "assertion_error": ("is not valid", ""),
}
# Bounds that the model itself declares; nothing else of an error's context is ever read
BOUNDS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
    "too_long": ("max_length", "must have at most this many entries:"),
    "string_too_long": ("max_length", "must have at most this many characters:"),
}
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


def declaration_faults(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Every error of a failed `model.model_validate(...)` as a fault, in the order of the model.

    Nothing that was written in the file is repeated, but for keys that look like keys. Where a
    union failed, only the branch that was meant is told: the one with the fewest errors inside.
    """
    by_branch: list[tuple[Fault, tuple[str, ...]]] = []
    for item in error.errors(include_url=False):
        if _is_counted_short(item):
            continue
        path, branches, annotation = _walk(model, item["loc"])
        by_branch.append((_fault(item, path, annotation), branches))
    meant = _meant_branches(by_branch)
    faults = [fault for fault, branches in by_branch if set(branches) <= meant]
    return list(dict.fromkeys(faults))


def shown_path(parts: Sequence[str | int]) -> str:
    """The place inside a file; a part that does not look like a key is told by its length.

    >>> shown_path(["targets", 2, "merge"])
    'targets[2].merge'
    >>> shown_path(["columns", "Jane; DROP", "type"])
    'columns.(10 characters, not shown).type'
    """
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if _PLAIN_KEY.fullmatch(part) else shown_name(part)
            text += f".{shown}" if text else shown
    return text or "(file)"


def nearest_first(received: object, known: Sequence[str]) -> str:
    """The valid choices with the nearest one as a question; what was received is not repeated.

    >>> nearest_first("strng", ["integer", "string"])
    "integer, string  (did you mean 'string'?)"
    """
    if isinstance(received, str) and difflib.get_close_matches(received, known, n=1):
        return known_names(received, known)
    return ", ".join(sorted(known))


def _fault(item: Any, path: list[str | int], annotation: Any) -> Fault:
    kind = item["type"]
    if kind == "extra_forbidden":
        key = str(path[-1])
        fields = annotation.model_fields if _is_model(annotation) else {}
        known = sorted(field.alias or name for name, field in fields.items())
        return Fault(shown_path(path[:-1]), f"unknown key {shown_name(key)}", _known(key, known))
    if path and path[-1] == "[key]":
        of_key = _fault(item, path[:-1], annotation)
        return Fault(of_key.path, f"as a key it {of_key.what}", of_key.expected)
    if kind in BOUNDS:
        name, text = BOUNDS[kind]
        return Fault(shown_path(path), f"{text} {item.get('ctx', {}).get(name, '')}".rstrip())
    # An error type of ours is written as its own text, as in "the_shares_must_sum_to_one"
    what, expected = TEXTS.get(kind, (kind.replace("_", " "), ""))
    if what == "is no valid choice":
        expected = nearest_first(item.get("input"), _choices(annotation))
    elif kind == "string_pattern_mismatch":
        expected = f"the form {item.get('ctx', {}).get('pattern', '')}"
    elif kind == "too_short":
        expected = f"at least {item.get('ctx', {}).get('min_length', 1)}"
    elif kind == "missing":
        expected = ", ".join(_choices(annotation))
    return Fault(shown_path(path), what, expected)


def _is_counted_short(item: Any) -> bool:
    """Whether a list is too short only because Pydantic leaves out its faulty entries, told too."""
    if item["type"] != "too_short":
        return False
    return len(item["input"]) >= int(item["ctx"]["min_length"])


def _known(key: str, known: Sequence[str]) -> str:
    return f"known: {known_names(key, known)}" if known else ""


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation without `Annotated` and what it was annotated with."""
    extras: tuple[Any, ...] = ()
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        extras += tuple(more)
    return annotation, extras


def _choices(annotation: Any) -> list[str]:
    bare, _ = _bare(annotation)
    if get_origin(bare) is Literal:
        return sorted(str(value) for value in get_args(bare))
    if _is_union(bare):
        return sorted({name for member in get_args(bare) for name in _choices(member)})
    return []


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _walk(
    model: Any, location: Sequence[str | int]
) -> tuple[list[str | int], tuple[str, ...], Any]:
    """The path as the file has it, the union branches entered on the way, and the type there.

    Pydantic writes the branch of a union into the location; a reader of the file never wrote it.
    For an unknown key the type is that of the mapping around it.
    """
    path: list[str | int] = []
    branches: tuple[str, ...] = ()
    here = model
    for part in location:
        bare, _ = _bare(here)
        members = _members(bare)
        while len(members) == 1:
            bare, _ = _bare(members[0])
            members = _members(bare)
        if members:
            branches += (f"{shown_path(path)}|{part}",)
            here = next((m for m in members if part in _branch_names(m)), Any)
            continue
        path.append(part)
        here = _inside(bare, part)
    return path, branches, here


def _members(annotation: Any) -> list[Any]:
    """The branches of a union that a value may take; none of what is no union."""
    if not _is_union(annotation):
        return []
    return [member for member in get_args(annotation) if member is not type(None)]


def _branch_names(member: Any) -> set[str]:
    bare, extras = _bare(member)
    names = {extra.tag for extra in extras if isinstance(extra, Tag)}
    type_field = bare.model_fields.get("type") if _is_model(bare) else None
    names |= set(_choices(type_field.annotation)) if type_field else set()
    return names | {getattr(bare, "__name__", str(bare))}


def _inside(annotation: Any, part: str | int) -> Any:
    if _is_model(annotation):
        fields = annotation.model_fields
        for name, field in fields.items():
            if part in (name, field.alias):
                return field.annotation
        return annotation
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    return arguments[-1] if arguments else Any


def _meant_branches(by_branch: Sequence[tuple[Fault, tuple[str, ...]]]) -> set[str]:
    """Of every union that failed, the branch to tell: deepest entered, then fewest errors."""
    by_union: dict[str, dict[str, list[str]]] = {}
    for fault, branches in by_branch:
        for branch in branches:
            union = branch.partition("|")[0]
            by_union.setdefault(union, {}).setdefault(branch, []).append(fault.path)
    meant: set[str] = set()
    for union, paths in by_union.items():
        meant.add(min(paths, key=lambda name: (union in paths[name], len(paths[name]))))
    return meant
