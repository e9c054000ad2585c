"""Reading: rows of the lake for a person, on a read-only attachment that takes no lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from catalog.errors import StoreError
from catalog.stores.lake.lake import Lake
from flows.workspace.settings import Settings, require_workspace
from flows.workspace.stores import may_write, open_lake, others_of
from rpe_core.errors import InputError


@contextmanager
def open_lake_to_read(settings: Settings) -> Iterator[Lake]:
    """The lake for reading, with the tables and views of this release.

    Raises:
        InputError: if the workspace has no lake yet.
    """
    require_lake(settings)
    with open_lake(settings, read_only=True) as lake:
        is_current = lake.is_current
        if is_current:
            yield lake
    if not is_current:  # an older release wrote it last
        if not may_write(settings.root):
            raise StoreError(
                "The lake's tables are of an earlier release; this user may not migrate them.",
                where=str(settings.root),
                remedy="a user who may write runs `rpe maintain`; `rpe sql` reads them as they are",
            )
        with open_lake(settings) as renewed:
            renewed.migrate()
            yield renewed


def require_current_lake(settings: Settings) -> None:
    """Raise InputError if there is no lake yet; one of an older release is brought up to date.

    Where this user may only read, it stays as it is.
    """
    require_lake(settings)
    if may_write(settings.root):
        with open_lake_to_read(settings):
            pass


def require_lake(settings: Settings) -> None:
    """Raise InputError if the workspace has no lake yet."""
    require_workspace(settings)
    if not has_lake(settings):
        raise InputError(
            "There is no lake here yet.",
            where=str(settings.root),
            remedy="`rpe init` makes what is missing; RPE_HOME names another place",
        )


def has_lake(settings: Settings) -> bool:
    """Whether a lake was begun here.

    Raises:
        LakeLost: it was, and its catalog is gone.
    """
    others_of(settings).require_catalog()
    return settings.has_lake
