"""Columns that stand in the folders of a file, as Hive and its kin write them: `year=2024/site=a/`.

What a folder says is a cell like any other: typed by its rule, scanned where the rule says so, and
never shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from catalog.contracts.contract import ColumnRule
from catalog.contracts.images import IMAGE_FORMATS
from catalog.contracts.paths import flat_name
from catalog.readers.batches import Columns, typed_schema
from catalog.readers.cells import BadCell, Refused, TypedBatch, cast_column, converter, from_text
from catalog.readers.files import FileUnreadable
from rpe_core.fingerprint import fingerprint

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"


def folder_values(uri: str) -> dict[str, str | None]:
    """Name -> text of each partition above a file; None where its folder says that there is none.

    >>> folder_values("/data/year=2024/site=St.%20Anna/part-0.parquet")
    {'year': '2024', 'site': 'St. Anna'}

    Raises:
        FileUnreadable: if two of its folders are of one partition.
    """
    values: dict[str, str | None] = {}
    for folder in uri.split("/")[:-1]:
        name, sign, text = folder.partition("=")
        name = unquote(name)
        if not sign or not name:
            continue
        if name in values:
            remedy = "write each partition once on the way to a file"
            raise FileUnreadable(uri, "two of its folders are of one partition", remedy=remedy)
        values[name] = None if text == NULL_FOLDER or not text else unquote(text)
    return values


def partition_cells(columns: Mapping[str, ColumnRule], uri: str) -> dict[str, bytes | None]:
    """Column of the contract -> the cell that a folder above the file holds for it.

    A rule with `in_file` is of the file alone.

    Raises:
        FileUnreadable: if two folders are of one partition.
    """
    if "=" not in uri:
        return {}
    values = folder_values(uri)
    called = {name: flat_name(name, rule) for name, rule in columns.items() if rule.in_file is None}
    cells = {name: values[key] for name, key in called.items() if key in values}
    return {name: None if text is None else text.encode() for name, text in cells.items()}


def partition_mark(file_format: str, columns: Mapping[str, ColumnRule], uri: str) -> str:
    """What tells files of equal bytes apart by their folders; '' where these hold no column."""
    if file_format in IMAGE_FORMATS:
        return ""
    try:
        cells = partition_cells(columns, uri)
    except FileUnreadable:
        return ""
    texts = [[name, None if cell is None else cell.decode()] for name, cell in cells.items()]
    return fingerprint(sorted(texts)) if texts else ""


def with_partitions(
    batches: Iterable[TypedBatch], columns: Columns, uri: str, *, max_cell_chars: int
) -> Iterator[TypedBatch]:
    """The rows of a file with the columns that stand in its folders.

    Where the file has such a column too, a null is filled, and a cell that says something else than
    the folder is bad.
    """
    added = {
        name: _typed(columns[name], cell, max_cell_chars=max_cell_chars)
        for name, cell in partition_cells(columns, uri).items()
    }
    for batch in batches:
        yield _joined(batch, columns, added) if added else batch


def _typed(rule: ColumnRule, cell: bytes | None, *, max_cell_chars: int) -> Any:
    """The value of a folder by the rule of its column, or why it is none."""
    column, bad = cast_column(
        [cell], rule.type, convert=converter(rule, from_text), max_cell_chars=max_cell_chars
    )
    return Refused(bad[0][1]) if bad else column[0].as_py()


def _joined(batch: TypedBatch, columns: Columns, added: Mapping[str, Any]) -> TypedBatch:
    lost = {cell.row for cell in batch.bad_cells if not cell.column}
    bad = list(batch.bad_cells)
    table = batch.table
    arrays = {name: table.column(name) for name in table.schema.names}
    for name, value in added.items():
        cells = arrays[name].to_pylist()
        refused = {cell.row for cell in batch.bad_cells if cell.column == name}
        for row, cell in enumerate(cells):
            if row in lost or row in refused:
                continue
            if isinstance(value, Refused):
                bad.append(BadCell(row, name, value.reason))
                cells[row] = None
            elif cell is None:
                cells[row] = value
            elif cell != value:
                bad.append(BadCell(row, name, "differs_from_folder"))
                cells[row] = None
        arrays[name] = pa.array(cells, arrays[name].type)
    schema = typed_schema(columns)
    return replace(
        batch,
        table=pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema),
        bad_cells=sorted(bad),
        missing_columns=tuple(name for name in batch.missing_columns if name not in added),
    )
