"""Backup: a copy of the workspace that is proved to be whole before it counts as one."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from catalog.integrity.rows import read_chain
from catalog.stores.disk import disk_errors, flush, flush_files
from catalog.stores.locks import WriterLock
from catalog.stores.sqlite_files import SUFFIXES, copy_database
from flows.upkeep.doctor import examine
from flows.upkeep.store_checks import PROVED
from flows.workspace.locking import hold_workspace
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from rpe_core.errors import InputError, RpeError

# of the workspace's own folder: scratch, copies of objects, and Prefect's copy of core.runs; a
# source or a target may be called so too, and its folder in a store is copied
_LEFT_OUT = ("cache", "prefect", "tmp")
_LOCK, _LOGS = ".lock", ("-wal", "-shm")  # beside a database, which is copied with its log


class BackupFailed(RpeError):
    """The copy is not what the workspace is; it does not count as a backup."""


@dataclass(frozen=True)
class Backup:
    """A whole copy, and the head of the chain by which a restored one is known again."""

    folder: Path
    n_files: int
    n_bytes: int
    head: str


def back_up(settings: Settings, target: Path) -> Backup:
    """Copy a workspace to a new folder while nothing writes to it, and prove the copy.

    Every row of core is held against the chain, every file, artifact and vector hashed.
    Until that is done the folder's name ends in `.part`. To restore, copy the folder back; `rpe
    doctor --deep` proves it in the same way wherever it lies.

    Raises:
        InputError: the folder is there already, or stores lie outside of the workspace.
        WorkspaceBusy: a run holds the workspace.
        BackupFailed: the workspace, and so the copy, is not what was kept.
    """
    target = target.expanduser().absolute()
    part = target.with_name(f"{target.name}.part")
    _require_place(settings, target)
    with ExitStack() as held:
        held.enter_context(hold_workspace(settings))
        held.enter_context(WriterLock(settings.writer_lock).hold())
        head = _head(settings)
        with disk_errors("the backup", part):
            shutil.rmtree(part, ignore_errors=True)  # of one that was killed
            _copy(settings, part)
    _prove(Settings(home=part), head)
    with disk_errors("the backup", target):
        publish(part, target)
    sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    return Backup(target, len(sizes), sum(sizes), head)


def publish(part: Path, target: Path) -> None:
    """Let a proved copy count: not before every byte of it would outlast a power cut."""
    flush_files(str(part), since_ns=0)
    part.rename(target)
    flush(target.parent)


def _require_place(settings: Settings, target: Path) -> None:
    elsewhere = settings.stores_elsewhere
    if elsewhere:
        raise InputError(
            "Some stores lie outside of the workspace, where a copy of the folder has them not.",
            where=", ".join(elsewhere),
            remedy="see `Back up` in infra/runbook.md: databases by pg_dump, folders beside them",
        )
    if target.exists() or target.is_relative_to(settings.root):
        raise InputError(
            "A backup is a new folder outside of the workspace.",
            where=str(target),
            remedy="name one that is not there yet, such as one with the date",
        )


def _copy(settings: Settings, target: Path) -> None:
    """Databases by their own means, which know their logs; everything else byte by byte.

    A link where a store's folder or file should be is followed: a copy of the link would be proved
    by what it points to, and would be gone with it.
    """
    root = settings.root
    stores = {Path(store).relative_to(root).parts[0] for store in settings.store_places.values()}
    target.mkdir(mode=0o700, parents=True)
    for entry in sorted(root.iterdir()):
        is_link, goal = entry.is_symlink() and entry.name not in stores, target / entry.name
        if entry.name in _LEFT_OUT or _is_passing(entry.name):
            continue
        if is_link:
            goal.symlink_to(entry.readlink())
        elif entry.is_dir():
            shutil.copytree(
                entry,
                goal,
                symlinks=entry.name not in stores,
                copy_function=copy_file,
                ignore=lambda _, names: filter(_is_passing, names),
            )
        else:
            copy_file(str(entry), str(goal))


def _is_passing(name: str) -> bool:
    """Whether a file is there only while somebody writes.

    >>> [_is_passing(name) for name in ("night.lock", "mlflow.db-wal", "site-wal", "catalog.db")]
    [True, True, False, False]
    """
    logs = [suffix + log for suffix in SUFFIXES for log in _LOGS]
    return name.endswith((_LOCK, *logs))


def copy_file(origin: str, goal: str) -> str:
    """A file of the copy."""
    if Path(origin).suffix in SUFFIXES:
        copy_database(Path(origin), Path(goal))
    else:
        shutil.copy2(origin, goal, follow_symlinks=False)
    return goal


def _prove(copied: Settings, head: str) -> None:
    rows = examine(copied, is_deep=True)
    odd = [f"{row['check']}: {row['detail']}" for row in rows if row["status"] == "bad"]
    damages = [damage for damage in odd if damage.split(":")[0] in PROVED]
    if _head(copied) != head:
        damages.append("the head of the chain is another")
    if damages:
        raise BackupFailed(
            "The copy is not a whole workspace.",
            where=str(copied.root),
            expected=_told(damages),
            remedy="`rpe doctor --deep` on the workspace itself tells the same; keep older backups",
        )


def _told(damages: Collection[str]) -> str:
    return "none of: " + "; ".join(damages)


def _head(settings: Settings) -> str:
    with open_lake(settings, read_only=True) as lake:
        head = read_chain(lake).head
    return f"{head['link_sha256']} of {head['run_id']}" if head else "no run is on record"
