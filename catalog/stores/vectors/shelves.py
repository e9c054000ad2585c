"""Shelves: the parts of a table on the disk, brought up to the table by appending what is new."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.stores.vectors.library import LibrarySnapshot
from catalog.stores.vectors.parts import (
    KEYS,
    LibraryPart,
    Matrix,
    PartDamaged,
    blocks_of,
    make_part,
    open_part,
    read_current,
    write_current,
    write_part,
)

_IN_MEMORY = 8192  # rows of a table that are read anew instead of kept twice on the disk
_TAKEN = 1024  # rows asked of Lance at once
_FILED = "adapter_id IS NOT NULL"
_IDENTITY = list(KEYS[:2])

Blocks = Iterator[tuple[pa.Table, Matrix]]


def open_shelf(table: Any, folder: Path, *, encoder_id: str) -> LibrarySnapshot:
    """The adapters of an opened table; no lock is taken, whoever comes first writes the new part.

    Parts stand for the table's version. Where the table has moved on, its keys are compared: if
    the parts hold the first of them, what follows is appended; otherwise all is made again.
    """
    dimension = table.schema.field("z").type.list_size
    current = read_current(folder)
    token, version = table_token(table), table.version
    parts: list[LibraryPart] = []
    if current.get("table") == token:
        try:
            parts = [open_part(folder, name) for name in current["parts"]]
            if current["version"] == version:
                return LibrarySnapshot(encoder_id, dimension, parts)
        except PartDamaged:
            parts = []
    try:
        return LibrarySnapshot(encoder_id, dimension, _renewed(table, folder, parts))
    except PartDamaged:
        forget(folder)
        return LibrarySnapshot(encoder_id, dimension, _renewed(table, folder, []))


def forget(folder: Path) -> None:
    """Remove the parts of a table from the disk; they can be made again."""
    shutil.rmtree(folder, ignore_errors=True)


def table_token(table: Any) -> str:
    """What tells a table from one that was made later under its name."""
    return str((table.schema.metadata or {}).get(b"rpe.table", b"").decode())


def _renewed(table: Any, folder: Path, parts: list[LibraryPart]) -> list[LibraryPart]:
    """The parts with what the table has beyond them; written down where the table is large."""
    keys = table.search().where(_FILED).select(_IDENTITY).with_row_id(True).to_arrow()
    parts = parts if _is_prefix(parts, keys) else []
    n_known = sum(len(part) for part in parts)
    n_new = len(keys) - n_known
    if not len(keys):
        return []
    if len(keys) <= _IN_MEMORY:
        return [make_part(_scanned(table))]
    if n_new:
        absorbed: list[LibraryPart] = []
        # parts that are not much larger are written anew, so that there are only log n of them
        while parts and len(parts[-1]) <= 2 * (n_new + sum(map(len, absorbed))):
            absorbed.insert(0, parts.pop())
        fresh = _taken(table, keys.slice(n_known)) if n_known else _scanned(table)
        blocks = _chained(absorbed, fresh)
        n_rows = n_new + sum(map(len, absorbed))
        dimension = table.schema.field("z").type.list_size
        name = write_part(folder, blocks, n_rows=n_rows, dimension=dimension)
        parts = [*parts, open_part(folder, name)]
    names = [part.name for part in parts]
    write_current(folder, table=table_token(table), version=table.version, parts=names)
    return parts


def _chained(absorbed: Sequence[LibraryPart], fresh: Blocks) -> Blocks:
    yield from blocks_of(absorbed)
    yield from fresh


def _is_prefix(parts: Sequence[LibraryPart], keys: pa.Table) -> bool:
    """Whether the parts hold the first rows of the table, in its order."""
    start = 0
    for part in parts:
        there = keys.slice(start, len(part))
        if len(there) != len(part):
            return False
        for name in _IDENTITY:
            if not pc.all(pc.equal(there[name], part.keys[name])).as_py():
                return False
        start += len(part)
    return True


def _scanned(table: Any) -> Blocks:
    """All adapters of a table in its order."""
    batches = table.search().where(_FILED).select([*KEYS, "z"]).to_batches(_TAKEN * 4)
    for batch in batches:
        yield _split(pa.Table.from_batches([batch]))


def _taken(table: Any, keys: pa.Table) -> Blocks:
    """The rows with these row ids, which must be those of the keys.

    Raises:
        PartDamaged: Lance gave other rows.
    """
    for start in range(0, len(keys), _TAKEN):
        wanted = keys.slice(start, _TAKEN)
        ids = wanted["_rowid"].to_pylist()
        rows = table.take_row_ids(ids).select([*KEYS, "z"]).to_arrow()
        if rows["adapter_id"].to_pylist() != wanted["adapter_id"].to_pylist():
            raise PartDamaged
        yield _split(rows)


def _split(rows: pa.Table) -> tuple[pa.Table, Matrix]:
    z = rows["z"].combine_chunks()
    flat = z.flatten() if not isinstance(z, pa.ChunkedArray) else z.chunk(0).flatten()
    return rows.select(list(KEYS)), np.asarray(flat.to_numpy()).reshape(len(rows), -1)
