"""Nested columns in a draft: the fields below them, by names that may be shown and no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa

from catalog.contracts.contract import ColumnRule, ColumnType
from catalog.contracts.paths import path_text
from catalog.readers.batches import BATCH_BYTES
from catalog.readers.cells import NESTED, from_value
from catalog.readers.files import text_file
from catalog.readers.headers import looks_like_value
from catalog.readers.leaves import is_list
from catalog.readers.naming import DraftName, draft_names
from catalog.readers.nested import Shape
from catalog.readers.nested_arrow import nested_bytes, nested_cells
from catalog.readers.parquet import parquet_file
from catalog.readers.rows import first_rows, json_lines
from catalog.readers.sample import ColumnSample, cut_cell
from catalog.readers.tabular import MAX_LINE_BYTES, json_object

MAX_FIELDS = 100  # of all nested columns; those behind are left out, and counted
MAX_DEPTH = 8
MAX_KEYS = 60  # of one object: where there are more, they are data and not names
JOINED_BY = "; "


@dataclass(frozen=True)
class Field:
    """A field below a column: its names, its path, and whether a list is on the way."""

    names: tuple[str, ...]
    path: str
    is_list: bool

    @property
    def said(self) -> tuple[tuple[str, str], ...]:
        """What the rule of its column says of where it is."""
        return (("from", self.path), *((("join", JOINED_BY),) if self.is_list else ()))


def with_nested(sample: ColumnSample, uri: str, file_format: str, *, rows: int) -> ColumnSample:
    """The sample with the fields below its nested columns in place of these.

    Raises:
        FileUnreadable: if the file cannot be read.
    """
    tops = {
        str(name.in_file or name.name): index
        for index, name in enumerate(sample.names)
        if name.is_told and any(cell is NESTED for cell in sample.cells[index])
    }
    if not tops:
        return sample
    read = _json_values if file_format == "jsonl" else _parquet_values
    values = read(uri, [*tops], rows)
    fields: list[Field] = []
    n_hidden = 0
    for top in tops:
        inner, hidden = fields_below(top, [row.get(top) for row in values])
        n_hidden += hidden + max(0, len(fields) + len(inner) - MAX_FIELDS)
        fields = [*fields, *inner][:MAX_FIELDS]
    gone = {tops[field.names[0]] for field in fields}
    kept = [index for index in range(len(sample.names)) if index not in gone]
    n_rows = max(map(len, sample.cells))
    drawn = drawn_fields([sample.names[index] for index in kept], fields, values[:n_rows])
    stored = [sample.stored[index] for index in kept] if sample.stored else []
    texts: list[ColumnType] = ["string"] * len(fields)
    return replace(
        sample,
        names=drawn.names,
        cells=[*(sample.cells[index] for index in kept), *drawn.cells],
        stored=[*stored, *texts] if sample.stored else (),
        n_hidden=sample.n_hidden + n_hidden,
    )


def drawn_fields(
    names: Sequence[DraftName], fields: Sequence[Field], values: Sequence[Mapping[str, Any]]
) -> ColumnSample:
    """Columns for fields behind others, which keep their names; the cells are of the fields."""
    wanted = ["_".join(field.names) for field in fields]
    free = draft_names([*(name.name for name in names), *wanted], is_header=True)[len(names) :]
    drafted = [
        DraftName(name.name, None, () if field.path == name.name else field.said)
        for name, field in zip(free, fields, strict=True)
    ]
    rules = {
        name.name: ColumnRule(type="string", **{"from": field.path, "join": _join(field)})
        for name, field in zip(drafted, fields, strict=True)
    }
    shape = Shape(rules)
    cells: list[list[Any]] = [[] for _ in fields]
    for row in values:
        (made,) = shape.rows(row, {})
        for column, (name, field) in zip(cells, zip(drafted, fields, strict=True), strict=True):
            top = row.get(field.names[0]) if len(field.names) == 1 and not field.is_list else None
            column.append(cut_cell(made.get(name.name, top)))
    return ColumnSample([*names, *drafted], cells, from_value)


def fields_below(top: str, values: Sequence[Any]) -> tuple[list[Field], int]:
    """The fields below a column, and how many are left out because of their names or number."""
    walk = _FieldWalk()
    fields = list(walk.below(values, (top,), path_text((top,)), is_list=False, depth=0))
    return fields[:MAX_FIELDS], walk.n_hidden + max(0, len(fields) - MAX_FIELDS)


class _FieldWalk:
    """Objects and lists on the way down, with the number of fields that are not shown."""

    def __init__(self) -> None:
        self.n_hidden = 0

    def below(
        self, values: Iterable[Any], names: tuple[str, ...], path: str, *, is_list: bool, depth: int
    ) -> Iterator[Field]:
        held = [value for value in values if value is not None]
        if depth > MAX_DEPTH:
            self.n_hidden += bool(held)
        elif held and all(isinstance(value, list) for value in held):
            inner = [element for value in held for element in value]
            is_deep = any(isinstance(element, dict | list) for element in inner)
            end = f"{path}[]" if is_deep else path
            yield from self.below(inner, names, end, is_list=True, depth=depth + 1)
        elif held and all(isinstance(value, dict) for value in held):
            yield from self._fields(held, names, path, is_list=is_list, depth=depth)
        elif held and not any(isinstance(value, dict | list) for value in held):
            yield Field(names, path, is_list)
        elif held:
            self.n_hidden += 1

    def _fields(
        self,
        held: Sequence[Mapping[str, Any]],
        names: tuple[str, ...],
        path: str,
        *,
        is_list: bool,
        depth: int,
    ) -> Iterator[Field]:
        keys = list(dict.fromkeys(key for value in held for key in value))
        if len(keys) > MAX_KEYS:
            self.n_hidden += len(keys)
            return
        shown = [key for key in keys if not looks_like_value(key)]
        self.n_hidden += len(keys) - len(shown)
        for key in shown:
            inner = [value.get(key) for value in held]
            yield from self.below(
                inner,
                (*names, key),
                f"{path}.{path_text((key,))}",
                is_list=is_list,
                depth=depth + 1,
            )


def _join(field: Field) -> str | None:
    return JOINED_BY if field.is_list else None


def _json_values(uri: str, tops: Sequence[str], rows: int) -> list[Mapping[str, Any]]:
    with text_file(uri) as stream:
        lines = json_lines(stream, max_line_bytes=MAX_LINE_BYTES)
        drawn = first_rows(lines, rows, lambda line: len(line or b""))
        sound = [row for row, _ in map(json_object, drawn) if row is not None]
    return [{top: row.get(top) for top in tops} for row in sound]


def _parquet_values(uri: str, tops: Sequence[str], rows: int) -> list[Mapping[str, Any]]:
    values: list[Mapping[str, Any]] = []
    n_bytes = 0
    with parquet_file(uri) as file:
        # The keys of a map are data: none of them is a name of a column
        wanted = [top for top in tops if not _holds_map(file.schema.field(top).type)]
        if not wanted:
            return []
        for batch in file.batches([(top,) for top in wanted], batch_rows=min(rows, 1024)):
            columns = {top: nested_cells(batch.column(top)) for top in wanted}
            n_rows = min(batch.num_rows, rows - len(values))
            values += [{t: columns[t][at] for t in wanted} for at in islice(range(n_rows), n_rows)]
            n_bytes += sum(int(nested_bytes(column).sum()) for column in batch.columns)
            if len(values) >= rows or n_bytes >= BATCH_BYTES:
                break
    return values


def _holds_map(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind) or pa.types.is_union(kind):
        return True
    if is_list(kind):
        return _holds_map(kind.value_type)
    return pa.types.is_struct(kind) and any(_holds_map(field.type) for field in kind)
