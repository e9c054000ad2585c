"""A Parquet file of ours in portions that fit in memory as they are written to the lake.

The lake's writer holds a row group of 122,880 rows, which of long texts are gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PORTION_BYTES = 64 << 20


def is_large(path: Path) -> bool:
    """Whether the file is more than two portions."""
    return _size(pq.read_metadata(path)) > 2 * PORTION_BYTES


def portions(path: Path) -> Iterator[pa.Table]:
    """The rows of the file in their order, in tables of about one portion each."""
    with pq.ParquetFile(path) as file:
        row_bytes = max(1, _size(file.metadata) // max(1, file.metadata.num_rows))
        rows = max(1, PORTION_BYTES // row_bytes)
        for batch in file.iter_batches(batch_size=rows, use_threads=False):
            yield pa.Table.from_batches([batch])


def _size(metadata: pq.FileMetaData) -> int:
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    return sum(group.total_byte_size for group in groups)
