"""Imported first by the server that forks our children: it ends when its parent does, at once.

By itself it would notice once it has imported all else and taken the requests that wait for it,
which takes seconds: its pipe to the parent stays open in a request that is not taken yet. The
kernel's PR_SET_PDEATHSIG is no help, as it goes by the thread that started the server, which may
end before. A thread watches in the meantime, and is gone before anything is forked.
"""

from __future__ import annotations

import os
import select
import sys
from threading import Thread

_COMMAND = "from multiprocessing.forkserver import main;"


class Watch:
    """Waits beside other work for the parent of this process to end, and then leaves (Linux)."""

    def __init__(self, parent_pid: int) -> None:
        self._parent = os.pidfd_open(parent_pid)
        if os.getppid() != parent_pid:  # it ended before, and its number may be another's
            os._exit(1)
        self._end_reader, self._end_writer = os.pipe()
        self._thread = Thread(target=self._wait, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Watch no longer; the thread is gone when this returns."""
        os.write(self._end_writer, b"\0")
        self._thread.join()
        for number in (self._end_reader, self._end_writer, self._parent):
            os.close(number)

    def _wait(self) -> None:
        if self._parent in select.select([self._parent, self._end_reader], [], [])[0]:
            os._exit(1)


def _begin() -> Watch | None:
    """In a server of children; imported by anybody else, this does nothing."""
    is_server = sys.orig_argv[-1].startswith(_COMMAND)
    return Watch(os.getppid()) if is_server and hasattr(os, "pidfd_open") else None


watch = _begin()
