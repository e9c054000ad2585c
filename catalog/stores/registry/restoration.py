"""Mending versions in MLflow: files in their place, and a number that it would not give again."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from catalog.errors import RecordConflict, StoreError
from catalog.stores.disk import disk_errors, flush
from catalog.stores.object_store import is_in_bucket
from catalog.stores.places import files_below
from catalog.stores.registry.connection import pages
from catalog.stores.registry.sums import SUMS, read_sums, sha256_of
from catalog.stores.registry.version_files import FOLDER, VersionFile, files_of
from rpe_core.errors import InputError

Files = Mapping[str, VersionFile]
_RUN_ID = re.compile("[0-9a-f]{32}")


def keep_sound(folder: Path, old: Files, sums_sha256: str | None) -> None:
    """Let a folder of files that were made again be what SHA256SUMS on record says, if it can.

    A file that another release writes otherwise is taken from the old ones where they are sound.
    Where that gives not every file, the folder stays as it is.
    """
    if sums_sha256 is None or sha256_of(folder / SUMS) == sums_sha256 or SUMS not in old:
        return
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch)
        try:
            _copy(old[SUMS], kept / SUMS)
            if sha256_of(kept / SUMS) != sums_sha256:
                return
            listed = read_sums((kept / SUMS).read_bytes())
        except (InputError, OSError):
            return
        if all(_kept(name, sha256, folder, old, kept) for name, sha256 in listed.items()):
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)


def _kept(name: str, sha256: str, made: Path, old: Files, out: Path) -> bool:
    """Whether a file with this hash was made, or lies there; it is copied."""
    goal = out / name
    goal.parent.mkdir(parents=True, exist_ok=True)
    if (made / name).is_file() and sha256_of(made / name) == sha256:
        shutil.copyfile(made / name, goal)
        return True
    if name not in old:
        return False
    try:
        _copy(old[name], goal)
    except (OSError, StoreError):
        return False
    return sha256_of(goal) == sha256


def _copy(file: VersionFile, goal: Path) -> None:
    with file.opened() as stream, goal.open("wb") as copy:
        shutil.copyfileobj(stream, copy)


def files_left(root: str, sums_sha256: str | None) -> Files:
    """Files of a version of which no entry tells any more, found by their SHA256SUMS."""
    if not root or "://" in root or sums_sha256 is None:
        return {}
    for sums in sorted(Path(root).glob(f"*/artifacts/{FOLDER}/{SUMS}")):
        if sha256_of(sums) == sums_sha256:
            run_id = sums.relative_to(root).parts[0]
            return files_of(str(sums.parent), run_id, None, root=root)
    return {}


def lay_files(
    client: Any,
    folder: Path,
    *,
    source: str,
    run_id: str,
    root: str,
    aside: Callable[[Path, str], None],
) -> None:
    """Put the files of a version in the place of those that lie there, which go `aside`.

    On a disk the new ones lie beside them when the old ones go. What a bucket holds is written
    over, and what does not belong to it is removed first.
    """
    if root and urlparse(root).scheme in ("", "file") and run_id:
        target = Path(urlparse(root).path if root.startswith("file:") else root)
        target = target / run_id / "artifacts" / FOLDER
        part = target.with_name(f"{FOLDER}.part")
        with disk_errors("a model version", target):
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(folder, part)
            for file in part.rglob("*"):
                flush(file)
            aside(target, f"mlartifacts/{run_id}/{FOLDER}")
            part.replace(target)
            flush(target.parent)
        return
    there = files_of(source, run_id, client, root=root)
    if set(there) - {path.relative_to(folder).as_posix() for path in folder.rglob("*")}:
        # the only way to remove files that is not bound to a local disk; behind the door of open()
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        get_artifact_repository(source).delete_artifacts()
    client.log_artifacts(run_id, str(folder), FOLDER)


def renumber(client: Any, name: str, number: int, wanted: int) -> None:
    """Give a version the number that it had: MLflow counts on from the highest.

    Raises:
        RecordConflict: another version stands under it.
        StoreError: a tracking server, which lets nobody choose a number.
    """
    if number == wanted:
        return
    store = client._get_registry_client().store
    if not hasattr(store, "ManagedSessionMaker"):
        client.delete_model_version(name, str(number))
        raise StoreError(
            "The tracking server gives no version the number that it had.",
            where=f"models:/{name}/{wanted}",
            remedy="bring back its database from a backup, or run this with that database's URI",
        )
    from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag

    with store.ManagedSessionMaker(read_only=False) as session:
        taken = session.query(SqlModelVersion).filter_by(name=name, version=wanted)
        if any(version.current_stage != STAGE_DELETED_INTERNAL for version in taken):
            raise RecordConflict(
                "The number of this version is another's.", where=f"models:/{name}/{wanted}"
            )
        tags = session.query(SqlModelVersionTag)
        tags.filter_by(name=name, version=wanted).delete(synchronize_session=False)
        taken.delete(synchronize_session=False)
        # the tags follow where the database keeps its references, else by the second statement
        for model in (SqlModelVersion, SqlModelVersionTag):
            moved = session.query(model).filter_by(name=name, version=number)
            moved.update({"version": wanted}, synchronize_session=False)


def stray_folders(client: Any, experiment_id: str, *, root: str) -> list[str]:
    """Names of folders of runs below this workspace's own root that no run of the database has.

    They are left where a database was made anew.
    """
    from mlflow.entities import ViewType  # behind the door of Registry.open(), like all of MLflow

    if not root or ("://" in root and not is_in_bucket(root)):
        return []
    if is_in_bucket(root):
        there = {file.name.partition("/")[0] for file in files_below(root)}
    else:
        there = {path.name for path in Path(root).glob("*")}
    search = partial(client.search_runs, [experiment_id], run_view_type=ViewType.ALL)
    known = {run.info.run_id for run in pages(search)}
    return sorted(name for name in there - known if _RUN_ID.fullmatch(name))


def give_up_folder(root: str, name: str, *, aside: Callable[[Path, str], None]) -> None:
    """Hand the folder of a run to `aside`; of a bucket a copy of it, before it is removed there."""
    if not is_in_bucket(root):
        aside(Path(root) / name, f"mlartifacts/{name}")
        return
    # as in `lay_files`
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = f"{root.rstrip('/')}/{name}"
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / name
        for file in files_below(uri):
            (copy / file.name).parent.mkdir(parents=True, exist_ok=True)
            _copy(file, copy / file.name)
        aside(copy, f"mlartifacts/{name}")
    get_artifact_repository(uri).delete_artifacts()
