"""Settings to Stores: the only file that joins the parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from catalog.errors import StoreError
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.lake import Lake
from catalog.stores.lake.session import connect
from catalog.stores.registry.registry import EXPERIMENT, Registry
from catalog.stores.registry.relocation import followed_copy, has_moved
from catalog.stores.sqlite_files import fault_of
from catalog.stores.stores import Stores
from catalog.stores.vectors.vectors import Vectors
from flows.workspace.lost_lake import Others
from flows.workspace.lost_registry import require_file
from flows.workspace.settings import Settings
from flows.workspace.workspace_id import name_of
from rpe_core.errors import RpeError


def utc_now() -> datetime:
    """The platform's clock; every other module is handed a time."""
    return datetime.now(UTC)  # noqa: TID251 - the one place where the clock is read


def open_lake(settings: Settings, *, read_only: bool = False, may_be_lost: bool = False) -> Lake:
    """The lake alone, for readers that need nothing else.

    Raises:
        LakeLost: its catalog is gone or empty while other stores stand, unless it `may_be_lost`.
    """
    others = others_of(settings)
    if not may_be_lost:
        others.require_catalog()
    try:
        lake = _open_lake(settings, read_only=read_only)
    except StoreError:
        others.require_tables()
        raise
    with close_on_error(lake):
        if not may_be_lost:
            others.require_records(lake)
    return lake


@contextmanager
def close_on_error(opened: Lake | Stores) -> Iterator[None]:
    """Close what was opened where the block fails, so that nobody has it who could."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


def others_of(settings: Settings) -> Others:
    """The stores beside the lake, none of them opened yet."""
    return Others(
        settings,
        vectors=partial(open_vectors, settings, read_only=True),
        registry=partial(open_registry, settings, read_only=True),
        artifacts=partial(open_artifacts, settings, read_only=True),
    )


def _open_lake(settings: Settings, *, read_only: bool) -> Lake:
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


def require_registry(settings: Settings) -> None:
    """Raise RegistryLost where the registry's database is no such file and the lake names versions.

    The lake is opened for it only where there is something to ask.
    """
    require_file(settings.tracking, partial(open_lake, settings, read_only=True))


def open_registry(settings: Settings, *, read_only: bool = False, is_new: bool = False) -> Registry:
    """The MLflow registry of the workspace; `is_new` makes one in the place of one that is lost.

    Raises:
        RegistryLost: its database is gone or damaged, and the lake names what it held.
    """
    if not is_new:
        require_registry(settings)
    return Registry.open(
        tracking_uri=settings.tracking,
        artifacts_uri=settings.model_artifacts,
        lock_path=settings.writer_lock,
        read_only=read_only,
    )


@contextmanager
def tracking_to_read(settings: Settings) -> Iterator[str]:
    """A tracking URI by which MLflow finds the files of this workspace, wherever it was moved.

    Of a workspace that was moved, or that this user may only read, it is that of a copy, with links
    to the files: who reads waits for no lock, and writes nothing.
    """
    where = {"tracking_uri": settings.tracking, "artifacts_uri": settings.model_artifacts}
    if may_write(settings.root) and not has_moved(**where, experiment=EXPERIMENT):
        yield settings.tracking
        return
    with followed_copy(**where, experiment=EXPERIMENT) as copy:
        yield copy


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
        # a catalog that is no database any more would be made anew
        is_left = log and not was_there and log.exists() and not log.stat().st_size
        if is_left and catalog.path and not fault_of(catalog.path):
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


def may_write(path: Path | None) -> bool:
    """Whether this user may make a file there, or in the nearest folder above that is there."""
    while path and not path.exists() and path != path.parent:
        path = path.parent
    return path is None or os.access(path, os.W_OK)


def open_stores(
    settings: Settings, *, read_only: bool = False, may_be_lost: bool = False
) -> Stores:
    """All four stores, open for writing; the lake's tables are brought up to date.

    With `read_only` the lake refuses to be written to. Used as a block they are closed at its end.

    Raises:
        LakeLost: the lake is gone while other stores stand, unless it `may_be_lost`.
        StoreGone: another store is gone while the lake knows what it held.
    """
    lake = open_lake(settings, read_only=read_only, may_be_lost=may_be_lost)
    with close_on_error(lake):
        if not read_only:
            lake.migrate()
        others_of(settings).require_stores(lake)
        return Stores(
            lake=lake,
            vectors=open_vectors(settings),
            registry=open_registry(settings),
            artifacts=open_artifacts(settings),
        )


def load_drivers(settings: Settings) -> None:
    """Open the stores whose drivers take seconds to import, while something else is waited for.

    One that is gone is not made: whoever opens all of them tells what that means.
    """
    with suppress(RpeError):
        open_vectors(settings, read_only=True)
    with suppress(RpeError):
        open_registry(settings, read_only=True)
