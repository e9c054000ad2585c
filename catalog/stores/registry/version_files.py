"""The files of a model version: on a disk, in a bucket, or behind a tracking server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from catalog.stores.disk import write_whole
from catalog.stores.object_store import is_in_bucket
from catalog.stores.places import files_below

FOLDER = "model"  # of a version inside the artifacts of its run


class VersionFile(Protocol):
    """A file of a version."""

    @property
    def n_bytes(self) -> int:
        """Its size."""

    @property
    def stamp(self) -> tuple[int, ...]:
        """What changes whenever it is written; nothing where nobody can tell."""

    def opened(self) -> Any:
        """A stream of its bytes, for the length of a block."""


@dataclass(frozen=True)
class ServerFile:
    """A file behind a tracking server, fetched whenever it is read."""

    n_bytes: int
    _client: Any
    _run_id: str
    _path: str
    stamp: tuple[int, ...] = ()

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """A stream of its bytes."""
        with tempfile.TemporaryDirectory() as scratch:
            copy = self._client.download_artifacts(self._run_id, self._path, scratch)
            with Path(copy).open("rb") as stream:
                yield stream


def files_of(source: str, run_id: str, client: Any, *, root: str) -> dict[str, VersionFile]:
    """Every plain file of a version by its name.

    Args:
        source: where MLflow says that it lies.
        run_id: the run that holds it.
        client: MLflow's, for what lies behind a server.
        root: this workspace's own folder of versions; '' of a server. MLflow records absolute
            places, and those of a workspace that was copied lead to the original.
    """
    if is_in_bucket(source):
        return {file.name: file for file in files_below(source)}
    if folder := folder_of(source, run_id, root=root):
        return {file.name: file for file in files_below(str(folder))}
    return dict(_listed(client, run_id, FOLDER))


def folder_of(source: str, run_id: str, *, root: str) -> Path | None:
    """The folder of a version that lies on this machine's disks; None of one that does not."""
    if not _is_local(source):
        return None
    is_ours = root and _is_local(root) and run_id
    return _path(root) / run_id / "artifacts" / FOLDER if is_ours else _path(source)


def replace_files(target_folder: Path, folder: Path) -> None:
    """Let the files of a folder take the place of those of a version, each whole or not at all."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        target = target_folder / file.relative_to(folder)
        with write_whole(target) as part:
            shutil.copyfile(file, part)


def _listed(client: Any, run_id: str, folder: str) -> Iterator[tuple[str, VersionFile]]:
    for info in client.list_artifacts(run_id, folder):
        if info.is_dir:
            yield from _listed(client, run_id, info.path)
        else:
            name = info.path.removeprefix(f"{FOLDER}/")
            yield name, ServerFile(int(info.file_size or 0), client, run_id, info.path)


def _is_local(uri: str) -> bool:
    return urlparse(uri).scheme in ("", "file")


def _path(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path) if uri.startswith("file:") else uri)
