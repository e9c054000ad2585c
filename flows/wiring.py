"""Settings to Stores: the only file that joins the parts."""

from __future__ import annotations

from datetime import UTC, datetime

from catalog.stores.artifacts import Artifacts
from catalog.stores.bundle import Stores
from catalog.stores.lake import Lake
from catalog.stores.registry import Registry
from catalog.stores.vectors import Vectors
from flows.settings import Settings


def utc_now() -> datetime:
    """The platform's clock; every other module is handed a time."""
    return datetime.now(UTC)  # noqa: TID251 - the one place where the clock is read


def open_lake(settings: Settings, *, read_only: bool = False) -> Lake:
    """The lake alone, for readers that need nothing else."""
    return Lake.open(
        uri=settings.lake,
        data_uri=settings.lake_data,
        lock_path=settings.writer_lock,
        clock=utc_now,
        read_only=read_only,
    )


def open_vectors(settings: Settings) -> Vectors:
    """LoRA-VecDB of the workspace."""
    return Vectors.open(settings.vectors, lock_path=settings.writer_lock)


def open_registry(settings: Settings) -> Registry:
    """The MLflow registry of the workspace."""
    return Registry.open(
        tracking_uri=settings.tracking,
        artifacts_uri=settings.model_artifacts,
        lock_path=settings.writer_lock,
    )


def open_stores(settings: Settings) -> Stores:
    """All four stores, open for writing; the lake's tables are brought up to date."""
    lake = open_lake(settings)
    lake.migrate()
    return Stores(
        lake=lake,
        vectors=open_vectors(settings),
        registry=open_registry(settings),
        artifacts=Artifacts.open(settings.artifacts),
    )


def load_drivers(settings: Settings) -> None:
    """Open the stores whose drivers take seconds to import, while something else is waited for."""
    open_vectors(settings)
    open_registry(settings)
