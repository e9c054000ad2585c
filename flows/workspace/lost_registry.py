"""A lost registry: its database is gone or empty while the lake names versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from catalog.errors import StoreError
from catalog.queries.versions import count_model_versions
from catalog.stores.lake.lake import Lake
from catalog.stores.sqlite_files import MAGIC, file_of
from catalog.stores.stores import Stores
from rpe_core.errors import RpeError
from rpe_core.regular_files import open_regular


class RegistryLost(StoreError):
    """The model registry is gone, and the lake names what it held: nothing was touched."""

    def __init__(self, where: str, n_versions: int, what: str = "is gone") -> None:
        super().__init__(
            f"The database of the model registry {what}, and the lake names {n_versions} versions.",
            where=where,
            expected="the registry that holds them: no target is served without it, and a new one"
            " would give their numbers to others",
            remedy="`rpe repair` makes it again from the lake, or bring it back from the backup"
            " (Restore, in infra/runbook.md)",
        )


def require_file(tracking_uri: str, open_lake: Callable[[], Lake]) -> None:
    """Raise RegistryLost where the registry's file is none, and the lake names versions.

    A registry on a server is not looked at: whoever opens it is told.
    """
    path = file_of(tracking_uri)
    if path is None or (what := _wrong(path)) == "":
        return
    if n := _n_versions(open_lake):
        raise RegistryLost(path.name, n, what)


def require_entries(stores: Stores) -> None:
    """Raise RegistryLost where a registry has no model at all, and the lake names versions."""
    n = count_model_versions(stores.lake, is_standing=True)
    if n and not any(True for _ in stores.registry.models()):
        raise RegistryLost("the model registry", n, "is empty")


def _wrong(path: Path) -> str:
    """What is wrong with a database by its first bytes; '' if nothing is."""
    try:
        with open_regular(path) as file:
            first = file.read(len(MAGIC))
    except FileNotFoundError:
        return "is gone"
    except OSError:
        return "cannot be read"
    if not first:
        return "is empty"
    return "" if first == MAGIC else "is not what was kept"


def _n_versions(open_lake: Callable[[], Lake]) -> int:
    try:
        with open_lake() as lake:
            return count_model_versions(lake, is_standing=True)
    except RpeError:  # there is none, or an older one: whoever needs it is told
        return 0
