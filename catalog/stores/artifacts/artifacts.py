"""Artifacts: immutable folders under the hash of their content; no row or model is known here.

They lie in a local folder, or in a bucket of which a local folder then is the cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlparse

import psutil

from catalog.errors import RecordConflict, RecordNotFound
from catalog.stores.artifacts.bucket import Bucket
from catalog.stores.disk import disk_errors, flush
from catalog.stores.object_store import is_in_bucket
from catalog.stores.places import PlacedFile, files_below
from rpe_core.errors import InputError
from rpe_core.fingerprint import fingerprint, fingerprint_stream
from rpe_core.regular_files import open_regular

_SHA256 = re.compile(r"[0-9a-f]{64}")
_INCOMING = re.compile(r"\.incoming-(?P<pid>\d+)-[0-9a-f]{32}")
_STORE = "the artifact store"


class Artifacts:
    """Folders at `<root>/<sha256>/`; equal content is kept once, content never changes.

    With a bucket, what it holds is what is kept, and folders under the root are copies.
    """

    def __init__(self, root: Path, bucket: Bucket | None = None) -> None:
        self._root, self._bucket = root, bucket

    @classmethod
    def open(cls, uri: str, *, cache: Path | None = None, read_only: bool = False) -> Self:
        """Open a store at a local path, a `file:` URL or `s3://<bucket>/<prefix>`.

        A local folder is made if it is missing, unless `read_only`. `cache` is where folders of a
        bucket are copied to.

        Raises:
            InputError: the URI names another kind of place.
            StoreError: the folder cannot be made, or there are no credentials for the bucket.
        """
        parts, bucket = urlparse(uri), None
        if is_in_bucket(uri) and cache:
            root, bucket = cache.absolute(), Bucket.open(uri)
        elif parts.scheme in ("", "file") and not parts.netloc:
            root = Path(unquote(parts.path) if parts.scheme else uri).absolute()
        else:
            raise InputError(
                "Artifacts are kept on a local file system or in an object store.",
                where="RPE_ARTIFACTS_URI",
                expected="a path, file:///path or s3://<bucket>/<prefix>",
            )
        if not read_only:
            with disk_errors(_STORE, root):
                root.mkdir(parents=True, exist_ok=True)
        elif not bucket and not root.is_dir():
            raise RecordNotFound(
                "There is no artifact store here: it is gone, or was never made.",
                where=str(root),
                remedy="`rpe repair` makes it again from the lake, `rpe init` in a new workspace",
            )
        return cls(root, bucket)

    def put_folder(self, path: Path) -> str:
        """Keep a copy of a folder and return its hash; content that is there is left as it is.

        The folder appears whole or not at all, and is on the device when this returns.

        Raises:
            InputError: it is empty, or holds a link, a device or a name that is not UTF-8.
            StoreUnavailable: no space is left.
        """
        with self._incoming() as incoming:
            for name, file in _plain_files(path).items():
                copy = incoming / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
            # what is hashed is the copy: the original may change under our hands
            hashes = _hashes(incoming)
            sha256 = fingerprint(hashes)
            if self._bucket:
                self._bucket.put(incoming, hashes, sha256)
            self._publish(incoming, sha256)
        return sha256

    def folder(self, sha256: str, *, is_verified: bool = False) -> Path:
        """Where the folder with this hash lies; with `is_verified`, after hashing it again.

        Raises:
            RecordNotFound: there is none.
            RecordConflict: its content is no longer what the hash says.
        """
        folder = self._path_of(sha256)
        if folder.is_dir():
            if is_verified:
                _require_hash(folder, sha256)
            return folder
        with self.as_stored(sha256) as stored:
            _require_hash(stored, sha256)
            self._publish(stored, sha256)
        return folder

    def verify(self, sha256: str) -> None:
        """Hash what is stored again, wherever it is.

        Raises:
            RecordNotFound: there is none.
            RecordConflict: its content is no longer what the hash says.
        """
        with self.as_stored(sha256) as stored:
            _require_hash(stored, sha256)

    @contextmanager
    def as_stored(self, sha256: str) -> Iterator[Path]:
        """The folder as it lies in the store, whatever it holds now, for the length of a block.

        Raises:
            RecordNotFound: there is none.
        """
        if self._bucket and self._bucket.has(sha256):
            with self._incoming() as incoming:
                self._bucket.fetch(sha256, incoming)
                yield incoming
        elif self._bucket is None and self._path_of(sha256).is_dir():
            yield self._path_of(sha256)
        else:
            raise RecordNotFound(
                "No artifact has this hash.",
                where=sha256,
                remedy="`rpe repair` makes it again, or says that only a backup can",
            )

    def _copies(self) -> list[str]:
        with disk_errors(_STORE, self._root):
            return sorted(p.name for p in self._root.iterdir() if _SHA256.fullmatch(p.name))

    def list(self) -> list[str]:
        """Hashes of all folders, sorted."""
        return self._bucket.list() if self._bucket else self._copies()

    def files(self, sha256: str) -> Iterator[PlacedFile]:
        """The files of a folder as they lie in the store, by relative name; none where it is gone.

        What is no plain file is left out.
        """
        folder = str(self._path_of(sha256))
        return files_below(self._bucket.uri_of(sha256) if self._bucket else folder)

    def n_bytes(self, sha256: str) -> int:
        """Bytes of a folder's files; 0 where there is none."""
        if self._bucket:
            return self._bucket.n_bytes(sha256)
        with disk_errors(_STORE, self._root):
            files = [p for p in self._path_of(sha256).rglob("*") if p.is_file()]
            return sum(file.stat().st_size for file in files)

    def delete(self, sha256: str) -> None:
        """Remove a folder from where it is kept; one that is gone already is fine."""
        folder = self._path_of(sha256)
        if self._bucket:
            self._bucket.delete(sha256)
        doomed = self._root / f".incoming-{os.getpid()}-{uuid.uuid4().hex}"
        with disk_errors(_STORE, self._root):
            if folder.exists():
                # renamed first, so that no reader ever sees half a folder
                folder.rename(doomed)
                shutil.rmtree(doomed)

    def give_up(self, sha256: str, *, aside: Callable[[Path, str], None]) -> None:
        """Hand a folder that is not what its hash says to `aside`; one that is gone is fine.

        Of a bucket that is a copy of what lies there.
        """
        folder = self._path_of(sha256)
        if self._bucket and self._bucket.has(sha256):
            with self._incoming() as incoming:
                self._bucket.fetch(sha256, incoming)
                aside(incoming, f"artifacts/{sha256}")
            self.delete(sha256)
        elif folder.exists() or folder.is_symlink():
            aside(folder, f"artifacts/{sha256}")

    def remove_leftovers(self) -> int:
        """Remove half-written folders whose writer is dead; returns how many there were.

        Of a bucket nobody may be keeping one meanwhile; copies of what it no longer has go too.
        """
        n_there = 0
        if self._bucket:
            n_there = self._bucket.remove_leftovers()
            for sha256 in set(self._copies()) - set(self._bucket.list()):
                shutil.rmtree(self._path_of(sha256), ignore_errors=True)
        with disk_errors(_STORE, self._root):
            dead = [p for p in self._root.iterdir() if _is_left_over(p.name)]
            for path in dead:
                shutil.rmtree(path)
        return n_there + len(dead)

    @staticmethod
    def hash_folder(path: Path) -> str:
        """sha256 over the relative path and content hash of every file, in any order of listing.

        Raises:
            InputError: it is empty, or holds a link, a device or a name that is not UTF-8.
        """
        return fingerprint(_hashes(path))

    @staticmethod
    def hash_file(path: Path) -> str:
        """sha256 of a file's bytes, read as a stream."""
        with disk_errors(_STORE, path), open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @staticmethod
    def hash_files(paths: Iterable[Path]) -> str:
        """sha256 over names and contents of files, in the order of their names.

        The same files under another folder have the same hash; a served model computes it without
        this repository, by the same rule.
        """
        ordered = sorted(paths, key=lambda path: path.name)
        return fingerprint_stream(f"{path.name} {Artifacts.hash_file(path)}" for path in ordered)

    @staticmethod
    def hash_of(hashes: Mapping[str, str]) -> str:
        """The hash of `hash_files` from hashes that are known, by the names of the files."""
        return fingerprint_stream(f"{name} {hashes[name]}" for name in sorted(hashes))

    def _path_of(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise InputError("This is no hash of an artifact.", expected="64 hexadecimal digits")
        return self._root / sha256

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """An empty folder beside the others, which is gone after the block."""
        incoming = self._root / f".incoming-{os.getpid()}-{uuid.uuid4().hex}"
        with disk_errors(_STORE, self._root):
            try:
                incoming.mkdir(parents=True)
                yield incoming
            finally:
                shutil.rmtree(incoming, ignore_errors=True)

    def _publish(self, incoming: Path, sha256: str) -> None:
        target = self._path_of(sha256)
        if target.is_dir():
            return
        for file in _plain_files(incoming).values():
            flush(file)
        for folder in [incoming, *(p for p in incoming.rglob("*") if p.is_dir())]:
            flush(folder)
        try:
            incoming.replace(target)
        except OSError:
            # another process published the same content in between
            if not target.is_dir():
                raise
        flush(self._root)


def _hashes(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file of a folder."""
    return {name: Artifacts.hash_file(file) for name, file in _plain_files(folder).items()}


def _require_hash(folder: Path, sha256: str) -> None:
    if Artifacts.hash_folder(folder) != sha256:
        raise RecordConflict(
            "A stored artifact was changed after it was kept.",
            where=sha256,
            remedy="`rpe repair` makes it again, or says that only a backup can",
        )


def _plain_files(path: Path) -> Mapping[str, Path]:
    """Relative POSIX names of all files of a folder; nothing else may be in it."""
    with disk_errors("the folder to keep", path):
        if path.is_symlink() or not path.is_dir():
            raise InputError("Only a folder can be kept as an artifact.", where=path.name)
        files = {}
        for entry in path.rglob("*"):
            mode = entry.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            name = entry.relative_to(path).as_posix()
            if not stat.S_ISREG(mode) or not name.isprintable() or "\\" in name:
                raise InputError(
                    "A folder to keep holds a link, a device or an unusual name.",
                    where=path.name,
                    expected="plain files with printable names",
                )
            files[name] = entry
    if not files:
        raise InputError("A folder to keep holds no file.", where=path.name)
    return files


def _is_left_over(name: str) -> bool:
    match = _INCOMING.fullmatch(name)
    pid = int(match["pid"]) if match else None
    return pid is not None and (pid == os.getpid() or not psutil.pid_exists(pid))
