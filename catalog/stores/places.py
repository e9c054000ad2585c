"""Places: every file below a folder or a prefix of a bucket, to be read whichever of them it is."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from catalog.errors import StoreError
from catalog.stores.disk import disk_errors
from catalog.stores.object_store import is_in_bucket, object_store_errors, open_bucket

_WHERE = "a place of the stores"
_PIECE_BYTES = 1 << 22


@dataclass(frozen=True)
class PlacedFile:
    """A file by its name below its place; `path` is where it lies, if that is on this machine."""

    name: str
    n_bytes: int
    path: Path | None
    _files: Any
    _key: str
    stamp: tuple[int, ...] = ()  # what changes whenever it is written

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """A stream of its bytes that can seek.

        Raises:
            StoreError: it cannot be read.
        """
        if self.path:
            with disk_errors("the workspace", self.path), self.path.open("rb") as stream:
                yield stream
        else:
            with (
                object_store_errors("read an object", f"s3://{self._key}"),
                self._files.open_input_file(self._key) as stream,
            ):
                yield stream


class Readable(Protocol):
    """A file of a store, wherever it lies."""

    def opened(self) -> Any:
        """A stream of its bytes, for the length of a block."""


def sha256_of(file: Readable) -> str:
    """sha256 of a file's bytes, read as a stream.

    Raises:
        StoreError: it cannot be read.
    """
    digest = hashlib.sha256()
    with file.opened() as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def files_below(location: str) -> Iterator[PlacedFile]:
    """Every plain file below a folder or a URI `s3://<bucket>/<prefix>`, by name.

    Raises:
        StoreError: the bucket cannot be listed.
    """
    if not is_in_bucket(location):
        folder = Path(
            unquote(urlparse(location).path) if location.startswith("file:") else location
        )
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            name, stat = path.relative_to(folder).as_posix(), path.stat()
            stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            yield PlacedFile(name, stat.st_size, path, None, "", stamp)
        return
    from pyarrow.fs import FileSelector  # like the file system itself

    files, root_key = open_bucket(location, _WHERE)
    with object_store_errors("list the objects", location):
        infos = files.get_file_info(FileSelector(root_key, recursive=True, allow_not_found=True))
    for info in sorted((i for i in infos if i.is_file), key=lambda i: i.path):
        name = info.path.removeprefix(f"{root_key}/")
        yield PlacedFile(name, info.size, None, files, info.path, (info.size, info.mtime_ns or 0))


def files_named(location: str, names: Collection[str]) -> Iterator[PlacedFile]:
    """Those of some files below a place that are there.

    Raises:
        StoreError: the bucket cannot be reached.
    """
    if is_in_bucket(location):
        wanted = set(names)
        yield from (file for file in files_below(location) if file.name in wanted)
        return
    for name in sorted(names):
        path = Path(location) / name
        if path.is_file():
            yield PlacedFile(name, path.stat().st_size, path, None, "")


def require_forgetting(location: str) -> None:
    """A place where what is deleted is gone: a folder, or a bucket that keeps no versions.

    Raises:
        StoreUnavailable: the store did not answer.
        StoreError: it keeps versions, there is no such bucket, or it refuses us.
    """
    if not is_in_bucket(location):
        return
    import botocore.session  # only object stores need it

    _, path = open_bucket(location, _WHERE)
    with object_store_errors("ask whether the bucket keeps versions", location):
        client = botocore.session.get_session().create_client("s3")
        versioning = client.get_bucket_versioning(Bucket=path.partition("/")[0])
    if versioning.get("Status") == "Enabled":
        raise StoreError(
            "The bucket keeps what is deleted from it: a retraction could not erase.",
            where=location,
            remedy="suspend its versioning and remove the noncurrent versions",
        )
