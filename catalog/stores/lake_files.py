"""Files of the lake: which Parquet files its catalog names, and which of them lie there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from catalog.stores.lake_rows import Rows
from catalog.stores.lake_session import ALIAS
from catalog.stores.places import PlacedFile, files_below

_METADATA = f"__ducklake_metadata_{ALIAS}"
_PIECE_BYTES = 1 << 22
_NAMED = f"""
WITH places AS (
    SELECT t.table_id, any_value(s.schema_name) AS schema_name,
        any_value(t.table_name) AS table_name, any_value(s.path || t.path) AS folder
    FROM {_METADATA}.ducklake_table AS t JOIN {_METADATA}.ducklake_schema AS s USING (schema_id)
    GROUP BY t.table_id
)
SELECT folder || f.path AS path, file_size_bytes AS n_bytes, schema_name, table_name,
    end_snapshot IS NULL AS is_current
FROM (
    SELECT table_id, path, file_size_bytes, end_snapshot FROM {_METADATA}.ducklake_data_file
    UNION ALL
    SELECT table_id, path, file_size_bytes, end_snapshot FROM {_METADATA}.ducklake_delete_file
) AS f JOIN places USING (table_id)
ORDER BY path
"""


@dataclass(frozen=True)
class LakeFile:
    """A file that the catalog names, by its path below the lake's data."""

    path: str
    n_bytes: int
    schema: str
    table: str
    is_current: bool  # False of one that only older snapshots read

    @property
    def name(self) -> str:
        """What tells it from every other file, and nothing of whose rows it holds."""
        return self.path.rpartition("/")[2]


def named_files(lake: Rows) -> list[LakeFile]:
    """Data and delete files that the catalog names, those of old snapshots included."""
    return [
        LakeFile(
            str(row["path"]),
            int(row["n_bytes"]),
            str(row["schema_name"]),
            str(row["table_name"]),
            bool(row["is_current"]),
        )
        for row in lake.rows(_NAMED)
    ]


def files_there(data_uri: str) -> Iterator[PlacedFile]:
    """Every file that lies below the lake's data, by the same paths."""
    return files_below(data_uri)


def sha256_of(file: PlacedFile) -> str:
    """sha256 of a file's bytes, read as a stream."""
    digest = hashlib.sha256()
    with file.opened() as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
