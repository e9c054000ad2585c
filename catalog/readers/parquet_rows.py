"""Parquet tables as typed batches: flat columns at once, nested ones by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from catalog.contracts.contract import ColumnRule
from catalog.contracts.paths import Name, Path, Position
from catalog.readers.arrow_cells import fits, is_text, plain_cells, type_text
from catalog.readers.batches import Columns, PendingRows
from catalog.readers.cells import TypedBatch, from_value
from catalog.readers.files import FileUnreadable
from catalog.readers.leaves import Names, is_list, wanted_names
from catalog.readers.naming import check_distinct, contract_names
from catalog.readers.nested import Shape
from catalog.readers.nested_arrow import nested_bytes, nested_cells
from catalog.readers.objects import text_bytes
from catalog.readers.parquet import parquet_file
from rpe_core.errors import shown_name

MAX_NAMES_SHOWN = 20


def read_parquet(
    uri: str, columns: Columns, *, batch_rows: int, max_cell_chars: int
) -> Iterator[TypedBatch]:
    """Batches of a Parquet file; a column stored as another type than the contract's is refused.

    Raises:
        FileUnreadable: if it is empty, cut off, no Parquet at all, or has columns of other types.
    """
    shape = Shape(columns)
    with parquet_file(uri) as file:
        schema = file.schema
        check_distinct(schema.names, uri)
        names = dict(zip(contract_names(schema.names, columns), schema.names, strict=True))
        flat = {name: names[name] for name in columns if name in names and name not in shape.paths}
        types = {name: schema.field(column).type for name, column in flat.items()}
        nested = {name: _end(schema, paths) for name, paths in shape.paths.items()}
        _check_types(types, nested, columns, uri)
        pending = PendingRows(columns, from_value, max_cell_chars)
        has = [
            *flat,
            *(name for name, ends in nested.items() if ends),
            *(own for own, top in names.items() if own not in flat and top not in shape.tops),
        ]
        wanted: list[Names] = [(column,) for column in flat.values()]
        wanted += wanted_names([path for paths in shape.paths.values() for path in paths])
        first = 1
        for batch in file.batches(wanted, batch_rows=batch_rows):
            n_bytes = sum(int(nested_bytes(column).sum()) for column in batch.columns)
            if pending.n_rows and not pending.has_room(batch.num_rows, n_bytes, batch_rows):
                yield pending.take()
            pending.see(has)
            cells = {name: plain_cells(batch.column(column)) for name, column in flat.items()}
            if not shape.paths:
                pending.add_columns(cells, n_rows=batch.num_rows, n_bytes=n_bytes)
                continue
            for number, row in _walked(batch, cells, shape, first=first):
                if pending.is_full(batch_rows):
                    yield pending.take()
                    pending.see(has)
                pending.add(row, n_bytes=text_bytes(row), number=number)
            first += batch.num_rows
        if pending.n_rows:
            yield pending.take()


def _walked(
    batch: pa.RecordBatch, cells: Mapping[str, list[Any]], shape: Shape, *, first: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows that each row of a batch makes, with its number in the file."""
    tops = [name for name in batch.schema.names if name in shape.tops]
    columns = [nested_cells(batch.column(name)) for name in tops]
    for index in range(batch.num_rows):
        values = {name: column[index] for name, column in zip(tops, columns, strict=True)}
        flat = {name: column[index] for name, column in cells.items()}
        for made in shape.rows(values, {}):
            yield first + index, {**flat, **made}


def _end(schema: pa.Schema, paths: Sequence[Path]) -> list[pa.DataType | str]:
    """What the file stores at the end of each path that it has; words where none can lead on."""
    ends: list[pa.DataType | str] = []
    for path in paths:
        kind = _at_end(pa.struct(list(schema)), path)
        if kind is not None:
            ends.append(kind)
    return ends


def _at_end(kind: Any, path: Path) -> Any:
    for step in path:
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        if pa.types.is_null(kind):
            return kind
        if not isinstance(step, Name):
            if not is_list(kind):
                return "no list where its path has brackets"
            kind = pa.int64() if isinstance(step, Position) else kind.value_type
        elif pa.types.is_map(kind):
            kind = kind.item_type
        elif not pa.types.is_struct(kind):
            return "a list where its path has no brackets" if is_list(kind) else "no fields"
        elif (index := kind.get_field_index(step.name)) < 0:
            return None if step.name not in [field.name for field in kind] else "two such fields"
        else:
            kind = kind.field(index).type
    return kind


def _check_types(
    types: Mapping[str, pa.DataType],
    nested: Mapping[str, Sequence[pa.DataType | str]],
    columns: Columns,
    uri: str,
) -> None:
    wrong = []
    for name, rule in columns.items():
        for kind in [types[name]] if name in types else nested.get(name, ()):
            if isinstance(kind, str):
                wrong.append(f"{shown_name(name)} has {kind}")
            elif not _may_hold(kind, rule):
                wrong.append(f"{shown_name(name)} holds {type_text(kind)} and not {rule.type}")
    if wrong:
        raise FileUnreadable(
            uri,
            "; ".join(wrong[:MAX_NAMES_SHOWN]),
            remedy="correct the type in the contract, or the export",
        )


def _may_hold(kind: pa.DataType, rule: ColumnRule) -> bool:
    """Whether cells that are stored so may be what the rule says, each as far as it goes."""
    kind = kind.value_type if rule.join is not None and is_list(kind) else kind
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if rule.decode is not None:
        return is_text(value) or bool(pa.types.is_null(value))
    if rule.map is not None or rule.join is not None:
        return not pa.types.is_nested(value)
    is_name = rule.type == "string" and (rule.key or rule.group)
    return fits(kind, rule.type) or (is_name and bool(pa.types.is_integer(value)))
