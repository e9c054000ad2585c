"""Settings to Stores: the only file that joins the parts."""

from __future__ import annotations

from datetime import UTC, datetime

from catalog.stores.artifacts import Artifacts
from catalog.stores.bundle import Stores
from catalog.stores.lake import Lake
from catalog.stores.registry import Registry
from catalog.stores.vectors import Vectors
from flows.naming import name_of
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
        workspace=name_of(settings, is_made=not read_only),
    )


def open_vectors(settings: Settings) -> Vectors:
    """LoRA-VecDB of the workspace."""
    return Vectors.open(
        settings.vectors, lock_path=settings.writer_lock, parts=settings.vector_parts
    )


def open_registry(settings: Settings) -> Registry:
    """The MLflow registry of the workspace."""
    return Registry.open(
        tracking_uri=settings.tracking,
        artifacts_uri=settings.model_artifacts,
        lock_path=settings.writer_lock,
    )


def open_artifacts(settings: Settings) -> Artifacts:
    """The adapter folders of the workspace."""
    return Artifacts.open(settings.artifacts, cache=settings.artifact_cache)


def open_stores(settings: Settings, *, read_only: bool = False) -> Stores:
    """All four stores, open for writing; the lake's tables are brought up to date.

    With `read_only` the lake refuses to be written to.
    """
    lake = open_lake(settings, read_only=read_only)
    if not read_only:
        lake.migrate()
    return Stores(
        lake=lake,
        vectors=open_vectors(settings),
        registry=open_registry(settings),
        artifacts=open_artifacts(settings),
    )


def load_drivers(settings: Settings) -> None:
    """Open the stores whose drivers take seconds to import, while something else is waited for."""
    open_vectors(settings)
    open_registry(settings)
