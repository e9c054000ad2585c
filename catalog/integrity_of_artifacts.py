"""Integrity of artifacts: whether every stored folder is what its rows say, by hashing it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from catalog.errors import RecordConflict, RecordNotFound
from catalog.integrity import NAMED, Finding, at_of
from catalog.stores.artifacts import Artifacts
from catalog.stores.lake import Lake
from rpe_core.errors import InputError

WEIGHTS = "adapter_model.safetensors"
_FOLDERS = """
SELECT artifact_sha256, list(record_id ORDER BY record_id) AS names,
    min(recorded_at) AS recorded_at, min(weights_sha256) AS weights_sha256
FROM (
    SELECT artifact_sha256, adapter_id AS record_id, recorded_at, weights_sha256
    FROM core.adapters WHERE retracted_at IS NULL
    UNION ALL
    SELECT artifact_sha256, ensemble_id, recorded_at, weights_sha256
    FROM core.ensembles WHERE retracted_at IS NULL
)
GROUP BY artifact_sha256 ORDER BY artifact_sha256
"""


@dataclass(frozen=True)
class Hashed:
    """How many folders of how many bytes were hashed, and which are not what was kept."""

    n_folders: int
    n_bytes: int
    findings: tuple[Finding, ...]


def measure_artifacts(lake: Lake, artifacts: Artifacts) -> Hashed:
    """How much there is to hash; nothing is read but sizes."""
    rows = lake.rows(_FOLDERS)
    sizes = [artifacts.n_bytes(row["artifact_sha256"]) for row in rows]
    return Hashed(len(rows), sum(sizes), ())


def hash_artifacts(lake: Lake, artifacts: Artifacts) -> Hashed:
    """Hash the folder of every standing adapter and ensemble once more."""
    rows, findings, n_bytes = lake.rows(_FOLDERS), [], 0
    for row in rows:
        n_bytes += artifacts.n_bytes(row["artifact_sha256"])
        try:
            artifacts.verify(row["artifact_sha256"])
        except RecordNotFound:
            findings.append(_finding(row, "its folder is gone"))
        except (RecordConflict, InputError):  # a changed byte, or a link where a file was
            findings.append(_finding(row, _what(artifacts, row)))
    return Hashed(len(rows), n_bytes, tuple(findings))


def _finding(row: dict[str, Any], what: str) -> Finding:
    more = len(row["names"]) - NAMED
    names = ", ".join(row["names"][:NAMED]) + (f" and {more} more" if more > 0 else "")
    where = f"artifact {row['artifact_sha256'][:12]} of {names}"
    return Finding(where, what, f"whole when kept at {at_of(row)}")


def _what(artifacts: Artifacts, row: dict[str, Any]) -> str:
    """The weights, if they are not those on record, else another file; and when it was written."""
    with artifacts.as_stored(row["artifact_sha256"]) as folder:
        weights = folder / WEIGHTS
        if weights.is_file() and artifacts.hash_file(weights) == row["weights_sha256"]:
            return "a file beside the weights is not what was kept, or one more is there"
        if not weights.is_file():
            return f"{WEIGHTS} is gone"
        written = datetime.fromtimestamp(weights.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return f"{WEIGHTS} is not what was kept, last written at {written}"
