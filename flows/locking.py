"""One run per workspace at a time: whoever comes second says so and leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from catalog.errors import StoreUnavailable
from catalog.stores.locks import WriterLock
from flows.settings import Settings
from rpe_core.errors import RpeError


class WorkspaceBusy(RpeError):
    """Another run holds the workspace; nothing was touched."""


@contextmanager
def hold_workspace(settings: Settings) -> Iterator[None]:
    """Hold the workspace for one run; the kernel frees it however the run ends.

    Raises:
        WorkspaceBusy: at once, if another process holds it.
    """
    lock = WriterLock(settings.night_lock, timeout_seconds=0.0)
    with ExitStack() as held:
        try:
            held.enter_context(lock.hold())
        except StoreUnavailable:
            raise WorkspaceBusy(
                f"Another run holds this workspace (process {lock.holder_pid() or 'unknown'}).",
                where=str(settings.root),
                remedy="wait for it to end; `rpe sql` and the report can be read meanwhile",
            ) from None
        yield
