"""Files of the lake: which Parquet files its catalog names, and which of them lie there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import StoreError
from catalog.stores.disk import disk_errors
from catalog.stores.lake.session import ALIAS
from catalog.stores.places import PlacedFile, files_below, files_named, sha256_of
from catalog.stores.rows import Rows, named_in

FILES = "files"  # in the note of a commit: name -> sha256 of what it wrote
_METADATA = f"__ducklake_metadata_{ALIAS}"
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


def scheduled_files(lake: Rows) -> set[str]:
    """Paths of files that a merge replaced and that go when nobody reads them any more."""
    rows = lake.rows(f"SELECT path FROM {_METADATA}.ducklake_files_scheduled_for_deletion")
    return {str(row["path"]) for row in rows}


def files_there(data_uri: str) -> Iterator[PlacedFile]:
    """Every file that lies below the lake's data, by the same paths."""
    return files_below(data_uri)


def hash_files(paths: Iterable[str], *, known: Mapping[str, str]) -> dict[str, str]:
    """Name -> sha256 of files on this machine, those left out whose name is known."""
    hashes = {}
    for path in map(Path, paths):
        if path.name not in known:
            with disk_errors("the lake", path), path.open("rb") as file:
                hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def noted_hashes(lake: Rows) -> dict[str, str]:
    """Name -> sha256 as commits noted them when they wrote, of the snapshots that are kept."""
    hashes: dict[str, str] = {}
    rows = lake.rows(
        f"SELECT commit_extra_info AS told FROM {ALIAS}.snapshots()"
        f" WHERE contains(commit_extra_info, '\"{FILES}\"')"
    )
    for row in rows:
        hashes.update(named_in(row["told"], FILES))
    return hashes


def sealed_hashes(lake: Rows) -> dict[str, str]:
    """Name -> sha256 as closes of runs sealed them; none of a lake of an earlier release.

    Names of other stores' files have a path.
    """
    hashes: dict[str, str] = {}
    for row in lake.rows("SELECT * FROM core.runs"):
        sealed = named_in(row.get("files_json"))
        hashes.update({name: sha256 for name, sha256 in sealed.items() if "/" not in name})
    return hashes


def kept_hashes(lake: Rows) -> dict[str, str]:
    """Name -> sha256 of every file on record; what a close sealed counts before a commit's note.

    Where core.runs itself cannot be read, what commits noted has to do.
    """
    try:
        return {**noted_hashes(lake), **sealed_hashes(lake)}
    except StoreError:
        return noted_hashes(lake)


def unsealed_hashes(lake: Rows, data_uri: str) -> dict[str, str]:
    """Name -> sha256 of files that the catalog names and no close sealed: what the next one seals.

    By the note of the commit that wrote it; a file without one is read now, if it is as long as
    the catalog says. What is gone or of another length was damaged before: it is not taken in.
    """
    sealed, noted = sealed_hashes(lake), noted_hashes(lake)
    new = {file.path: file for file in named_files(lake) if file.name not in sealed}
    hashes = {file.name: noted[file.name] for file in new.values() if file.name in noted}
    unread = [path for path, file in new.items() if file.name not in noted]
    for lying in files_named(data_uri, unread) if unread else ():
        if lying.n_bytes == new[lying.name].n_bytes:
            hashes[new[lying.name].name] = sha256_of(lying)
    return hashes
