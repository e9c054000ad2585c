"""Surroundings: what doctor looks at beside the stores - lock, extensions, permissions, clock."""

from __future__ import annotations

import os
import shutil
import stat
import zoneinfo
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import duckdb

from catalog.errors import RecordNotFound
from catalog.queries.nights import last_run_at
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.session import extension_path, extensions_of
from catalog.stores.locks import WriterLock
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, utc_now
from rpe_core.errors import RpeError

LOCK = Path(__file__).resolve().parents[2] / "infra" / "constraints.txt"
LOW_DISK_BYTES = 2 * 1024**3
CLOCK_SLACK_SECONDS = 60.0
TOLD = 5  # names of packages or files in one message
_PUBLISHED = "report"  # the folder that may be shown to others: it holds no value


def versions(lock: Path = LOCK) -> str:
    """Whether what is installed is what the lock says.

    Raises:
        RpeError: a package has another version.
    """
    if not lock.is_file():
        return "no lock beside the code, so versions are held against none"
    wanted = _locked(lock)
    there = {name: version for name in wanted if (version := _installed(name))}
    odd = [f"{n} {there[n]}, not {wanted[n]}" for n in sorted(there) if there[n] != wanted[n]]
    if odd:
        raise RpeError(
            f"{len(odd)} packages have another version than the lock says.",
            where=_some(odd),
            remedy=f"pip install --constraint {lock} with the same extras as before",
        )
    return f"{len(there)} packages as in {lock.name}"


def extensions(settings: Settings) -> str:
    """Whether DuckDB's extensions that the lake needs are installed for its version.

    Raises:
        StoreError: one is missing, with the package that brings it.
    """
    names = extensions_of(parse_catalog(settings.lake), settings.lake_data)
    for name in names:
        extension_path(name)
    return f"{', '.join(names)} for DuckDB {duckdb.__version__}"


def permissions(settings: Settings) -> str:
    """Whether the workspace can be written to by us, and read by nobody whom it does not concern.

    Raises:
        RpeError: with what to type.
    """
    for lock in (settings.night_lock, settings.writer_lock, settings.schedule_lock):
        WriterLock(lock).require_file()
    n_files, locked, shown = 0, [], []
    for location in _places(settings):
        is_reachable = _is_reachable(location)
        for path, mode in _files(location):
            n_files += 1
            if not os.access(path, os.W_OK):
                locked.append(str(path))
            if is_reachable and mode & (stat.S_IROTH | stat.S_IWOTH):
                shown.append(str(path))
    if locked:
        raise RpeError(
            f"{len(locked)} files or folders cannot be written to by this user.",
            where=_some(locked),
            remedy="chown -R them to the user that runs the night; never run it as another",
        )
    if shown:
        places = " ".join(map(str, _places(settings)))
        raise RpeError(
            f"{len(shown)} files or folders can be read or changed by every user of this machine.",
            where=_some(shown),
            remedy=f"chmod o-rwx {places}",
        )
    return f"{n_files} files and folders: ours to write, closed to others"


def clock(settings: Settings) -> str:
    """Whether the clock is not behind what it has dated before, and knows time zones.

    Raises:
        RpeError: with what to do.
    """
    if not zoneinfo.available_timezones():
        raise RpeError("There is no database of time zones.", remedy="pip install tzdata")
    now = utc_now()
    try:
        with open_lake(settings, read_only=True) as lake:
            newest = last_run_at(lake)
    except RecordNotFound:
        newest = None
    if newest is None:
        return f"{now:%Y-%m-%d %H:%M} UTC, nothing is on record yet"
    ahead = (newest - now).total_seconds()
    if ahead > CLOCK_SLACK_SECONDS:
        raise RpeError(
            f"The newest record is dated {ahead / 3600:.1f} hours from now: the clock was ahead"
            " then, or is behind now.",
            remedy="set the clock (NTP); what comes until then is dated after that record",
        )
    return f"{now:%Y-%m-%d %H:%M} UTC, newest record {max(-ahead, 0.0) / 3600:.1f} hours old"


def disk(settings: Settings) -> str:
    """Whether there is room where the stores are.

    Raises:
        RpeError: there is little.
    """
    free = {path: shutil.disk_usage(path).free for path in _places(settings)}
    low = [str(path) for path, n_bytes in free.items() if n_bytes <= LOW_DISK_BYTES]
    room = f"{min(free.values()) / 1024**3:.1f} GiB free"
    if low:
        raise RpeError(
            f"There is little disk space: {room}.",
            where=_some(low),
            expected=f"more than {LOW_DISK_BYTES / 1024**3:.0f} GiB",
            remedy="`rpe maintain` removes what no row names; move other files away",
        )
    return room


def _places(settings: Settings) -> list[Path]:
    """The workspace, and folders of stores on this machine that lie outside of it."""
    there = [Path(path) for path in settings.places if "://" not in path]
    return [path if path.exists() else path.parent for path in there]


def _files(root: Path) -> Iterator[tuple[Path, int]]:
    """Every file and folder of a place with its mode; links and what is gone meanwhile aside."""
    for folder, names, files in os.walk(root):
        if Path(folder) == root:
            names[:] = [name for name in names if name != _PUBLISHED]
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            if not stat.S_ISLNK(mode):
                yield path, mode


def _is_reachable(path: Path) -> bool:
    """Whether other users may enter the folder at all."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _locked(lock: Path) -> Mapping[str, str]:
    pairs = (line.split(";")[0].strip().split("==") for line in lock.read_text().splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _installed(name: str) -> str:
    """The version of a package, without what a build adds to it; '' if it is not there."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return ""


def _some(names: list[str]) -> str:
    more = len(names) - TOLD
    return ", ".join(names[:TOLD]) + (f" and {more} more" if more > 0 else "")
