"""Damage of artifacts: whether every stored folder is what its rows say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from catalog.errors import RecordConflict, RecordNotFound, StoreError
from catalog.integrity.damage import CHANGED, GONE, REPAIR, RETRAIN, UNREADABLE, Damage, first_names
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.lake import Lake
from catalog.stores.places import PlacedFile, sha256_of
from rpe_core.errors import InputError
from rpe_core.fingerprint import fingerprint

WEIGHTS = "adapter_model.safetensors"
_LONGEST_HEADER = 100_000_000  # bytes, as of the format
_FOLDERS = """
SELECT artifact_sha256, list(record_id ORDER BY record_id) AS names,
    bool_and(is_merged) AS is_merged, min(weights_sha256) AS weights_sha256,
    list(DISTINCT name ORDER BY name) AS owners
FROM (
    SELECT artifact_sha256, adapter_id AS record_id, weights_sha256, false AS is_merged,
        source AS name
    FROM core.adapters WHERE retracted_at IS NULL
    UNION ALL
    SELECT artifact_sha256, ensemble_id, weights_sha256, true, target_name
    FROM core.ensembles WHERE retracted_at IS NULL
)
GROUP BY artifact_sha256 ORDER BY artifact_sha256
"""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """How many folders of how many bytes the rows name."""

    n_folders: int
    n_bytes: int


def measure_artifacts(lake: Lake, artifacts: Artifacts | None) -> Measured:
    """How much there is to hash; nothing is read but sizes."""
    rows = lake.rows(_FOLDERS)
    sizes = [artifacts.n_bytes(row["artifact_sha256"]) for row in rows] if artifacts else []
    return Measured(len(rows), sum(sizes))


def damage_of_artifacts(lake: Lake, artifacts: Artifacts | None, *, is_deep: bool) -> list[Damage]:
    """Folders of standing adapters and ensembles that are gone, or not what was kept.

    Of the weights the length alone is looked at, unless `is_deep`; every other file is hashed. None
    is a store that is gone.
    """
    there = set(artifacts.list()) if artifacts else set()
    looked = (
        (
            row,
            _what(artifacts, row, is_deep=is_deep)
            if artifacts and row["artifact_sha256"] in there
            else GONE,
        )
        for row in lake.rows(_FOLDERS)
    )
    return [_damage(row, what) for row, what in looked if what]


def _what(artifacts: Artifacts, row: Row, *, is_deep: bool) -> str:
    """What is wrong with a folder that is there, or nothing."""
    sha256 = row["artifact_sha256"]
    try:
        if not is_deep and _looks_whole(artifacts.files(sha256), row):
            return ""
        artifacts.verify(sha256)
    except RecordNotFound:
        return GONE
    except (RecordConflict, InputError):  # a changed byte, or a link where a file was
        return _which(artifacts, row)
    except StoreError:
        return UNREADABLE
    return ""


def _looks_whole(files: Iterable[PlacedFile], row: Row) -> bool:
    """Whether the folder has its hash if the weights have theirs, and these are not cut."""
    hashes, is_whole = dict[str, str](), False
    for file in files:
        if file.name == WEIGHTS:
            is_whole = file.n_bytes == _length_of(file)
            hashes[file.name] = row["weights_sha256"]
        else:
            hashes[file.name] = sha256_of(file)
    return is_whole and bool(fingerprint(hashes) == row["artifact_sha256"])


def _length_of(file: PlacedFile) -> int:
    """How long a file of safetensors is by its own header; -1 where that is none."""
    with file.opened() as stream:
        n_header = int.from_bytes(stream.read(8), "little")
        if n_header > min(file.n_bytes, _LONGEST_HEADER):
            return -1
        try:
            header = json.loads(stream.read(n_header))
            ends = [
                tensor["data_offsets"][1] for name, tensor in header.items() if name[:2] != "__"
            ]
            return 8 + n_header + int(max(ends, default=0))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return -1


def _damage(row: Row, what: str) -> Damage:
    owners = ", ".join(row["owners"])
    if row["is_merged"]:
        cost = f"Target {owners} cannot be served again or compared by it"
    else:
        cost = f"No ensemble can be made of the adapter of {owners}"
    where = f"Artifact {row['artifact_sha256'][:12]} of {first_names(row['names'])}"
    remedy = REPAIR if row["is_merged"] else RETRAIN
    return Damage("artifacts", where, what, tuple(row["names"]), cost, remedy)


def _which(artifacts: Artifacts, row: Row) -> str:
    """The weights, if they are not those on record, else another file; and when it was written."""
    with artifacts.as_stored(row["artifact_sha256"]) as folder:
        weights = folder / WEIGHTS
        if weights.is_file() and artifacts.hash_file(weights) == row["weights_sha256"]:
            return f"{CHANGED}: a file beside the weights was changed, or one more is there"
        if not weights.is_file():
            return f"{CHANGED}: {WEIGHTS} is gone"
        written = datetime.fromtimestamp(weights.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return f"{CHANGED}: {WEIGHTS} was changed, last written at {written}"
