"""The one writer lock of the stores: of a file or on a server, and a thread may take it again."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from catalog.errors import StoreError, StoreUnavailable
from catalog.stores.disk import disk_errors
from catalog.stores.postgres import AdvisoryLock
from rpe_core.regular_files import special_kind

TIMEOUT_SECONDS = 600.0
_POLL_SECONDS = 0.02


class _SharedLock:
    """The lock of one place in this process; two stores of one workspace share it."""

    def __init__(self, location: Path | str) -> None:
        self.threads = threading.RLock()
        self.processes: FileLock | AdvisoryLock
        if isinstance(location, Path):
            # thread_local off: the RLock above already keeps other threads out
            self.processes = FileLock(location, thread_local=False)
        else:
            self.processes = AdvisoryLock(location, "writer")
        self.depth = 0


_LOCKS: dict[Path | str, _SharedLock] = {}
_LOCKS_GUARD = threading.Lock()


class WriterLock:
    """Whoever writes to a store holds this: SQLite, Lance and MLflow lose writes without it.

    Its place is a file, or `postgres:<libpq keywords>` for writers on several machines. The kernel
    or the server frees the lock when its holder dies, however it dies. A holder may take it again:
    a use case that writes to several stores holds it over all of them.
    """

    def __init__(self, location: Path | str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.location = location.absolute() if isinstance(location, Path) else location
        self._timeout_seconds = timeout_seconds

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock for the length of a `with` block.

        Raises:
            StoreUnavailable: another process or thread held it for longer than the timeout; the
                message names the process.
            StoreError: what has the lock's name is no file.
        """
        self.require_file()
        lock = self._shared()
        deadline = time.monotonic() + self._timeout_seconds
        if not lock.threads.acquire(timeout=self._timeout_seconds):
            raise self._busy("another thread of this process")
        try:
            self._take(lock, deadline)
            try:
                yield
            finally:
                self._give(lock)
        finally:
            lock.threads.release()

    def is_free(self) -> bool:
        """Whether nobody holds it at this moment; the file is not made or written to.

        Raises:
            StoreUnavailable: the lock is of a server, which tells only whoever takes it.
            StoreError: what has the lock's name is no file.
        """
        if not isinstance(self.location, Path):
            raise StoreUnavailable("A server's lock can only be tried.", where=self._where)
        self.require_file()
        with disk_errors("the writer lock", self._where):
            try:
                with self.location.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except FileNotFoundError:
                return True
            except BlockingIOError:
                return False
        return True

    def require_file(self) -> None:
        """Raise StoreError where a FIFO, a folder or a device has the name of the lock.

        Nobody could hold it, and whoever opens a FIFO waits for ever.
        """
        if isinstance(self.location, Path) and (kind := special_kind(self.location)):
            raise StoreError(
                f"The lock is {kind}: nobody can hold it.",
                where=self._where,
                expected="a regular file, or none: whoever writes makes it",
                remedy="move it away and try again; nothing that was kept lies in it",
            )

    def holder_pid(self) -> int | None:
        """Process id of the holder, as the last one wrote it down or the server knows; or None."""
        if not isinstance(self.location, Path):
            return AdvisoryLock(self.location, "writer").holder_pid()
        with suppress(OSError, ValueError):
            return int(self.location.read_text())
        return None

    def _shared(self) -> _SharedLock:
        with disk_errors("the writer lock", self._where), _LOCKS_GUARD:
            location = self.location
            if isinstance(location, Path):
                location.parent.mkdir(parents=True, exist_ok=True)
                location = location.parent.resolve() / location.name
            if location not in _LOCKS:
                _LOCKS[location] = _SharedLock(location)
            return _LOCKS[location]

    def _take(self, lock: _SharedLock, deadline: float) -> None:
        if lock.depth == 0:
            remaining = max(0.0, deadline - time.monotonic())
            with disk_errors("the writer lock", self._where):
                try:
                    lock.processes.acquire(timeout=remaining, poll_interval=_POLL_SECONDS)
                except Timeout:
                    raise self._busy(f"process {self.holder_pid() or 'of unknown id'}") from None
            if isinstance(self.location, Path):
                # a courtesy to whoever waits: a full disk must not stop the holder
                with suppress(OSError):
                    self.location.write_text(f"{os.getpid()}\n")
        lock.depth += 1

    def _give(self, lock: _SharedLock) -> None:
        lock.depth -= 1
        if lock.depth == 0:
            lock.processes.release()

    @property
    def _where(self) -> str:
        return (
            str(self.location) if isinstance(self.location, Path) else "the server of RPE_LAKE_URI"
        )

    def _busy(self, holder: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The stores are being written to by {holder}; waited {self._timeout_seconds:g} s.",
            where=self._where,
            remedy="try again when that process has ended; readers are not held up",
        )
