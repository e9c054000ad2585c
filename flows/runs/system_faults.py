"""What the operating system refuses at no door of a store, in our words: which place, and why."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from catalog.errors import StoreError
from catalog.stores.disk import FORBIDDEN, FULL, disk_full, not_allowed
from flows.workspace.settings import Settings
from rpe_core.errors import RpeError

_NO_SCRATCH = "No usable temporary directory"  # Python's words, under the number of a missing file


def system_fault(error: BaseException) -> StoreError | None:
    """Our error for one that came of a full disk or a forbidden access, or None for any other.

    The name of the file is not told, for it may be one of data; the folder that it lies in is.
    """
    for cause in () if isinstance(error, RpeError) else _chain(error):
        if not isinstance(cause, OSError):
            continue
        if _NO_SCRATCH in str(cause):
            return StoreError(
                "This user may not write to any temporary folder.",
                where="TMPDIR, /tmp, /var/tmp and the current folder",
                remedy="set TMPDIR to a folder that this user may write to, with room for a model",
            )
        if cause.errno in FULL:
            return disk_full(*_place(cause))
        if cause.errno in FORBIDDEN:
            return not_allowed(*_place(cause))
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, nearest first."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _place(error: OSError) -> tuple[str, str]:
    """The nearest place of ours that the file of an error lies in, by name and path."""
    file = error.filename if isinstance(error.filename, str) else ""
    for name, folder in _places():
        if file and Path(file).absolute().is_relative_to(folder):
            return name, str(folder)
    return "a folder outside of the workspace, or a file given to the command", ""


def _places() -> Iterator[tuple[str, Path]]:
    try:
        settings = Settings()
    except RpeError:
        settings = None
    if settings:
        yield "the folder of Prefect's server", settings.prefect_home
        yield "the folder of reports", settings.report_file.parent
        yield "the scratch folder of the workspace", settings.root / "tmp"
        yield "the workspace", settings.root
    yield "the temporary folder, which TMPDIR names", Path(tempfile.gettempdir())
    yield "the home folder of this user", Path("~").expanduser()
