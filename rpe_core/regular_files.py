"""Regular files alone are opened: a FIFO that nobody writes to would be waited for for ever."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a directory"),
)


class NotRegularFile(OSError):
    """What a path names is there and is no regular file; `kind` says what it is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(f"it is {kind}, no regular file")


def special_kind(path: Path | str) -> str:
    """What a path names in words, links followed; "" of a regular file, and of nothing at all."""
    try:
        return _kind(Path(path).stat())
    except OSError:
        return ""


def open_regular(path: Path | str) -> io.BufferedReader:
    """A regular file, opened for reading; of anything else not even the opening is waited for.

    Raises:
        NotRegularFile: it is a FIFO, a socket, a device or a directory, or a link to one.
        OSError: it cannot be opened.
    """
    _require_regular(Path(path).stat())  # merely to open some devices does something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        # looked at once more by its descriptor: another may have taken the name in between
        _require_regular(os.fstat(descriptor))
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path | str, *, limit: int = -1) -> bytes:
    """The bytes of a regular file, at most `limit` of them where one is given.

    Raises:
        OSError: as `open_regular`, or it cannot be read.
    """
    with open_regular(path) as file:
        return file.read(limit)


def _require_regular(status: os.stat_result) -> None:
    if kind := _kind(status):
        raise NotRegularFile(kind)


def _kind(status: os.stat_result) -> str:
    if stat.S_ISREG(status.st_mode):
        return ""
    return next((words for is_one, words in _KINDS if is_one(status.st_mode)), "of another kind")
