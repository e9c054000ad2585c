"""Filed versions: those from before files were put on record come on record, if they are sound."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from catalog.errors import RecordNotFound, StoreError
from catalog.integrity.version_files import Hashes, faults_of, versions_on_record
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.chain import head_of, record_amendment
from catalog.stores.registry.model_versions import ModelVersion, ModelVersionRef, ref_of
from catalog.stores.registry.sums import SUMS, Sums, seal, strangers, sums_of, sums_text
from catalog.stores.served_model import served_sha256
from catalog.stores.stores import Stores
from catalog.tables.model_tables import MODEL_VERSIONS
from rpe_core.records import RunRef

Row = dict[str, Any]
FILED = "files of a version put on record"


def file_versions(stores: Stores, *, run: RunRef) -> list[ModelVersionRef]:
    """Put the files of versions on record that are not yet: as they lie there, if they are sound.

    Sound is one whose weights and configuration, or whose base, are what the record says. The files
    beside them are taken as they are: nothing tells of them from before. Rows that are sealed are
    amended, which is on record too.
    """
    rows = [row for row in versions_on_record(stores.lake) if row["sums_sha256"] is None]
    sums: dict[ModelVersionRef, Sums] = {}
    for row in rows:
        try:
            version = stores.registry.version(ref_of(row))
        except RecordNotFound:
            continue  # damage of the registry: doctor tells of it
        hashes = Hashes()
        is_whole = not faults_of(stores.registry, version, row, hashes=hashes)
        if is_whole and _is_as_recorded(stores, version, row, hashes):
            sums[version.ref] = _write_sums(stores, version, hashes)
    if sums:
        _put_on_record(stores, sums, run=run)
    return list(sums)


def _put_on_record(stores: Stores, sums: dict[ModelVersionRef, Sums], *, run: RunRef) -> None:
    with (
        stores.lake.transaction(message="file versions", run=run) as commit,
        record_amendment(commit, reason=FILED, tables=[MODEL_VERSIONS]),
    ):
        for ref, recorded in sums.items():
            commit.execute(
                "UPDATE core.model_versions SET sums_sha256 = ?, n_files = ?, n_bytes = ?"
                " WHERE model_name = ? AND model_version = ?",
                [recorded.sums_sha256, recorded.n_files, recorded.n_bytes, ref.name, ref.version],
            )


def _is_as_recorded(stores: Stores, version: ModelVersion, row: Row, hashes: Hashes) -> bool:
    """Whether a version answers by what its row says."""
    try:
        if row["kind"] == "base":
            return bool(_base_sha256(stores, version, hashes) == row["base_sha256"])
        if row["served_sha256"] is None:
            return True  # its weights are those on record, and nothing tells more
        task, config = (
            json.loads(stores.registry.read(version.ref, f"artifacts/{file}"))
            for file in ("task.json", "adapter/adapter_config.json")
        )
    except (StoreError, ValueError, KeyError):
        return False
    sha256 = served_sha256(row["weights_sha256"], config, row["base_sha256"], task)
    return bool(sha256 == row["served_sha256"])


def _base_sha256(stores: Stores, version: ModelVersion, hashes: Hashes) -> str:
    """The hash over the files of a base; of one on the hub as it was registered."""
    base = json.loads(stores.registry.read(version.ref, "base.json"))
    if base["is_hub"]:
        return str(base["sha256"])
    files = stores.registry.files(version)
    names = {name: hashes.of(name, files[f"model/{name}"]) for name in base["files"]}
    return Artifacts.hash_of(names)


def _write_sums(stores: Stores, version: ModelVersion, hashes: Hashes) -> Sums:
    """Write SHA256SUMS and its head among the files of a version as they lie there."""
    files, head = stores.registry.files(version), head_of(stores.lake)
    names = strangers(files, [])
    text = sums_text({name: hashes.of(name, files[name]) for name in names})
    sums = sums_of(text.encode(), {name: files[name].n_bytes for name in names})
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / SUMS).write_text(text, encoding="utf-8")
        stores.registry.put_files(version, folder, seal(folder, head))
    return sums
