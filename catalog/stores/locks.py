"""The one writer lock of the embedded stores: a file lock that a thread may take again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from catalog.errors import StoreUnavailable
from catalog.stores.disk import disk_errors

TIMEOUT_SECONDS = 600.0
_POLL_SECONDS = 0.02


class _PathLock:
    """The lock of one path in this process; two stores of one workspace share it."""

    def __init__(self, path: Path) -> None:
        self.threads = threading.RLock()
        # thread_local off: the RLock above already keeps other threads out
        self.processes = FileLock(path, thread_local=False)
        self.depth = 0


_LOCKS: dict[Path, _PathLock] = {}
_LOCKS_GUARD = threading.Lock()


class WriterLock:
    """Whoever writes to a store holds this: SQLite, Lance and MLflow lose writes without it.

    The kernel frees the lock when its holder dies, however it dies. A holder may take it again:
    a use case that writes to several stores holds it over all of them.
    """

    def __init__(self, path: Path, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.path, self._timeout_seconds = path.absolute(), timeout_seconds

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock for the length of a `with` block.

        Raises:
            StoreUnavailable: another process or thread held it for longer than the timeout; the
                message names the process.
        """
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

    def holder_pid(self) -> int | None:
        """Process id that the lock's last holder wrote down; None if it wrote none."""
        with suppress(OSError, ValueError):
            return int(self.path.read_text())
        return None

    def _shared(self) -> _PathLock:
        with disk_errors("the writer lock", self.path), _LOCKS_GUARD:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            real = self.path.parent.resolve() / self.path.name
            if real not in _LOCKS:
                _LOCKS[real] = _PathLock(real)
            return _LOCKS[real]

    def _take(self, lock: _PathLock, deadline: float) -> None:
        if lock.depth == 0:
            remaining = max(0.0, deadline - time.monotonic())
            with disk_errors("the writer lock", self.path):
                try:
                    lock.processes.acquire(timeout=remaining, poll_interval=_POLL_SECONDS)
                except Timeout:
                    raise self._busy(f"process {self.holder_pid() or 'of unknown id'}") from None
            # a courtesy to whoever waits: a full disk must not stop the holder
            with suppress(OSError):
                self.path.write_text(f"{os.getpid()}\n")
        lock.depth += 1

    def _give(self, lock: _PathLock) -> None:
        lock.depth -= 1
        if lock.depth == 0:
            lock.processes.release()

    def _busy(self, holder: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The stores are being written to by {holder}; waited {self._timeout_seconds:g} s.",
            where=str(self.path),
            remedy="try again when that process has ended; readers are not held up",
        )
