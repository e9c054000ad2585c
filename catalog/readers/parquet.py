"""Parquet files as record batches whose decoded size is bounded, whatever their encoding hides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.readers.arrow_cells import in_calendar
from catalog.readers.batches import BATCH_BYTES
from catalog.readers.files import FileUnreadable, compression_of, raw_file
from catalog.readers.leaves import Names, leaf_names, leaf_places
from catalog.readers.nested_arrow import nested_bytes

_CAUTIOUS_ROWS = 16  # decoded at once where a column's part of a row group is larger than _LARGE
_LARGE = 4 * BATCH_BYTES
_MANY_VALUES = 4_000_000  # of a column's part of a row group
_NO_MOMENT = np.iinfo(np.int64).max  # a moment that no calendar holds


@dataclass(frozen=True)
class ParquetTable:
    """An open Parquet file."""

    file: pq.ParquetFile  # texts of a dictionary stay in it; INT96 is read as microseconds
    seconds: pq.ParquetFile | None  # the same with INT96 as seconds, if a column is stored so
    leaves: Mapping[int, str]  # columns by place; those that cannot be opened are left out
    is_sealed: bool  # what cannot be opened is encrypted

    @property
    def schema(self) -> pa.Schema:
        """Its columns as Arrow reads them."""
        return self.file.schema_arrow

    def batches(self, wanted: Sequence[Names], *, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Record batches of these columns: at most `batch_rows` rows and 32 MiB, or one row.

        A name is of a column, or of a field below it: nothing else of the column is read then.
        """
        places = leaf_places(self.schema, wanted)
        self._check_open(places)
        for group in range(self.file.num_row_groups):
            n_rows = self.file.metadata.row_group(group).num_rows
            for piece in self._pieces(group, places, batch_rows=batch_rows):
                n_rows -= len(piece)
                # Arrow's kernels may crash on a batch without rows, so none ever leaves
                yield from filter(len, _cut(piece))
            if n_rows:  # a damaged page may end its column early, and Arrow the rows with it
                raise pa.ArrowInvalid("rows are missing")

    def _check_open(self, places: Sequence[int]) -> None:
        if not self.leaves.keys() >= set(places):
            raise _Sealed if self.is_sealed else pa.ArrowInvalid("a column cannot be opened")

    def _pieces(
        self, group: int, places: Sequence[int], *, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        about = self.file.metadata.row_group(group)
        chunks = [about.column(index) for index in places]
        rows = _rows_at_once(about, chunks, batch_rows=batch_rows)
        read = _read(self.file, group, places, rows=rows)
        legacy = _legacy_moments(self.file, places)
        if self.seconds is None or not legacy:
            yield from read
            return
        names = list(legacy.values())
        for piece, seconds in zip(
            read, _read(self.seconds, group, [*legacy], rows=rows), strict=True
        ):
            yield _without_wrapped(piece, seconds, names)


class _Sealed(Exception):
    """What is asked for is encrypted."""


@contextmanager
def parquet_file(uri: str) -> Iterator[ParquetTable]:
    """An open Parquet file; Arrow's own errors, which may hold cells, end here.

    Raises:
        FileUnreadable: if it is empty, cut off or no Parquet at all.
    """
    if compression_of(uri):
        remedy = "deliver it as .parquet, which is compressed inside"
        raise FileUnreadable(uri, "Parquet is not read from a compressed file", remedy=remedy)
    with raw_file(uri) as raw:
        magic = raw.read(4)
        if not magic:
            raise FileUnreadable(uri, "it is empty", remedy="deliver a file with rows, or none")
        raw.seek(0)
        try:
            if magic == b"PARE":
                raise _Sealed
            yield _open(raw)
        except _Sealed:
            remedy = "deliver it without encryption; no key is ever read here"
            raise FileUnreadable(
                uri, "it, or a column of it, is encrypted", remedy=remedy
            ) from None
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            raise FileUnreadable(uri, "it is no Parquet file, or is damaged or cut off") from None


def _open(raw: Any) -> ParquetTable:
    metadata = pq.read_metadata(raw)
    options = {"metadata": metadata, "pre_buffer": False, "page_checksum_verification": True}
    leaves, is_sealed = _open_leaves(raw, metadata)
    texts = _dictionary_columns(metadata, leaves)
    file = pq.ParquetFile(raw, read_dictionary=texts, coerce_int96_timestamp_unit="us", **options)
    seconds = None
    if _int96_columns(file):
        seconds = pq.ParquetFile(raw, coerce_int96_timestamp_unit="s", **options)
    return ParquetTable(file, seconds, leaves, is_sealed)


def _open_leaves(raw: Any, metadata: Any) -> tuple[dict[int, str], bool]:
    """The columns whose metadata can be read, by place, and whether the others are encrypted.

    Arrow ends the process where their metadata are asked for. A batch of no rows opens a column
    and decodes nothing, and what is wrong with it is an error then.
    """
    reader = pq.ParquetFile(raw, metadata=metadata, pre_buffer=False, buffer_size=4096).reader
    paths = {index: metadata.schema.column(index).path for index in range(metadata.num_columns)}
    faults: set[str] = set()

    def is_open(places: list[int]) -> bool:
        try:
            for group in range(metadata.num_row_groups):
                list(reader.iter_batches(0, [group], column_indices=places, use_threads=False))
        except (pa.ArrowException, OSError) as error:
            faults.add("decrypt" if "decrypt" in str(error) else "damaged")
            return False
        return True

    if is_open([*paths]):
        return paths, False
    leaves = {index: path for index, path in paths.items() if is_open([index])}
    return leaves, faults == {"decrypt"}


def _read(
    file: pq.ParquetFile, group: int, places: Sequence[int], *, rows: int
) -> Iterator[pa.RecordBatch]:
    # By place: two columns may have one path, where a name holds a dot
    return file.reader.iter_batches(  # type: ignore[no-any-return]
        rows, [group], column_indices=list(places), use_threads=False
    )


def _dictionary_columns(metadata: Any, leaves: Mapping[int, str]) -> list[str]:
    """Columns of text of which equal cells are stored once somewhere: so they are read, too."""
    return sorted(
        {
            path
            for group in range(metadata.num_row_groups)
            for path, chunk in _chunks(metadata, group, leaves)
            if chunk.physical_type == "BYTE_ARRAY"
            and any(encoding.endswith("DICTIONARY") for encoding in chunk.encodings)
        }
    )


def _int96_columns(file: pq.ParquetFile) -> set[str]:
    columns = (file.schema.column(index) for index in range(len(file.schema)))
    return {column.path for column in columns if column.physical_type == "INT96"}


def _legacy_moments(file: pq.ParquetFile, places: Sequence[int]) -> dict[int, str]:
    """Those of the leaves that are columns of INT96, by place."""
    stored, names = _int96_columns(file), leaf_names(file.schema_arrow)
    return {p: names[p][0] for p in places if len(names[p]) == 1 and names[p][0] in stored}


def _chunks(metadata: Any, group: int, leaves: Mapping[int, str]) -> Iterator[tuple[str, Any]]:
    about = metadata.row_group(group)
    return ((path, about.column(index)) for index, path in leaves.items())


def _rows_at_once(group: Any, chunks: Sequence[Any], *, batch_rows: int) -> int:
    """How many rows may be decoded at once: fewer where a row may be large.

    A column of plain texts takes as much as it says. Where a text is stored by what it adds to the
    one before, each may be as large as all that is stored.
    """
    row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
    rows: int = min(batch_rows, max(1, BATCH_BYTES // row_bytes))
    for chunk in chunks:
        if chunk.num_values > _MANY_VALUES:  # lists that a few bytes may stand for
            rows = min(rows, _CAUTIOUS_ROWS)
        if chunk.physical_type != "BYTE_ARRAY":
            continue
        size = max(1, chunk.total_uncompressed_size)
        if "DELTA_BYTE_ARRAY" in chunk.encodings:
            rows = min(rows, max(1, BATCH_BYTES // size))
        elif size > _LARGE:
            rows = min(rows, _CAUTIOUS_ROWS)
    return rows


def _cut(piece: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A record batch in parts that decode to no more than a batch may hold, or one row."""
    sizes = sum((nested_bytes(column) for column in piece.columns), np.zeros(len(piece), np.int64))
    ends = np.cumsum(sizes)
    start = 0
    while start < len(piece):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        yield piece.slice(start, end - start)
        start = end


def _without_wrapped(
    piece: pa.RecordBatch, in_seconds: pa.RecordBatch, names: Sequence[str]
) -> pa.RecordBatch:
    """Moments that overflow as microseconds, and so would come out as others, as none at all."""
    for name in names:
        at = piece.schema.get_field_index(name)
        column = piece.column(at)
        seconds = pc.fill_null(in_seconds.column(name).cast(pa.int64()), 0).to_numpy()
        is_inside = pa.array(in_calendar(seconds, per_second=1))
        kept = pc.if_else(is_inside, column.cast(pa.int64()), _NO_MOMENT)
        piece = piece.set_column(at, piece.schema.field(at), kept.cast(column.type))
    return piece
