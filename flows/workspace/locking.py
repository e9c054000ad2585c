"""One run per workspace at a time: whoever comes second says so and leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from catalog.errors import StoreUnavailable
from catalog.stores.locks import WriterLock
from flows.workspace.settings import Settings, require_workspace
from rpe_core.errors import RpeError


class WorkspaceBusy(RpeError):
    """Another run holds the workspace; nothing was touched."""


def hold_workspace(settings: Settings, *, is_new: bool = False) -> AbstractContextManager[None]:
    """Hold the workspace for one run; the kernel frees it however the run ends.

    Raises:
        InputError: there is none, and it is not `is_new`; nothing is made then.
        WorkspaceBusy: at once, if another process holds it.
    """
    if not is_new and is_free(settings):  # one that is held is being made, or is one
        require_workspace(settings)
    return _hold(
        settings,
        settings.night_lock,
        "Another run holds this workspace",
        remedy="wait for it to end; `rpe sql` and the report can be read meanwhile",
    )


def is_free(settings: Settings) -> bool:
    """Whether no run holds the workspace at this moment; nothing is written to find out."""
    return WriterLock(settings.night_lock).is_free()


def hold_schedule(settings: Settings) -> AbstractContextManager[None]:
    """Hold the workspace's schedule: one process serves it, its server ends with it.

    Raises:
        WorkspaceBusy: at once, if another process serves it.
    """
    return _hold(
        settings,
        settings.schedule_lock,
        "Another process serves this workspace's schedule",
        remedy="stop it first; the plan is read again when it is served again",
    )


@contextmanager
def _hold(settings: Settings, path: Path, what: str, *, remedy: str) -> Iterator[None]:
    lock = WriterLock(path, timeout_seconds=0.0)
    with ExitStack() as held:
        try:
            held.enter_context(lock.hold())
        except StoreUnavailable:
            holder = lock.holder_pid() or "unknown"
            raise WorkspaceBusy(
                f"{what} (process {holder}).", where=str(settings.root), remedy=remedy
            ) from None
        yield
