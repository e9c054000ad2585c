"""Doctor: looks the workspace over, changes nothing, and says what to do about what it finds."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flows.settings import Settings
from flows.wiring import open_lake, open_registry
from flows.workspace import load_declarations
from rpe_core.errors import RpeError

PACKAGES = (
    *("prefect", "duckdb", "duckdb-extension-ducklake", "duckdb-extension-sqlite-scanner"),
    *("lancedb", "mlflow", "great-expectations", "torch", "peft", "transformers"),
)
LOW_DISK_BYTES = 2 * 1024**3


def examine(settings: Settings) -> list[dict[str, Any]]:
    """One row per check: what, status (good, bad), detail without values."""
    rows = [_row("python", sys.version_info[:2] == (3, 11), sys.version.split()[0])]
    rows += [_package(name) for name in PACKAGES]
    rows.append(_disk(settings))
    checks: dict[str, Callable[[], str]] = {
        "declarations": lambda: _declarations(settings),
        "lake": lambda: _lake(settings),
        "registry": lambda: _registry(settings),
    }
    for name, check in checks.items():
        try:
            rows.append(_row(name, True, check()))
        except RpeError as error:
            rows.append(_row(name, False, str(error)))
    return rows


def _package(name: str) -> dict[str, Any]:
    try:
        return _row(name, True, version(name))
    except PackageNotFoundError:
        return _row(name, False, "not installed; install from the lock in infra/")


def _disk(settings: Settings) -> dict[str, Any]:
    place = settings.root if settings.root.exists() else settings.root.parent
    free = shutil.disk_usage(place).free
    return _row("disk", free > LOW_DISK_BYTES, f"{free / 1024**3:.1f} GiB free")


def _declarations(settings: Settings) -> str:
    declared = load_declarations(settings)
    for error in declared.faulty.values():
        raise error
    return f"{len(declared.contracts)} contracts, {len(declared.plan.targets)} targets"


def _lake(settings: Settings) -> str:
    lake = open_lake(settings, read_only=True)
    try:
        count = lake.rows("SELECT count(*) AS n FROM core.runs")[0]["n"]
        return f"snapshot {lake.snapshot_id}, {count} runs"
    finally:
        lake.close()


def _registry(settings: Settings) -> str:
    registry = open_registry(settings)
    plan = load_declarations(settings).plan
    served = [name for name in plan.target_names if "champion" in registry.aliases(name)]
    return f"{len(served)} of {len(plan.targets)} targets have a champion"


def _row(check: str, is_good: bool, detail: str) -> dict[str, Any]:
    return {"check": check, "status": "good" if is_good else "bad", "detail": detail}
