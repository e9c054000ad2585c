"""Folders in an object store by the hash of their content: there once their list of files is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Self

from catalog.errors import RecordConflict, RecordNotFound
from catalog.stores.object_store import PREFIX, object_store_errors, open_bucket

_LIST = ".json"  # <root>/<sha256>.json names the files of <root>/<sha256>/, and is written last
_CHUNK = 1 << 22


class Bucket:
    """What artifacts keep in an object store, below one prefix of a bucket.

    Objects have no rename: a folder counts once its list is there, which is written after its
    files and removed before them. `files` is a file system of Arrow.
    """

    def __init__(self, files: Any, root: str) -> None:
        self._files, self._root = files, root

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open the place of a URI `s3://<bucket>/<prefix>`.

        Raises:
            InputError: the URI is none that we use.
            StoreError: there is no such bucket, or no credentials.
        """
        return cls(*open_bucket(uri, "RPE_ARTIFACTS_URI"))

    def has(self, sha256: str) -> bool:
        """Whether a whole folder is there."""
        with self._errors("look for an artifact"):
            return bool(self._files.get_file_info(f"{self._root}/{sha256}{_LIST}").is_file)

    def put(self, folder: Path, files: Mapping[str, str], sha256: str) -> None:
        """Keep files of a folder (name -> sha256) under the hash of all; what is there stays."""
        if self.has(sha256):
            return
        with self._errors("keep an artifact"):
            for name in sorted(files):
                target = f"{self._root}/{sha256}/{name}"
                with (
                    (folder / name).open("rb") as file,
                    self._files.open_output_stream(target) as stream,
                ):
                    shutil.copyfileobj(file, stream, _CHUNK)
            with self._files.open_output_stream(f"{self._root}/{sha256}{_LIST}") as stream:
                stream.write(json.dumps(dict(files), sort_keys=True, indent=1).encode())

    def fetch(self, sha256: str, folder: Path) -> None:
        """Copy the files of a folder as they lie there, whatever they hold now.

        Raises:
            RecordNotFound: there is no such folder.
            RecordConflict: one of them has a name that we would not have given.
        """
        if not self.has(sha256):
            raise RecordNotFound("No artifact has this hash.", where=sha256)
        for name, info in self._file_infos(sha256).items():
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise RecordConflict("A stored artifact holds a path out of it.", where=sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            with (
                self._errors("fetch an artifact"),
                self._files.open_input_stream(f"{self._root}/{sha256}/{name}") as stream,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(stream, file, _CHUNK)
            if info.mtime_ns:
                os.utime(target, ns=(info.mtime_ns, info.mtime_ns))  # when it was last written

    def list(self) -> list[str]:
        """Hashes of all whole folders, sorted."""
        with self._errors("list the artifacts"):
            infos = self._files.get_file_info(_below(self._root, is_deep=False))
        return sorted(i.base_name.removesuffix(_LIST) for i in infos if i.path.endswith(_LIST))

    def n_bytes(self, sha256: str) -> int:
        """Bytes of a folder's files; 0 where there is none."""
        return sum(info.size for info in self._file_infos(sha256).values())

    def uri_of(self, sha256: str) -> str:
        """The URI below which the files of a folder lie."""
        return f"{PREFIX}{self._root}/{sha256}"

    def delete(self, sha256: str) -> None:
        """Remove a folder; one that is gone already is fine."""
        with self._errors("remove an artifact"):
            with suppress(FileNotFoundError):
                self._files.delete_file(f"{self._root}/{sha256}{_LIST}")
            with suppress(FileNotFoundError):
                self._files.delete_dir(f"{self._root}/{sha256}")

    def remove_leftovers(self) -> int:
        """Remove files of folders without a list; nobody may be keeping one meanwhile."""
        whole = set(self.list())
        with self._errors("remove half-written artifacts"):
            infos = self._files.get_file_info(_below(self._root, is_deep=True))
        paths = (PurePosixPath(i.path).relative_to(self._root) for i in infos if i.is_file)
        dead = {path.parts[0] for path in paths if len(path.parts) > 1} - whole
        for sha256 in dead:
            self.delete(sha256)
        return len(dead)

    def _file_infos(self, sha256: str) -> dict[str, Any]:
        folder = f"{self._root}/{sha256}"
        with self._errors("read an artifact"):
            infos = self._files.get_file_info(_below(folder, is_deep=True))
        return {i.path.removeprefix(f"{folder}/"): i for i in infos if i.is_file}

    def _errors(self, doing: str) -> Any:
        return object_store_errors(doing, f"s3://{self._root}")


def _below(folder: str, *, is_deep: bool) -> Any:
    from pyarrow.fs import FileSelector  # like the file system itself

    return FileSelector(folder, recursive=is_deep, allow_not_found=True)
