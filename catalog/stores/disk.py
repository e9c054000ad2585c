"""Files of the operating system: written whole, flushed, their errors said in our words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from catalog.errors import StoreError, StoreUnavailable

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def disk_full(store: str, where: Path | str) -> StoreUnavailable:
    """A write found no space; what was committed before it is unharmed."""
    return StoreUnavailable(
        f"No space is left to write to {store}.",
        where=str(where),
        remedy="free some space and try again; `rpe maintain` removes what no row names",
    )


def not_allowed(store: str, where: Path | str) -> StoreError:
    """The operating system refused the access."""
    return StoreError(
        f"This user may not use {store}.",
        where=str(where),
        remedy="check owner and mode of the folder, and that it is not mounted read-only",
    )


@contextmanager
def disk_errors(store: str, where: Path | str) -> Iterator[None]:
    """Turn an OSError into a StoreError without its text, which may quote a file's content.

    Raises:
        StoreUnavailable: no space is left, or the device failed; the same call may succeed later.
        StoreError: the access is not allowed.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(store, where) from None
        if error.errno in FORBIDDEN:
            raise not_allowed(store, where) from None
        name = errno.errorcode.get(error.errno or 0, "unknown")
        raise StoreUnavailable(
            f"The operating system failed to use {store} ({name}).",
            where=str(where),
            remedy="check that the folder exists and its device is healthy, then try again",
        ) from None


@contextmanager
def write_whole(path: Path, *, is_contended: bool = False) -> Iterator[Path]:
    """A file beside the place, put there by one rename once its bytes are on the disk.

    A reader sees the old content or the new one. What a killed process left beside the place is
    written over by the next; where several may write at once, each has a name of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f".{token_hex(8)}" if is_contended else ""
    part = path.with_name(f".{path.name}{own}.part")
    try:
        yield part
        flush(part)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    flush(path.parent)


def flush(path: Path | str) -> None:
    """Wait until a file's bytes, or a folder's names, are on the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_files(data_uri: str, *, since_ns: int) -> list[str]:
    """Flush the Parquet files written since then, before the commit names them; which they are.

    DuckDB leaves them to the page cache while SQLite flushes its log: after a power cut a committed
    row could lie in a file that never reached the disk.
    """
    if "://" in data_uri:  # an object store answers when it has the whole file
        return []
    root, flushed = Path(data_uri), list[str]()
    with disk_errors("the lake", root):
        _flush_folder(data_uri, root.stat().st_mtime_ns, flushed, since_ns=since_ns)
    return flushed


def _flush_folder(folder: str, changed_ns: int, flushed: list[str], *, since_ns: int) -> None:
    """Flush what changed in a folder and below; as plain paths, for a lake has many folders."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _flush_folder(entry.path, entry.stat().st_mtime_ns, flushed, since_ns=since_ns)
            elif changed_ns >= since_ns and entry.stat().st_mtime_ns >= since_ns:
                flush(entry.path)
                flushed.append(entry.path)
    if changed_ns >= since_ns:
        flush(folder)
