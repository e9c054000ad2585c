"""Rewrites: a table of LoRA-VecDB gets new files with the rows that it has."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog.stores.disk import flush
from catalog.stores.object_store import is_in_bucket
from catalog.stores.vectors.rows import table_schema

_COMING = "rewritten_"  # before the name of a table that takes another's place when it is whole
_ROWS = 4096  # of one write


def rewrite(database: Any, uri: str, name: str, *, give_up: Callable[[], None]) -> None:
    """Write a table anew; it is whole before `give_up` takes the old one away.

    A kill loses no row of a folder. In a bucket, where nothing can be renamed, rows wait in memory.
    """
    finish_rewrites(uri)
    old = database.open_table(name)
    schema = table_schema(old.schema.field("z").type.list_size)
    rows = _batches(old, schema)
    if is_in_bucket(uri):
        whole = pa.Table.from_batches(rows, schema=schema)
        give_up()
        database.create_table(name, whole, schema=schema)
        return
    reader = pa.RecordBatchReader.from_batches(schema, rows)
    database.create_table(f"{_COMING}{name}", reader, schema=schema)
    give_up()
    finish_rewrites(uri)


def finish_rewrites(uri: str) -> None:
    """Let a table that was written anew take the place of the old one, if that has gone."""
    if is_in_bucket(uri):
        return
    for new in sorted(Path(uri).glob(f"{_COMING}*.lance")):
        target = new.with_name(new.name.removeprefix(_COMING))
        if target.exists():
            shutil.rmtree(new)  # whoever wrote it was killed while the old one stood
        else:
            new.rename(target)
            flush(target.parent)


def _batches(table: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in table.search().to_batches(_ROWS):
        columns = [batch.column(name) for name in schema.names]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
