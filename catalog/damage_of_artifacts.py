"""Damage of artifacts: whether every stored folder is what its rows say, by hashing it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from catalog.damaged import BACKUP, CHANGED, GONE, REPAIR, Damage
from catalog.errors import RecordConflict, RecordNotFound
from catalog.stores.artifacts import Artifacts
from catalog.stores.lake import Lake
from rpe_core.errors import InputError

WEIGHTS = "adapter_model.safetensors"
NAMED = 3  # records that a damage names; of more it says how many
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


@dataclass(frozen=True)
class Measured:
    """How many folders of how many bytes the rows name."""

    n_folders: int
    n_bytes: int


def measure_artifacts(lake: Lake, artifacts: Artifacts) -> Measured:
    """How much there is to hash; nothing is read but sizes."""
    rows = lake.rows(_FOLDERS)
    return Measured(len(rows), sum(artifacts.n_bytes(row["artifact_sha256"]) for row in rows))


def damage_of_artifacts(lake: Lake, artifacts: Artifacts, *, is_deep: bool) -> list[Damage]:
    """Folders of standing adapters and ensembles that are gone, or not what was kept."""
    found, there = [], set(artifacts.list())
    for row in lake.rows(_FOLDERS):
        if row["artifact_sha256"] not in there:
            found.append(_damage(row, GONE))
        elif is_deep:
            try:
                artifacts.verify(row["artifact_sha256"])
            except RecordNotFound:
                found.append(_damage(row, GONE))
            except (RecordConflict, InputError):  # a changed byte, or a link where a file was
                found.append(_damage(row, _what(artifacts, row)))
    return found


def _damage(row: dict[str, Any], what: str) -> Damage:
    more = len(row["names"]) - NAMED
    names = ", ".join(row["names"][:NAMED]) + (f" and {more} more" if more > 0 else "")
    owners = ", ".join(row["owners"])
    if row["is_merged"]:
        cost = f"Target {owners} cannot be served or compared by it"
    else:
        cost = f"No ensemble can be made of the adapter of {owners}"
    return Damage(
        "artifacts",
        f"Artifact {row['artifact_sha256'][:12]} of {names}",
        what,
        tuple(row["names"]),
        cost,
        REPAIR if row["is_merged"] else BACKUP,
    )


def _what(artifacts: Artifacts, row: dict[str, Any]) -> str:
    """The weights, if they are not those on record, else another file; and when it was written."""
    with artifacts.as_stored(row["artifact_sha256"]) as folder:
        weights = folder / WEIGHTS
        if weights.is_file() and artifacts.hash_file(weights) == row["weights_sha256"]:
            return f"{CHANGED}: a file beside the weights was changed, or one more is there"
        if not weights.is_file():
            return f"{CHANGED}: {WEIGHTS} is gone"
        written = datetime.fromtimestamp(weights.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return f"{CHANGED}: {WEIGHTS} was changed, last written at {written}"
