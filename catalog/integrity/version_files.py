"""Verifying versions: whether the files of a version are those that were put on record."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.errors import StoreError
from catalog.integrity.damage import CHANGED, GONE, UNREADABLE
from catalog.stores.disk import write_whole
from catalog.stores.lake.lake import Lake
from catalog.stores.places import sha256_of
from catalog.stores.registry.model_versions import ModelVersion, ModelVersionRef
from catalog.stores.registry.registry import Registry
from catalog.stores.registry.sums import HEAD, HEAD_TAG, SUMS, head_text, read_sums, strangers
from catalog.stores.registry.version_files import VersionFile
from rpe_core.errors import InputError
from rpe_core.regular_files import read_regular

Row = dict[str, Any]
WEIGHTS = "artifacts/adapter/adapter_model.safetensors"
STRANGE = f"{CHANGED}: it lies there and was not kept"
_OF_DISK = {errno.EACCES, errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENOENT, errno.ENOTDIR,
            errno.EPERM}  # fmt: skip
_VERSIONS = """
SELECT v.*, coalesce(e.weights_sha256, a.weights_sha256) AS weights_sha256, e.target_name,
    b.model_name AS base_name, b.model_version AS base_version, b.base_id, b.base_sha256,
    e.artifact_sha256
FROM core.model_versions AS v
LEFT JOIN core.ensembles AS e ON v.kind = 'ensemble' AND e.ensemble_id = v.record_id
LEFT JOIN core.adapters AS a ON v.kind = 'adapter' AND a.adapter_id = v.record_id
LEFT JOIN core.bases AS b
    ON b.base_id = CASE v.kind WHEN 'base' THEN v.record_id ELSE coalesce(e.base_id, a.base_id) END
WHERE v.retracted_at IS NULL {condition}
ORDER BY v.kind, v.model_name, v.recorded_at
"""


@dataclass(frozen=True)
class FileFault:
    """A file of a version that is not what was kept; '' is its whole folder."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file or 'its folder'} {self.what}"


@dataclass
class Hashes:
    """Hashes of files, read again only where one was written since; kept in a file of scratch.

    Whatever is wrong with that file, what it held is simply read anew.
    """

    known: dict[str, list[Any]] = field(default_factory=dict)
    used: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Hashes:
        """Those of the last time, as far as they can be read."""
        try:
            known = json.loads(read_regular(path))
        except (OSError, ValueError):
            known = {}
        return cls(known if isinstance(known, dict) else {})

    def of(self, path: str, file: VersionFile) -> str:
        """The sha256 of a file; `place` tells it from any other.

        Raises:
            StoreError: it cannot be read.
        """
        stamp = [list(file.stamp), ""]
        known = self.used.get(path) or self.known.get(path)
        if file.stamp and isinstance(known, list) and len(known) == 2 and known[0] == stamp[0]:
            self.used[path] = known
            return str(known[1])
        stamp[1] = sha256_of(file)
        self.used[path] = stamp
        return str(stamp[1])

    def write(self, path: Path) -> None:
        """Keep those that were asked for, if one is new."""
        if self.used == self.known:
            return
        with write_whole(path) as part:
            part.write_text(json.dumps(self.used), encoding="utf-8")


def versions_on_record(lake: Lake, refs: Collection[ModelVersionRef] | None = None) -> list[Row]:
    """Standing rows of core.model_versions with what their files must agree with: all, or these."""
    names = None if refs is None else [f"{ref.name}/{ref.version}" for ref in refs]
    condition = "" if names is None else "AND list_contains(?, v.model_name||'/'||v.model_version)"
    return lake.rows(_VERSIONS.format(condition=condition), [] if names is None else [names])


def is_filed(row: Row) -> bool:
    """Whether the files of a version are on record: an earlier release put none there."""
    return row.get("sums_sha256") is not None  # nor had its tables a column for it


def base_of(row: Row) -> ModelVersionRef:
    """The version of the base that it needs."""
    return ModelVersionRef(row["base_name"], row["base_version"])


def faults_of(
    registry: Registry, version: ModelVersion, row: Row, *, hashes: Hashes | None
) -> list[FileFault]:
    """What is wrong with the files of a version: by hash, or without `hashes` by name and size.

    Raises:
        StoreUnavailable: a bucket or a server did not answer, which says nothing of the files.
    """
    try:
        files = registry.files(version)
    except StoreError as error:
        _require_cause_on_disk(error)
        return [FileFault("", UNREADABLE)]
    if not files:
        return [FileFault("", GONE)]
    look = _Look(version, files, hashes)
    if not is_filed(row):
        return look.unfiled(row)
    return look.filed(row)


@dataclass
class _Look:
    """One look at the files of a version."""

    version: ModelVersion
    files: Mapping[str, VersionFile]
    hashes: Hashes | None

    def filed(self, row: Row) -> list[FileFault]:
        by_hash = self.hashes or Hashes()
        if fault := self.fault(SUMS, row["sums_sha256"], by_hash):
            return [fault]
        head = head_text(self.version.tags.get(HEAD_TAG, ""), row["sums_sha256"])
        if fault := self.fault(HEAD, hashlib.sha256(head.encode()).hexdigest(), by_hash):
            return [fault]
        try:
            with self.files[SUMS].opened() as stream:
                listed = read_sums(stream.read())
        except InputError:
            return [FileFault(SUMS, UNREADABLE)]
        odd = [FileFault(name, STRANGE) for name in strangers(self.files, listed)]
        gone = [FileFault(name, GONE) for name in listed if name not in self.files]
        there = {name: sha256 for name, sha256 in listed.items() if name in self.files}
        hashes = self.hashes
        if hashes is None and not gone:
            is_whole = sum(self.files[name].n_bytes for name in there) == row["n_bytes"]
            hashes = None if is_whole else Hashes()
        if hashes is None:
            return [*gone, *odd]
        faults = [self.fault(name, sha256, hashes) for name, sha256 in there.items()]
        return [*gone, *(fault for fault in faults if fault), *odd]

    def unfiled(self, row: Row) -> list[FileFault]:
        """Of a version from before files were put on record: what else is known of it."""
        if row["kind"] == "base":
            return [] if "base.json" in self.files else [FileFault("base.json", GONE)]
        if WEIGHTS not in self.files:
            return [FileFault(WEIGHTS, GONE)]
        fault = self.hashes and self.fault(WEIGHTS, row["weights_sha256"], self.hashes)
        return [fault] if fault else []

    def fault(self, name: str, sha256: str, hashes: Hashes) -> FileFault | None:
        """What is wrong with a file by its hash, or nothing."""
        if name not in self.files:
            return FileFault(name, GONE)
        try:
            is_kept = hashes.of(f"{self.version.ref.uri}/{name}", self.files[name]) == sha256
        except StoreError as error:
            _require_cause_on_disk(error)
            return FileFault(name, UNREADABLE)
        return None if is_kept else FileFault(name, CHANGED)


def _require_cause_on_disk(error: StoreError) -> None:
    """Raise the error again unless it is the disk that does not give a file."""
    cause = error.__context__
    if not isinstance(cause, OSError) or cause.errno not in _OF_DISK:
        raise error
