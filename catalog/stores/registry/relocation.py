"""Where MLflow's records point: a workspace that was moved takes its model files along."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from catalog.errors import StoreUnavailable
from catalog.stores.disk import disk_errors
from catalog.stores.sqlite_files import file_of

_WAIT_SECONDS = 60.0
_COPIED_BYTES = 1 << 18
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow(tracking_uri: str, artifacts_uri: str, *, experiment: str) -> None:
    """Let the records of a database beside its model files point there, wherever both lie now.

    MLflow keeps absolute places: without this a copy would read and write in the original. Nothing
    is changed where the database is on a server, lies elsewhere, or points there already.

    Args:
        tracking_uri: of MLflow; its tables are there.
        artifacts_uri: where files of model versions belong.
        experiment: name of the experiment whose place was the old one.

    Raises:
        StoreUnavailable: the database is in use, or cannot be written to.
    """
    path = _beside(tracking_uri, artifacts_uri)
    if path is not None:
        _point(path, artifacts_uri.rstrip("/"), experiment)


def has_moved(tracking_uri: str, artifacts_uri: str, *, experiment: str) -> bool:
    """Whether `follow` would change anything; nothing is written to find out.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    path, files = _beside(tracking_uri, artifacts_uri), artifacts_uri.rstrip("/")
    if path is None or not path.is_file():
        return False
    with _errors(path), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        former = _former(database, experiment)
    return former is not None and former != files


@contextmanager
def followed_copy(tracking_uri: str, artifacts_uri: str, *, experiment: str) -> Iterator[str]:
    """The tracking URI of a copy of the database that points to links to the model files.

    For the length of a block, and for a workspace that is only read: MLflow writes a note beside
    the files of a version whenever it loads one.
    """
    path, files = _beside(tracking_uri, artifacts_uri), Path(artifacts_uri.rstrip("/"))
    if path is None:  # on a server, or elsewhere: nothing to link to
        yield tracking_uri
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy, links = Path(scratch) / path.name, Path(scratch) / files.name
        with disk_errors("the model registry", path):
            shutil.copyfile(path, copy)
            shutil.copytree(files, links, copy_function=_link)
        _point(copy, str(links), experiment)
        yield f"sqlite:///{copy}"


def _link(origin: str, target: str) -> None:
    """A link to weights; a copy of what MLflow asks for by name, which it refuses as a link."""
    file = Path(origin)
    if file.stat().st_size > _COPIED_BYTES:
        Path(target).symlink_to(file.absolute())
    else:
        shutil.copyfile(file, target)


def _beside(tracking_uri: str, artifacts_uri: str) -> Path | None:
    """The file of a database that lies beside its model files, if it is one."""
    path = file_of(tracking_uri)
    return path if path and path.parent == Path(artifacts_uri.rstrip("/")).parent else None


def _former(database: sqlite3.Connection, experiment: str) -> str | None:
    row = database.execute(
        "SELECT artifact_location FROM experiments WHERE name = ?", [experiment]
    ).fetchone()
    return str(row[0]) if row else None


def _point(path: Path, files: str, experiment: str) -> None:
    with _errors(path), closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as database, database:
        former = _former(database, experiment)
        if former is not None and former != files:
            for table, column in _PLACES:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                    f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    [files, len(former) + 1, former, len(former) + 1, f"{former}/"],
                )


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error:
        raise StoreUnavailable(
            "MLflow's database could not be told that the workspace was moved.",
            where=str(path),
            remedy="stop whoever uses it, and check that you may write to it",
        ) from None
