"""Artifacts: immutable folders under the hash of their content; no row or model is known here."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlparse

from catalog.errors import RecordConflict, RecordNotFound
from catalog.stores.disk import disk_errors, flush
from rpe_core.errors import InputError
from rpe_core.fingerprint import fingerprint, fingerprint_stream

_SHA256 = re.compile(r"[0-9a-f]{64}")
_INCOMING = re.compile(r"\.incoming-(?P<pid>\d+)-[0-9a-f]{32}")
_STORE = "the artifact store"


class Artifacts:
    """Folders at `<root>/<sha256>/`; equal content is kept once, content never changes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open a store at a local path or a `file:` URL; the folder is made if it is missing.

        Raises:
            InputError: the URI names another kind of place.
            StoreError: the folder cannot be made.
        """
        parts = urlparse(uri)
        if parts.scheme not in ("", "file") or parts.netloc:
            raise InputError(
                "Artifacts are kept on a local file system.",
                where="RPE_ARTIFACTS_URI",
                expected="a path or file:///path",
            )
        root = Path(unquote(parts.path) if parts.scheme else uri).absolute()
        with disk_errors(_STORE, root):
            root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    def put_folder(self, path: Path) -> str:
        """Keep a copy of a folder and return its hash; content that is there is left as it is.

        The folder appears whole or not at all, and is on the device when this returns.

        Raises:
            InputError: it is empty, or holds a link, a device or a name that is not UTF-8.
            StoreUnavailable: no space is left.
        """
        incoming = self._root / f".incoming-{os.getpid()}-{uuid.uuid4().hex}"
        with disk_errors(_STORE, self._root):
            try:
                files = _plain_files(path)
                for name, file in files.items():
                    copy = incoming / name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
                    flush(copy)
                # what is hashed is the copy: the original may change under our hands
                sha256 = self.hash_folder(incoming)
                self._publish(incoming, sha256)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        return sha256

    def folder(self, sha256: str, *, is_verified: bool = False) -> Path:
        """Where the folder with this hash lies; with `is_verified`, after hashing it again.

        Raises:
            RecordNotFound: there is none.
            RecordConflict: its content is no longer what the hash says.
        """
        place = self._place(sha256)
        if not place.is_dir():
            raise RecordNotFound(
                "No artifact has this hash.",
                where=sha256,
                remedy="`rpe maintain` finds rows whose files are gone; train or merge again",
            )
        if is_verified:
            self.verify(sha256)
        return place

    def verify(self, sha256: str) -> None:
        """Hash the folder again.

        Raises:
            RecordNotFound: there is none.
            RecordConflict: its content is no longer what the hash says.
        """
        if self.hash_folder(self.folder(sha256)) != sha256:
            raise RecordConflict(
                "A stored artifact was changed after it was kept.",
                where=sha256,
                remedy="restore the folder from a back-up, or remove it and make it again",
            )

    def list(self) -> list[str]:
        """Hashes of all folders, sorted."""
        with disk_errors(_STORE, self._root):
            return sorted(p.name for p in self._root.iterdir() if _SHA256.fullmatch(p.name))

    def delete(self, sha256: str) -> None:
        """Remove a folder from the disk; one that is gone already is fine."""
        place = self._place(sha256)
        doomed = self._root / f".incoming-{os.getpid()}-{uuid.uuid4().hex}"
        with disk_errors(_STORE, self._root):
            if place.exists():
                # renamed first, so that no reader ever sees half a folder
                place.rename(doomed)
                shutil.rmtree(doomed)

    def remove_leftovers(self) -> int:
        """Remove half-written folders whose writer is dead; returns how many there were."""
        with disk_errors(_STORE, self._root):
            dead = [p for p in self._root.iterdir() if _is_left_over(p.name)]
            for path in dead:
                shutil.rmtree(path)
        return len(dead)

    @staticmethod
    def hash_folder(path: Path) -> str:
        """sha256 over the relative path and content hash of every file, in any order of listing.

        Raises:
            InputError: it is empty, or holds a link, a device or a name that is not UTF-8.
        """
        return fingerprint({n: Artifacts.hash_file(f) for n, f in _plain_files(path).items()})

    @staticmethod
    def hash_file(path: Path) -> str:
        """sha256 of a file's bytes, read as a stream."""
        with disk_errors(_STORE, path), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @staticmethod
    def hash_files(paths: Iterable[Path]) -> str:
        """sha256 over names and contents of files, in the order of their names.

        The same files under another folder have the same hash; a served model computes it without
        this repository, by the same rule.
        """
        ordered = sorted(paths, key=lambda path: path.name)
        return fingerprint_stream(f"{path.name} {Artifacts.hash_file(path)}" for path in ordered)

    def _place(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise InputError("This is no hash of an artifact.", expected="64 hexadecimal digits")
        return self._root / sha256

    def _publish(self, incoming: Path, sha256: str) -> None:
        place = self._place(sha256)
        if place.is_dir():
            return
        for folder in [incoming, *(p for p in incoming.rglob("*") if p.is_dir())]:
            flush(folder)
        try:
            incoming.replace(place)
        except OSError:
            # another process published the same content in between
            if not place.is_dir():
                raise
        flush(self._root)


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
    if not match:
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return int(match["pid"]) == os.getpid()
