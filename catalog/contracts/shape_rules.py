"""Rules of a contract about nested columns, mapped cells, sheets of a workbook and FHIR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from catalog.contracts.contract import ColumnRule, ColumnType, Labelled
from catalog.contracts.faults import shown_path
from catalog.contracts.files import Files
from catalog.contracts.images import IMAGE_FORMATS
from catalog.contracts.labels import label_of
from catalog.contracts.parts import Parts
from catalog.contracts.paths import (
    GRAMMAR,
    Each,
    PathFaultError,
    Position,
    column_paths,
    exploded_lists,
    flat_name,
    path_steps,
)
from catalog.errors import Fault

NESTED_FORMATS = ("fhir", "jsonl", "parquet")
_MAPPED_TYPES: Mapping[ColumnType, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def shape_rule_faults(parts: Parts) -> Iterator[Fault]:
    """What is wrong with paths, lists, maps and the keys of `files` that go with a format."""
    sound: dict[str, ColumnRule] = {}
    for name, rule in parts.columns.items():
        faults = [*_path_faults(name, rule)]
        yield from faults
        if not faults:
            sound[name] = rule
            yield from _list_faults(name, rule, parts.files)
        yield from _map_faults(name, rule, parts)
    yield from _explode_faults(sound)
    if parts.files is not None:
        yield from _file_faults(parts.files)


def _place(name: str, key: str) -> str:
    return shown_path(["columns", name, key])


def _path_faults(name: str, rule: ColumnRule) -> Iterator[Fault]:
    """What is wrong with how `from` is written."""
    if rule.from_ is None:
        return
    path = _place(name, "from")
    if rule.in_file is not None:
        yield Fault(path, "is given beside `in_file`, which means the same", "one of the two")
    texts = rule.from_ if isinstance(rule.from_, tuple) else (rule.from_,)
    if not texts:
        yield Fault(path, "has too few entries", "a path")
    if isinstance(rule.from_, tuple) and rule.join is None:
        yield Fault(path, "is several paths", "`join:` with the text to put between theirs")
    for text in texts:
        try:
            path_steps(text)
        except PathFaultError as error:
            yield Fault(path, f"is no path: it {error}", GRAMMAR)


def _list_faults(name: str, rule: ColumnRule, files: Files | None) -> Iterator[Fault]:
    """What is wrong with what a column makes of lists, and where there are none."""
    if files is not None and files.format not in NESTED_FORMATS:
        yield from _flat_faults(name, rule, files)
        return
    if rule.join is not None and rule.type != "string":
        yield Fault(_place(name, "join"), "makes a text", "type: string")
    paths = column_paths(name, rule)
    if any(Each() in path for path in paths) and rule.join is None and not rule.explode:
        expected = "`join:` for one text of all elements, `explode: true` for a row of each, or [0]"
        yield Fault(_place(name, "from"), "has [] for each element of a list", expected)
    if isinstance(rule.in_file, int) and (rule.join is not None or rule.explode):
        expected = "the name that the file gives it"
        yield Fault(_place(name, "in_file"), "is a place, and a list has a name", expected)
    if rule.decode is not None and rule.type != "string" and rule.map is None:
        yield Fault(_place(name, "decode"), "makes a text", "type: string")


def _flat_faults(name: str, rule: ColumnRule, files: Files) -> Iterator[Fault]:
    expected = f"format {', '.join(NESTED_FORMATS)}; in other tables the name of a column"
    for key, is_said in (("join", rule.join is not None), ("explode", rule.explode)):
        if is_said:
            yield Fault(_place(name, key), "is for nested columns only", expected)
            return
    if files.format in IMAGE_FORMATS:
        for key, said in (("from", rule.from_), ("decode", rule.decode)):
            if said is not None:
                yield Fault(_place(name, key), "is for tables only", "no such key")
    elif flat_name(name, rule) is None:
        yield Fault(_place(name, "from"), "leads into a nested column", expected)


def _map_faults(name: str, rule: ColumnRule, parts: Parts) -> Iterator[Fault]:
    if rule.map is None:
        return
    path = _place(name, "map")
    if not rule.map:
        yield Fault(path, "has too few entries", "{text of the cell: what lands}")
    wanted = _MAPPED_TYPES.get(rule.type)
    if wanted is None:
        yield Fault(path, f"is not for columns of type {rule.type}", ", ".join(_MAPPED_TYPES))
        return
    for text, value in rule.map.items():
        if value is None and not rule.nullable:
            inner = shown_path(["columns", name, "map", text])
            yield Fault(inner, "is null", "a value, or nullable: true")
        elif value is not None and not _is_of(value, wanted):
            inner = shown_path(["columns", name, "map", text])
            yield Fault(inner, f"is no value of type {rule.type}", "put a text in quotes")
    if isinstance(parts.task, Labelled) and parts.task.target == name:
        labels = {label_of(v) for v in rule.map.values() if isinstance(v, str | int | bool)}
        if n_other := len(labels - set(parts.task.labels)):
            what = f"leads to {n_other} values that are no labels of the task"
            yield Fault(path, what, "names of task.labels")


def _is_of(value: object, wanted: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, wanted)


def _explode_faults(columns: Mapping[str, ColumnRule]) -> Iterator[Fault]:
    try:
        lists = exploded_lists(columns)
    except PathFaultError as error:
        expected = "one list, and lists inside its elements"
        yield Fault("columns", f"cannot be made into rows: {error}", expected)
        return
    for name, rule in columns.items():
        if not lists or not rule.key:
            continue
        paths = column_paths(name, rule)
        is_inside = any(
            (rule.explode and path[: len(lists[-1])] == lists[-1])
            or (path[-1] == Position() and (*path[:-1], Each()) == lists[-1])
            for path in paths
        )
        if not is_inside:
            expected = "a field of the element with explode: true, or [id, list[#]] with join"
            what = "is the same in every row of an exploded list"
            yield Fault(shown_path(["columns", name]), what, expected)


def _file_faults(files: Files) -> Iterator[Fault]:
    if files.excel is not None and files.format != "xlsx":
        yield Fault("files.excel", "is for xlsx only", "no such key")
    if (files.resource is not None) != (files.format == "fhir"):
        if files.resource is None:
            expected = "the type of resource that makes a row, such as DiagnosticReport"
            yield Fault("files.resource", "is missing", expected)
        else:
            yield Fault("files.resource", "is for fhir only", "no such key")
    excel = files.excel
    if excel is None:
        return
    first = excel.first_row
    if first is not None and files.header and first <= excel.header_row:
        yield Fault("files.excel.first_row", "is not below header_row", "a row below it")
    if excel.last_row is not None and excel.last_row < (first or excel.header_row):
        yield Fault("files.excel.last_row", "is above the first row", "a row below it")
    if isinstance(excel.sheet, int) and excel.sheet < 1:
        yield Fault("files.excel.sheet", "is no place of a sheet", "1 for the first sheet")
