"""Four real stores in one folder, with a clock that moves on by a second whenever it is read."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.connection import connect
from catalog.stores.registry.registry import Registry
from catalog.stores.stores import Stores
from catalog.stores.vectors.vectors import Vectors
from rpe_core.records import RunRef

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = RunRef("run:night@0123456789ab", "night", NOON)


class Clock:
    """A clock for tests: every look is one second later."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@cache
def empty_mlflow() -> bytes:
    """A database with MLflow's tables and no experiment of ours: made once, it takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mlflow.db"
        connect(f"sqlite:///{file}", f"{folder}/mlartifacts")
        return file.read_bytes()


def open_registry(root: Path) -> Registry:
    """A registry at a folder."""
    return Registry.open(
        tracking_uri=f"sqlite:///{root / 'mlflow.db'}",
        artifacts_uri=str(root / "mlartifacts"),
        lock_path=root / "writer.lock",
    )


@contextmanager
def open_stores(root: Path) -> Iterator[Stores]:
    """A workspace's stores, embedded."""
    lock = root / "writer.lock"
    with Lake.open(
        uri=f"ducklake:sqlite:{root}/lake/catalog.sqlite",
        data_uri=f"{root}/lake/data",
        lock_path=lock,
        clock=Clock(),
    ) as lake:
        lake.migrate()
        (root / "mlflow.db").write_bytes(empty_mlflow())
        yield Stores(
            lake=lake,
            vectors=Vectors.open(str(root / "vectors"), lock_path=lock),
            registry=open_registry(root),
            artifacts=Artifacts.open(str(root / "artifacts")),
        )
