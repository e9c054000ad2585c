"""Damage of the lake: Parquet files that its catalog names and that are gone or changed."""

from __future__ import annotations

from catalog.damaged import BACKUP, CHANGED, GONE, Damage
from catalog.stores.lake import Lake
from catalog.stores.lake_files import LakeFile, files_there, named_files


def measure_files(lake: Lake) -> tuple[int, int]:
    """How many files the catalog names, and their bytes."""
    files = named_files(lake)
    return len(files), sum(file.n_bytes for file in files)


def damage_of_lake(lake: Lake, *, is_deep: bool) -> list[Damage]:
    """Files of raw, quarantine and core that are gone, of another size, or of another content."""
    there = {file.name: file for file in files_there(lake.data_uri)}
    found = []
    for file in named_files(lake):
        lying = there.get(file.path)
        if lying is None:
            found.append(_damage(file, GONE))
        elif lying.n_bytes != file.n_bytes:
            told = f"{lying.n_bytes:,} bytes, kept were {file.n_bytes:,}"
            found.append(_damage(file, f"{CHANGED}: {told}"))
    return found


def _damage(file: LakeFile, what: str) -> Damage:
    where = f"{file.schema}/{file.table}/{file.name}"
    if not file.is_current:
        cost = "No standing row is in it, only snapshots of the past are"
    elif file.schema == "core":
        cost = f"Records of core.{file.table} cannot be read"
    elif file.schema == "quarantine":
        cost = f"Rows of source {file.table} that were set aside cannot be read"
    else:
        cost = f"Rows of source {file.table} cannot be read: nothing new is made of it"
    return Damage("lake", where, what, (), cost, BACKUP)
