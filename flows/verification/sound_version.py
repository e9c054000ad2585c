"""Sound: whether a version is what was put on record, asked before a byte of it is used."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from catalog.errors import RecordConflict, RecordNotFound, StoreError
from catalog.integrity.registry import version_faults_text
from catalog.integrity.version_files import (
    FileFault,
    Hashes,
    base_of,
    faults_of,
    versions_on_record,
)
from catalog.queries.nights import has_run_of
from catalog.records.champions import CHAMPION, NEW_LAKE, aliases_apart
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.model_versions import ModelVersionRef
from catalog.stores.registry.registry import Registry
from catalog.stores.registry.sums import SUMS_TAG
from flows.verification.champions import REPAIR, cache_file
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, open_registry

Row = dict[str, Any]


def sound_champion(settings: Settings, target: str) -> str | None:
    """What MLflow loads of the version that serves a target, once it was found sound; None of none.

    Sound are its files and those of its base. A folder on this machine is named by its place, so
    that what is loaded is what was looked at.

    Raises:
        RecordConflict: a file is not what was kept, or the alias is not what was decided.
    """
    registry = open_registry(settings, read_only=True)
    version = registry.aliases(target).get(CHAMPION)
    with open_lake(settings, read_only=True) as lake, as_far_as_told(lake):
        _require_decided(lake, registry, target)
        if version is None:
            return None
        ref = ModelVersionRef(target, version)
        require_version(lake, registry, ref, hashes=Hashes.read(cache_file(settings)))
    folder = registry.folder(registry.version(ref))
    return str(folder) if folder else ref.uri


def require_version(
    lake: Lake, registry: Registry, ref: ModelVersionRef, *, hashes: Hashes
) -> None:
    """Raise RecordConflict unless every file of a version and of its base is what was kept."""
    rows = versions_on_record(lake, [ref]) or _of_the_lake_before(lake, registry, ref)
    if not rows:
        raise RecordConflict(
            "No run of this workspace registered the version: nothing of it was loaded.",
            where=ref.uri,
            expected="a version of core.model_versions",
            remedy="take it out of the registry; `rpe doctor` tells what the aliases should be",
        )
    wanted = [(ref, rows[0])]
    if rows[0]["base_name"] and base_of(rows[0]) != ref:
        wanted += [(base_of(r), r) for r in versions_on_record(lake, [base_of(rows[0])])]
    for version, row in wanted:
        try:
            faults = faults_of(registry, registry.version(version), row, hashes=hashes)
        except RecordNotFound:
            faults = [FileFault("", "is gone, like its entry in the registry")]
        if faults:
            raise RecordConflict(
                f"{'The version' if version == ref else 'The base of the version'}"
                f" {version_faults_text(faults)}:"
                " nothing of it was loaded.",
                where=version.uri,
                expected="what core.model_versions says of its files",
                remedy=f"no answer of it could be trusted; {REPAIR}",
            )


@contextmanager
def as_far_as_told(lake: Lake) -> Iterator[None]:
    """Look by what the tables of an earlier release tell too; where they lack something, say so.

    Raises:
        StoreError: they are too old to be asked.
    """
    try:
        yield
    except RecordConflict:
        raise
    except StoreError:
        lake.require_current()
        raise


@contextmanager
def no_kept_bytecode() -> Iterator[None]:
    """Run the model.py that was verified, and no byte code that lies beside it under its name."""
    before = sys.pycache_prefix
    with tempfile.TemporaryDirectory() as scratch:
        sys.pycache_prefix = scratch
        try:
            yield
        finally:
            sys.pycache_prefix = before


def _of_the_lake_before(lake: Lake, registry: Registry, ref: ModelVersionRef) -> list[Row]:
    """What a version says of its own files, where a lake that was lost on purpose had it on record.

    Its base is held against its hash by the version itself, when it is loaded.
    """
    if not has_run_of(lake, NEW_LAKE):
        return []
    try:
        sums = registry.version(ref).tags.get(SUMS_TAG)
    except RecordNotFound:
        return []
    return [{"sums_sha256": sums, "base_name": None}] if sums else []


def _require_decided(lake: Lake, registry: Registry, target: str) -> None:
    """Raise RecordConflict where the champion's alias is not what core.promotions says."""
    for name, alias, wanted, current in aliases_apart(lake, registry, [target]):
        if name == target and alias == CHAMPION:
            raise RecordConflict(
                f"The alias points to {f'version {current}' if current else 'nothing'}, and"
                f" {f'version {wanted}' if wanted else 'none'} was decided to serve.",
                where=f"models:/{target}@{CHAMPION}",
                expected="what core.promotions says",
                remedy="`rpe nightly` and `rpe maintain` set the aliases right",
            )
