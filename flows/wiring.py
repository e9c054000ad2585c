"""Settings to Stores: the only file that joins the parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from catalog.stores.artifacts import Artifacts
from catalog.stores.bundle import Stores
from catalog.stores.lake import Lake
from catalog.stores.lake_catalog import parse_catalog
from catalog.stores.lake_session import connect
from catalog.stores.mlflow_move import followed_copy, has_moved
from catalog.stores.registry import EXPERIMENT, Registry
from catalog.stores.vectors import Vectors
from flows.naming import name_of
from flows.settings import Settings
from rpe_core.errors import RpeError


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


def open_vectors(
    settings: Settings, *, read_only: bool = False, parts: Path | None = None
) -> Vectors:
    """LoRA-VecDB of the workspace; `parts` is another place for what is mapped into memory."""
    return Vectors.open(
        settings.vectors,
        lock_path=settings.writer_lock,
        parts=parts or settings.vector_parts,
        read_only=read_only,
    )


def open_registry(settings: Settings, *, read_only: bool = False) -> Registry:
    """The MLflow registry of the workspace."""
    return Registry.open(
        tracking_uri=settings.tracking,
        artifacts_uri=settings.model_artifacts,
        lock_path=settings.writer_lock,
        read_only=read_only,
    )


@contextmanager
def tracking_to_read(settings: Settings) -> Iterator[str]:
    """A tracking URI by which MLflow finds the files of this workspace, wherever it was moved.

    Of a workspace that this user may only read it is that of a copy, with links to the files.
    """
    where = {"tracking_uri": settings.tracking, "artifacts_uri": settings.model_artifacts}
    if not may_write(settings.root):
        with followed_copy(**where, experiment=EXPERIMENT) as copy:
            yield copy
        return
    if has_moved(**where, experiment=EXPERIMENT):
        open_registry(settings)
    yield settings.tracking


def open_artifacts(settings: Settings, *, read_only: bool = False) -> Artifacts:
    """The adapter folders of the workspace."""
    return Artifacts.open(settings.artifacts, cache=settings.artifact_cache, read_only=read_only)


@contextmanager
def leaving_no_trace(settings: Settings) -> Iterator[None]:
    """Read the lake as often as you like: its folder is left as it was found.

    SQLite's readers make a log beside the catalog, and only who may write takes it away again.
    """
    catalog = parse_catalog(settings.lake)
    log = catalog.path and catalog.path.with_name(f"{catalog.path.name}-wal")
    was_there = not log or log.exists()
    try:
        yield
    finally:
        if not was_there and log.exists() and not log.stat().st_size:
            with suppress(RpeError):  # whoever may only read cannot tidy up, and loses nothing
                connect(catalog, settings.lake_data, is_read_only=False, threads=1).close()


@contextmanager
def open_to_look(settings: Settings, *, keeps_parts: bool = False) -> Iterator[Stores]:
    """All four stores for a look: no byte of the workspace is made or changed.

    With `keeps_parts` what only saves time is kept where it can be: parts of vectors, which a
    question would make anew each time. A workspace that this user may only read is answered from
    a folder of scratch.

    Raises:
        RecordNotFound: a store is not there yet.
        StoreError: an earlier release made the lake.
    """
    with (
        leaving_no_trace(settings),
        TemporaryDirectory() as scratch,
        open_lake(settings, read_only=True) as lake,
    ):
        lake.require_current()
        yield Stores(
            lake=lake,
            vectors=open_vectors(
                settings,
                read_only=True,
                parts=None if keeps_parts and may_write(settings.vector_parts) else Path(scratch),
            ),
            registry=open_registry(settings, read_only=True),
            artifacts=Artifacts.open(
                settings.artifacts,
                cache=settings.artifact_cache
                if may_write(settings.artifact_cache)
                else Path(scratch) / "artifacts",
                read_only=True,
            ),
        )


def may_write(place: Path | None) -> bool:
    """Whether this user may make a file there, or in the nearest folder above that is there."""
    while place and not place.exists() and place != place.parent:
        place = place.parent
    return place is None or os.access(place, os.W_OK)


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
