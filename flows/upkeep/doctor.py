"""Doctor: looks the workspace over, changes nothing, and says what to do about what it finds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from catalog.stores.places import require_forgetting
from flows.upkeep import machine_checks
from flows.upkeep.store_checks import check_store, prove, row_of
from flows.workspace.settings import Settings, require_workspace
from flows.workspace.stores import leaving_no_trace
from flows.workspace.workspace import load_declarations

PACKAGES = (
    *("prefect", "duckdb", "duckdb-extension-ducklake", "duckdb-extension-sqlite-scanner"),
    *("lancedb", "mlflow", "great-expectations", "torch", "peft", "transformers"),
)
BAD, WORKSPACE = "bad", "workspace"

PYTHONS = ((3, 11), (3, 12), (3, 13))  # as `requires-python` of pyproject.toml has them


def examine(settings: Settings, *, is_deep: bool = False) -> list[dict[str, Any]]:
    """One row per check: what, status (good, bad), detail without values.

    What is not what was kept has a row of its own. `is_deep` hashes every file and vector too.
    """
    rows = [row_of("python", sys.version_info[:2] in PYTHONS, sys.version.split()[0])]
    rows += [_package(name) for name in PACKAGES]
    rows += _checked(
        {
            "lock": machine_checks.versions,
            "extensions": lambda: machine_checks.extensions(settings),
            WORKSPACE: lambda: _workspace(settings),
        }
    )
    if rows[-1]["status"] == BAD:  # nothing else is there to be looked at
        return rows
    checks: dict[str, Callable[[], str]] = {
        "disk": lambda: machine_checks.disk(settings),
        "permissions": lambda: machine_checks.permissions(settings),
        "declarations": lambda: _declarations(settings),
        "places": lambda: _places(settings),
    }
    with leaving_no_trace(settings):
        rows += _checked(checks) + prove(settings, is_deep=is_deep)
        if any(row["check"] == "lake" and row["status"] != BAD for row in rows):
            rows += _checked({"clock": lambda: machine_checks.clock(settings)})
        return rows


def _checked(checks: Mapping[str, Callable[[], str]]) -> list[dict[str, Any]]:
    """A row for each check: what it says, or what it raises."""
    return [
        row for name, check in checks.items() for row in check_store(name, partial(_only, check))
    ]


def _only(check: Callable[[], str]) -> tuple[str, tuple[()]]:
    return check(), ()


def _workspace(settings: Settings) -> str:
    require_workspace(settings)
    return str(settings.root)


def _package(name: str) -> dict[str, Any]:
    try:
        return row_of(name, True, version(name))
    except PackageNotFoundError:
        return row_of(name, False, "not installed; install from the lock in infra/")


def _declarations(settings: Settings) -> str:
    declared = load_declarations(settings)
    for error in declared.faulty.values():
        raise error
    return f"{len(declared.contracts)} contracts, {len(declared.plan.targets)} targets"


def _places(settings: Settings) -> str:
    for path in settings.places:
        require_forgetting(path)
    return ", ".join(settings.places)
