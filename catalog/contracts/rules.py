"""Rules of a contract that join several of its keys; each runs on whatever part of it is sound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalog.contracts.column_names import in_file_faults, name_faults
from catalog.contracts.contract import (
    ColumnRule,
    ColumnType,
    Generation,
    ImageClassification,
    Labelled,
    Segmentation,
    SplitColumn,
)
from catalog.contracts.csv_files import csv_faults
from catalog.contracts.database_rules import database_faults
from catalog.contracts.date_format import format_faults
from catalog.contracts.faults import nearest_first, shown_path
from catalog.contracts.files import PatternOrder
from catalog.contracts.image_rules import image_faults
from catalog.contracts.images import IMAGE_FORMATS
from catalog.contracts.labels import LABEL_TYPES, is_label_of
from catalog.contracts.parts import Parts, sound_parts
from catalog.contracts.regex_parts import RegexPart, parse_pattern
from catalog.contracts.shape_rules import shape_rule_faults
from catalog.errors import Fault
from rpe_core.errors import shown_name

TO_FILL = "TO-FILL"  # what a draft leaves to a person
MAX_PATTERN_CHARS = 200
REMEDIES: Mapping[str, str] = {
    "owner": "whom to ask about these data, such as a mail address",
    "license": "the licence of the rows",
    "deidentified.method": "expert_determination, public, safe_harbor, synthetic",
    "deidentified.attested_by": "who attests that the data are de-identified",
    "deidentified.attested_on": "the day of the attestation, YYYY-MM-DD",
    "task.target": "the column that holds the answer",
    "task.labels": "lines `name: prompt`; of masks `name: pixel value`",
}


def contract_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Every fault of a contract that no single key shows; `data` is the YAML's plain mapping."""
    parts = sound_parts(data)
    if not parts.names:
        return []
    return [
        *image_faults(parts),
        *_order_faults(parts),
        *name_faults(parts.names),
        *in_file_faults(parts.columns, parts.files),
        *(csv_faults(parts.files.csv, parts.files.format) if parts.files else ()),
        *shape_rule_faults(parts),
        *database_faults(data.get("files"), parts.files, parts.columns),
        *_key_faults(parts),
        *_task_faults(parts),
        *_reference_faults(parts),
        *(fault for name, rule in parts.columns.items() for fault in _column_faults(name, rule)),
    ]


def file_name_faults(data: Mapping[str, Any], path: Path) -> list[Fault]:
    """A fault unless the file is named after its source."""
    if isinstance(data.get("source"), str) and path.name != f"{data['source']}.yaml":
        return [Fault("source", "differs from the file's name", "file must be named <source>.yaml")]
    return []


def to_fill_faults(data: Mapping[str, Any]) -> list[Fault]:
    """One fault for each value that a draft left to a person."""
    return [
        Fault(path, f"is still {TO_FILL}", REMEDIES.get(path, "a value of your own"))
        for path in _unfilled(data, [])
    ]


def drop_covered(faults: Sequence[Fault], unfilled: Sequence[Fault]) -> list[Fault]:
    """The faults that say more than that a value is not filled in yet."""
    covered = {fault.path for fault in unfilled}
    return [fault for fault in faults if fault.path not in covered]


def _unfilled(value: Any, path: list[str | int]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _unfilled(item, [*path, key])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unfilled(item, [*path, index])
    elif isinstance(value, str) and value.startswith(TO_FILL):
        yield shown_path(path)


def _column(name: str, key: str = "") -> str:
    return shown_path(["columns", name, key] if key else ["columns", name])


def _order_faults(parts: Parts) -> Iterator[Fault]:
    order = parts.files.order if parts.files else None
    if order is None or parts.files is None:
        return
    if parts.files.format in IMAGE_FORMATS:
        yield Fault("files.order", "does not apply to images, which are one delivery", "no order")
    if isinstance(order, PatternOrder):
        path = "files.order.pattern"
        faults = list(_pattern_faults(path, order.pattern))
        yield from faults
        if not faults and not re.compile(order.pattern).groups:
            yield Fault(path, "has no group", r"groups around what orders, such as _(\d+)\.csv")


def _key_faults(parts: Parts) -> Iterator[Fault]:
    keys = [name for name, rule in parts.columns.items() if rule.key]
    groups = [name for name, rule in parts.columns.items() if rule.group]
    is_whole = len(parts.columns) == len(parts.names)
    if len(keys) > 1 or (not keys and is_whole):
        yield Fault("columns", f"{len(keys)} columns have `key: true`", "exactly one")
    if len(groups) > 1:
        yield Fault("columns", f"{len(groups)} columns have `group: true`", "at most one")
    for name in dict.fromkeys([*keys, *groups]):
        if parts.columns[name].nullable:
            yield Fault(_column(name, "nullable"), "a key or group is never null", "false")
        if parts.columns[name].type == "number":
            what = "a key or group is never of type number, which keeps 15 digits only"
            yield Fault(_column(name, "type"), what, "string, or integer for whole numbers")


def _task_faults(parts: Parts) -> Iterator[Fault]:
    if parts.task is None or isinstance(parts.task, Segmentation):
        return
    is_text = isinstance(parts.task, Generation | ImageClassification)
    types: tuple[ColumnType, ...] = ("string",) if is_text else LABEL_TYPES
    yield from _reference_faults_of(parts, "task.input", parts.task.input, ("string",))
    yield from _reference_faults_of(parts, "task.target", parts.task.target, types)
    if parts.task.input == parts.task.target:
        yield Fault("task.target", "is the input too", "another column")
    if isinstance(parts.task, Generation):
        if parts.task.prompt.count("{input}") != 1:
            yield Fault("task.prompt", "does not hold {input} once", "words around one {input}")
        return
    yield from _label_faults(parts, parts.task)


def _label_faults(parts: Parts, task: Labelled) -> Iterator[Fault]:
    column = parts.columns.get(task.target)
    for label, prompt in task.labels.items():
        path = shown_path(["task", "labels", label])
        if not label.strip() or not prompt.strip():
            yield Fault(path, "the label or its prompt is empty", "a few words that describe it")
        elif column is not None and not is_label_of(label, column.type):
            expected = "true, false" if column.type == "boolean" else "a whole number such as 0"
            yield Fault(path, f"is no value of a column of type {column.type}", expected)
    prompts = [prompt.strip() for prompt in task.labels.values()]
    written = [prompt for prompt in prompts if prompt and not prompt.startswith(TO_FILL)]
    if len(set(written)) < len(written):
        yield Fault("task.labels", "two labels have the same prompt", "distinct prompts")


def _reference_faults(parts: Parts) -> Iterator[Fault]:
    if isinstance(parts.splits, SplitColumn):
        yield from _reference_faults_of(parts, "splits.column", parts.splits.column, ("string",))
    for index, expectation in enumerate(parts.expectations):
        if expectation.column not in parts.names:
            path = shown_path(["expectations", index, "column"])
            yield Fault(path, "is no column of `columns`", _nearest(expectation.column, parts))


def _reference_faults_of(
    parts: Parts, path: str, name: str, types: tuple[ColumnType, ...]
) -> Iterator[Fault]:
    if name not in parts.names:
        yield Fault(path, "is no column of `columns`", _nearest(name, parts))
    elif name in parts.columns and parts.columns[name].type not in types:
        what = "text" if types == ("string",) else "text, a whole number or true and false"
        expected = f"a column of type {', '.join(types)}"
        yield Fault(path, f"names a column that is not {what}", expected)


def _nearest(name: str, parts: Parts) -> str:
    # shown_name keeps a name that holds anything but a name out of the message
    return nearest_first(name, [n for n in parts.names if shown_name(n).startswith("'")])


def _column_faults(name: str, rule: ColumnRule) -> Iterator[Fault]:
    is_text, is_number = rule.type == "string", rule.type in ("integer", "number")
    for key in ("min_chars", "max_chars", "values", "pattern"):
        if getattr(rule, key) is not None and not is_text:
            yield Fault(_column(name, key), "is for text only", "type: string")
    for key in ("min", "max"):
        if getattr(rule, key) is not None and not is_number:
            yield Fault(_column(name, key), "is for numbers only", "type: integer or number")
    if rule.phi_scan and not is_text:
        yield Fault(_column(name, "phi_scan"), "is for text only", "type: string")
    for low, high in (("min", "max"), ("min_chars", "max_chars")):
        bottom, top = getattr(rule, low), getattr(rule, high)
        if bottom is not None and top is not None and bottom > top:
            yield Fault(_column(name, low), f"is more than `{high}`")
    if rule.values is not None and (not rule.values or len(set(rule.values)) < len(rule.values)):
        yield Fault(_column(name, "values"), "is empty or repeats itself", "distinct values")
    if rule.pattern is not None:
        yield from _pattern_faults(_column(name, "pattern"), rule.pattern)
    if rule.format is not None:
        yield from format_faults(_column(name, "format"), rule.format, rule.type)


def _pattern_faults(path: str, pattern: str) -> Iterator[Fault]:
    """A pattern must compile in Python and in RE2, and no repeat may stand inside another."""
    if len(pattern) > MAX_PATTERN_CHARS:
        yield Fault(path, "is too long", f"at most {MAX_PATTERN_CHARS} characters")
        return
    try:
        re.compile(pattern)
        pc.match_substring_regex(pa.array([""]), pattern)
    except (re.error, pa.ArrowInvalid, RecursionError, OverflowError):
        expected = "a regular expression without look-around or back-references"
        yield Fault(path, "is no pattern that can be used", expected)
        return
    if _repeats_a_repeat(parse_pattern(pattern), is_inside=False):
        yield Fault(path, "repeats a repeat, which may never end", "such as a+ and not (a+)+")


def _repeats_a_repeat(parts: Sequence[RegexPart], *, is_inside: bool) -> bool:
    for part in parts:
        is_repeat = part.highest > 10
        if is_repeat and is_inside:
            return True
        if _repeats_a_repeat(part.inner, is_inside=is_inside or is_repeat):
            return True
    return False
