"""Remaking: the files of a version once more, from what else is on record, hash for hash."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from catalog.errors import RecordConflict, StoreError
from catalog.filed_versions import put_on_record
from catalog.stores.bundle import Stores
from catalog.stores.registry import ModelVersion, VersionDraft
from catalog.stores.sums import (
    HEAD_TAG,
    SUMS,
    read_sums,
    sha256_of,
    strangers,
    sums_of,
    write_head,
)
from catalog.verifying import STRANGE, Hashes, faults_of, ref_of
from rpe_core.errors import InputError
from rpe_core.records import RunRef

Row = dict[str, Any]
BY_ANOTHER_RELEASE = "files made again by another release: the same model, by its hash"


def remake_files(stores: Stores, row: Row, draft: VersionDraft, *, run: RunRef) -> None:
    """Make the damaged files of a version again, until every one is what was kept.

    A draft whose files are those on record takes the place of all. Where another release would
    write some of them otherwise, those that are damaged are made again if they come out equal; else
    all are written anew, if what the version answers by is the same, and put on record anew.

    Args:
        stores: where the version is.
        row: of `versions_on_record`.
        draft: what the version is made of.
        run: on whose record it is.

    Raises:
        RecordNotFound: the registry has no entry of the version.
        RecordConflict: what can be made is not what was kept.
    """
    version = stores.registry.version(ref_of(row))
    there = stores.registry.files(version)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draft.write(folder)
        made = read_sums((folder / SUMS).read_bytes())
        without = strangers(there, made)
        sums_sha256 = sha256_of(folder / SUMS)
        if sums_sha256 != row["sums_sha256"]:
            kept = _kept(stores, version, row)
            bad = [
                fault.file
                for fault in faults_of(stores.registry, version, row, hashes=Hashes())
                if fault.what != STRANGE
            ]
            without = strangers(there, kept) if kept else without
            if kept and all(name in kept and made.get(name) == kept[name] for name in bad):
                _keep_only(folder, bad)
            else:
                _put_anew(stores, version, row, draft, folder, run=run)
                return
        else:
            write_head(folder, version.tags.get(HEAD_TAG, ""))
        stores.registry.put_files(version, folder, without=without)


def _put_anew(
    stores: Stores,
    version: ModelVersion,
    row: Row,
    draft: VersionDraft,
    folder: Path,
    *,
    run: RunRef,
) -> None:
    """Write all files of this release, and put them on record in the place of the former ones."""
    if not row["served_sha256"] or draft.served_sha256 != row["served_sha256"]:
        raise RecordConflict(
            "The files of the version cannot be made again as they were kept.",
            where=version.ref.uri,
            expected="the task, base and artifact that it was made of",
            remedy="restore them from a backup: see `Restore` in infra/runbook.md",
        )
    write_head(folder, version.tags.get(HEAD_TAG, ""))
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*")}
    sums = sums_of((folder / SUMS).read_bytes(), sizes)
    stores.registry.put_files(
        version, folder, without=strangers(stores.registry.files(version), sizes)
    )
    put_on_record(stores, {version.ref: sums}, reason=BY_ANOTHER_RELEASE, run=run)


def _kept(stores: Stores, version: ModelVersion, row: Row) -> dict[str, str]:
    """Names and hashes of the version's own SHA256SUMS, if that is what was kept."""
    try:
        content = stores.registry.read(version.ref, SUMS)
        is_kept = hashlib.sha256(content).hexdigest() == row["sums_sha256"]
        return read_sums(content) if is_kept else {}
    except (StoreError, InputError):
        return {}


def _keep_only(folder: Path, names: list[str]) -> None:
    """Leave only these files in a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            place = Path(scratch) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / name, place)
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        shutil.copytree(scratch, folder, dirs_exist_ok=True)
