"""Damage of the lake: Parquet files that its catalog names and that are gone or changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.errors import StoreError
from catalog.integrity.damage import BACKUP, GONE, UNREADABLE, Damage, difference
from catalog.stores.lake.files import (
    LakeFile,
    files_there,
    kept_hashes,
    named_files,
    scheduled_files,
)
from catalog.stores.lake.lake import Lake
from catalog.stores.places import PlacedFile

EXTRA = "is a file that no write of the lake made"
_OURS = re.compile(r"ducklake-[0-9a-f-]{36}(-delete)?\.parquet")
_MADE = """
SELECT DISTINCT e.target_name
FROM core.ensembles AS e
LEFT JOIN core.ensemble_members AS m USING (ensemble_id)
LEFT JOIN core.adapters AS a ON a.adapter_id = m.adapter_id
LEFT JOIN core.dataset_versions AS d ON d.dataset_version_id = e.dataset_version_id
WHERE e.retracted_at IS NULL AND (a.source = ? OR d.source = ?)
ORDER BY e.target_name
"""
_VERSIONS = """
SELECT dataset_version_id FROM core.dataset_versions
WHERE source = ? AND superseded_at IS NULL AND retracted_at IS NULL ORDER BY ALL
"""


@dataclass(frozen=True)
class LakeFiles:
    """How many files the catalog names, and how many lie there that it does not name."""

    n_files: int
    n_bytes: int
    n_unhashed: int  # whose hash no close and no commit has kept yet
    extra: tuple[str, ...]  # left by a killed write or a merge, or put there


def measure_files(lake: Lake) -> LakeFiles:
    """What there is to hash; nothing is read but names and sizes."""
    named, kept = named_files(lake), kept_hashes(lake)
    known = {file.path for file in named} | scheduled_files(lake)
    return LakeFiles(
        len(named),
        sum(file.n_bytes for file in named),
        sum(file.name not in kept for file in named),
        tuple(file.name for file in files_there(lake.data_uri) if file.name not in known),
    )


def damage_of_lake(lake: Lake, *, is_deep: bool) -> list[Damage]:
    """Files of raw, quarantine and core that are gone, of another size or, by hash, another.

    Raises:
        StoreError: the catalog cannot be read.
    """
    there = {file.name: file for file in files_there(lake.data_uri)}
    kept = kept_hashes(lake) if is_deep else {}
    odd = [
        (file, what)
        for file in named_files(lake)
        if (what := _what(file, there.get(file.path), kept.get(file.name)))
    ]
    costs = _costs(lake, (file for file, _ in odd))
    strange = [name for name in there if not _OURS.fullmatch(name.rpartition("/")[2])]
    return [_damage(file, what, costs) for file, what in odd] + [
        Damage("lake", name, EXTRA, (), "Nothing reads it", "Remove it") for name in strange
    ]


def _what(file: LakeFile, lying: PlacedFile | None, sha256: str | None) -> str:
    """What is wrong with a file, or nothing; without a hash it is held against its size alone."""
    if lying is None:
        return GONE
    try:
        return difference(lying, file.n_bytes, sha256)
    except StoreError:
        return UNREADABLE


def _damage(file: LakeFile, what: str, costs: Mapping[str, tuple[str, Sequence[str]]]) -> Damage:
    where = f"{file.schema}/{file.table}/{file.name}"
    if not file.is_current:
        cost = "Every row that stands can be read; a look back at an older snapshot cannot"
        return Damage("lake", where, what, (), cost, BACKUP)
    cost, ids = costs.get(file.table, ("", ())) if file.schema != "core" else ("", ())
    loss = {
        "core": f"Records of core.{file.table} cannot be read",
        "quarantine": f"Rows of source {file.table} that were set aside cannot be read",
    }.get(file.schema, f"Rows of source {file.table} cannot be read{cost}")
    return Damage("lake", where, what, tuple(ids), loss, BACKUP)


def _costs(lake: Lake, files: Iterable[LakeFile]) -> dict[str, tuple[str, Sequence[str]]]:
    """Source -> which targets are made of it, and ids of its standing dataset version."""
    sources = sorted({file.table for file in files if file.schema == "raw" and file.is_current})
    costs: dict[str, tuple[str, Sequence[str]]] = {}
    for source in sources:
        targets = [row["target_name"] for row in _tried(lake, _MADE, [source, source])]
        ids = [row["dataset_version_id"] for row in _tried(lake, _VERSIONS, [source])]
        made = f", which {', '.join(targets)} is made of" if targets else ""
        costs[source] = (f"{made}: what was made of it goes on, nothing new can be made", ids)
    return costs


def _tried(lake: Lake, sql: str, parameters: Sequence[object]) -> list[dict[str, Any]]:
    """Rows of a statement; none where the records are damaged too."""
    try:
        return lake.rows(sql, parameters)
    except StoreError:
        return []
