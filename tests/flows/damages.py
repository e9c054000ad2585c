"""Ways to damage a workspace, one for each row of the table of damage and for its kin."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from flows.workspace.settings import Settings
from flows.workspace.stores import open_registry, open_vectors
from tests.flows.conftest import TARGET
from tests.lake_rows import read_rows_of

Damaging = Callable[[Settings], object]
WEIGHTS = "adapter_model.safetensors"
_OF_CHAMPION = (
    "SELECT e.artifact_sha256 AS sha256 FROM core.ensembles AS e"
    " JOIN core.model_versions AS v ON v.record_id = e.ensemble_id"
)
_OF_ADAPTERS = "SELECT artifact_sha256 AS sha256 FROM core.adapters ORDER BY 1"


def flip(path: Path, *, at: int = -1) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def version_folder(settings: Settings, name: str) -> Path:
    """Where the files of the newest version of a registered model lie."""
    asked = "SELECT run_id FROM model_versions WHERE name = ? ORDER BY version DESC"
    with closing(sqlite3.connect(settings.root / "mlflow.db")) as database:
        (run_id,) = database.execute(asked, [name]).fetchone()
    return Path(settings.model_artifacts) / run_id / "artifacts" / "model"


def artifact(settings: Settings, sql: str) -> Path:
    """The first folder of the artifact store that a statement names."""
    return Path(settings.artifacts) / read_rows_of(settings, sql)[0]["sha256"]


def parquet(settings: Settings, schema: str = "raw") -> Path:
    """A file of rows."""
    return min((Path(settings.lake_data) / schema).rglob("*.parquet"))


def lose_catalog(settings: Settings) -> None:
    for file in (settings.root / "lake").glob("catalog.sqlite*"):
        file.unlink()


def empty_catalog(settings: Settings) -> None:
    lose_catalog(settings)
    (settings.root / "lake" / "catalog.sqlite").touch()


def foreign_catalog(settings: Settings) -> None:
    lose_catalog(settings)
    with closing(sqlite3.connect(settings.root / "lake" / "catalog.sqlite")) as database, database:
        database.execute("CREATE TABLE somebody_elses (a INTEGER)")


def _flip_vectors(settings: Settings) -> None:
    for path in Path(settings.vectors).rglob("data/*.lance"):
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
        path.write_bytes(content)


def _flip_padding(settings: Settings) -> None:
    """A bit between the values of a table: no vector is another for it."""
    path = max(Path(settings.vectors).rglob("data/*.lance"), key=lambda one: one.stat().st_size)
    flip(path, at=path.read_bytes().index(b"H" * 16) + 8)  # what Lance fills with


def _flip_manifest(settings: Settings) -> None:
    """The oldest version of a table, which nobody reads."""
    path = max(Path(settings.vectors).rglob("*.manifest"))
    flip(path, at=path.stat().st_size // 2)


def _cut_vectors(settings: Settings) -> None:
    for path in Path(settings.vectors).rglob("data/*.lance"):
        cut(path)


def _lose_a_vector(settings: Settings) -> None:
    vectors = open_vectors(settings)
    vectors.delete([min(vectors.keys())])


def _delete_a_version(settings: Settings) -> None:
    registry = open_registry(settings)
    registry.delete_version(registry.versions(TARGET)[-1].ref)


def _lose_an_adapter_twice(settings: Settings) -> None:
    """Its artifact and the copy in its version: only training can bring it."""
    rows = read_rows_of(settings, "SELECT artifact_sha256, source FROM core.adapters ORDER BY 1")
    shutil.rmtree(Path(settings.artifacts) / rows[0]["artifact_sha256"])
    shutil.rmtree(version_folder(settings, f"rpe-adapter-{rows[0]['source']}"))


MENDED: dict[str, Damaging] = {
    "artifact of an ensemble gone": lambda s: shutil.rmtree(artifact(s, _OF_CHAMPION)),
    "artifact of an ensemble flipped": lambda s: flip(artifact(s, _OF_CHAMPION) / WEIGHTS),
    "artifact of an adapter gone": lambda s: shutil.rmtree(artifact(s, _OF_ADAPTERS)),
    "artifact and version of an adapter gone": _lose_an_adapter_twice,
    "artifact store gone": lambda s: shutil.rmtree(s.artifacts),
    "weights of a version flipped": lambda s: flip(
        version_folder(s, TARGET) / "artifacts" / "adapter" / WEIGHTS
    ),
    "model.py of a version replaced": lambda s: (version_folder(s, TARGET) / "model.py").write_text(
        "import os\n"
    ),
    "a stranger in a version": lambda s: (version_folder(s, TARGET) / "extra.py").touch(),
    "folder of a version gone": lambda s: shutil.rmtree(version_folder(s, TARGET)),
    "folder of a base gone": lambda s: shutil.rmtree(version_folder(s, "rpe-base-pico")),
    "version deleted": _delete_a_version,
    "mlflow.db gone": lambda s: (s.root / "mlflow.db").unlink(),
    "mlflow.db emptied": lambda s: (s.root / "mlflow.db").write_bytes(b""),
    "mlflow.db cut": lambda s: cut(s.root / "mlflow.db"),
    "mlflow.db and its files gone": lambda s: (
        (s.root / "mlflow.db").unlink(),
        shutil.rmtree(s.model_artifacts),
    ),
    "vector store gone": lambda s: shutil.rmtree(s.vectors),
    "vectors flipped": _flip_vectors,
    "vectors cut": _cut_vectors,
    "padding of vectors flipped": _flip_padding,
    "old version of vectors flipped": _flip_manifest,
    "a vector gone": _lose_a_vector,
    "report gone": lambda s: s.report_file.unlink(),
}
LEFT: dict[str, Damaging] = {  # what only a backup brings
    "rows flipped": lambda s: flip(parquet(s), at=parquet(s).stat().st_size // 2),
    "rows cut": lambda s: cut(parquet(s)),
    "rows gone": lambda s: parquet(s).unlink(),
    "records gone": lambda s: parquet(s, "core/scores").unlink(),
}
LOST: dict[str, Damaging] = {  # the lake cannot tell what is to be mended
    "catalog gone": lose_catalog,
    "catalog emptied": empty_catalog,
    "catalog of somebody else": foreign_catalog,
    "lake gone": lambda s: shutil.rmtree(s.root / "lake"),
}
