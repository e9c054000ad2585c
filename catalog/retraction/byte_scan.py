"""Scan: whether bytes that were erased are still in a file; Parquet is read decompressed too."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.stores.lake.lake import Lake
from catalog.stores.places import PlacedFile, files_below
from catalog.tables.quoting import quote_identifier
from catalog.tables.schema import QUARANTINE_COLUMNS, RAW_COLUMNS

SHORTEST = 8  # bytes: a shorter text is found by chance
LONGEST = 64  # of a text that are looked for
_PIECE_BYTES = 1 << 23
_ROWS = 5  # of a column beside its minimum and maximum
_OURS = {column.name for column in (*RAW_COLUMNS, *QUARANTINE_COLUMNS)}


@dataclass(frozen=True)
class Scan:
    """What a scan read and in which files it found one of the texts, by name relative to a root."""

    n_needles: int
    n_files: int
    n_bytes: int
    found: tuple[str, ...]


def needles_of(lake: Lake, source: str, batches: Collection[str]) -> list[str]:
    """Texts by which rows of some batches are told from all others: extremes and some of a column.

    The hashes that name the rows outside their table, cells, rows set aside. Short texts tell
    nothing, nor do those that a row of another batch or source holds too.
    """
    named, texts = list(batches), set[str]()
    for schema, table, column in _text_columns(lake):
        is_read = column in ("_item_sha256", "_row_json") or column not in _OURS
        if table == source and is_read:
            sample = _sample(lake, f"{schema}.{quote_identifier(table)}", column, named)
            texts.update(text[:LONGEST] for text in sample)
    long_enough = {text for text in texts if len(text.encode()) >= SHORTEST}
    return sorted(long_enough - _shared(lake, source, named, long_enough))


def scan(
    places: Iterable[str], needles: Collection[str], *, without: Collection[Path] = ()
) -> Scan:
    """Look for texts in the bytes of every file below some places, deliveries left out."""
    sought = [needle.encode() for needle in sorted(needles)]
    pattern = re.compile(b"|".join(map(re.escape, sought)) or rb"(?!)")
    overlap = max(map(len, sought), default=1) - 1  # of two pieces of a file, so that none is cut
    n_files = n_bytes = 0
    files = []
    for root in places:
        for file in files_below(root):
            if file.path in without:
                continue
            n_files, n_bytes = n_files + 1, n_bytes + file.n_bytes
            if any(pattern.search(part) for part in _parts(file, overlap)):
                files.append(file.name)
    return Scan(len(needles), n_files, n_bytes, tuple(files))


def _parts(file: PlacedFile, overlap: int) -> Iterator[bytes]:
    """The bytes of a file, piece by piece; of Parquet the decompressed column chunks, too."""
    with file.opened() as stream:
        kept = b""
        while piece := stream.read(_PIECE_BYTES):
            yield kept + piece
            kept = (kept + piece)[-overlap:] if overlap else b""
        if file.name.endswith(".parquet"):
            stream.seek(0)
            yield from _columns(stream)


def _columns(stream: Any) -> Iterator[bytes]:
    try:
        with pq.ParquetFile(stream) as file:
            for group in range(file.num_row_groups):
                for column in file.read_row_group(group).columns:
                    for chunk in column.chunks:
                        plain = chunk.dictionary if isinstance(chunk, pa.DictionaryArray) else chunk
                        yield from (b.to_pybytes() for b in plain.buffers() if b is not None)
    except pa.ArrowException:  # no whole Parquet file: its bytes were read above
        return


def _text_columns(lake: Lake) -> Sequence[tuple[str, str, str]]:
    """Schema, table and name of every column of text in `raw` and `quarantine`."""
    rows = lake.rows(
        "SELECT schema_name, table_name, column_name FROM duckdb_columns()"
        " WHERE database_name = current_database() AND data_type = 'VARCHAR'"
        " AND schema_name IN ('raw', 'quarantine') ORDER BY ALL"
    )
    return [(row["schema_name"], row["table_name"], row["column_name"]) for row in rows]


def _sample(lake: Lake, table: str, column: str, batches: Sequence[str]) -> list[str]:
    name = quote_identifier(column)
    rows = lake.rows(
        f"WITH held AS (SELECT {name} AS text FROM {table} WHERE list_contains(?, _batch_id))"
        " SELECT min(text) AS text FROM held UNION SELECT max(text) FROM held"
        f" UNION (SELECT DISTINCT text FROM held WHERE length(text) >= {SHORTEST}"
        f" ORDER BY md5(text) LIMIT {_ROWS})",
        [list(batches)],
    )
    return [row["text"] for row in rows if row["text"]]


def _shared(lake: Lake, source: str, batches: Sequence[str], texts: Collection[str]) -> set[str]:
    """Those of the texts that a cell of another source or batch holds."""
    left = sorted(texts)
    shared: set[str] = set()
    for schema, table, column in _text_columns(lake):
        if not left or (column in _OURS and column not in ("_item_sha256", "_row_json")):
            continue
        rows = lake.rows(
            f"SELECT DISTINCT wanted.text FROM {schema}.{quote_identifier(table)} AS held,"
            " unnest(?::VARCHAR[]) AS wanted(text)"
            f" WHERE contains(held.{quote_identifier(column)}, wanted.text)"
            " AND (? OR NOT list_contains(?, held._batch_id))",
            [left, table != source, list(batches)],
        )
        shared.update(row["text"] for row in rows)
        left = sorted(set(left) - shared)
    return shared
