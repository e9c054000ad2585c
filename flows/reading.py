"""Reading: rows of the lake for a person, on a read-only attachment that takes no lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.settings import Settings, require_workspace
from flows.wiring import open_lake
from rpe_core.errors import InputError


def read_rows_of(
    settings: Settings, sql: str, parameters: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """Rows of one of our own queries.

    Raises:
        InputError: if the workspace has no lake yet.
    """
    require_lake(settings)
    lake = open_lake(settings, read_only=True)
    try:
        return lake.rows(sql, parameters)
    finally:
        lake.close()


def require_lake(settings: Settings) -> None:
    """Raise InputError if the workspace has no lake yet."""
    require_workspace(settings)
    if not settings.has_lake:
        raise InputError(
            "There is no lake here yet.",
            where=str(settings.root),
            remedy="`rpe init` makes what is missing; RPE_HOME names another place",
        )
