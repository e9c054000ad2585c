"""Doctor: looks the workspace over, changes nothing, and says what to do about what it finds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from catalog import intents
from catalog.damage_of_artifacts import damage_of_artifacts, measure_artifacts
from catalog.damage_of_lake import damage_of_lake, measure_files
from catalog.damage_of_vectors import count_unhashed, damage_of_vectors
from catalog.damaged import Damage
from catalog.errors import RecordNotFound
from catalog.integrity import Finding, at_of, read_chain
from catalog.promotion import CHAMPION
from catalog.stores.places import require_forgetting
from flows import surroundings
from flows.locking import is_free
from flows.settings import Settings, require_workspace
from flows.wiring import (
    leaving_no_trace,
    open_artifacts,
    open_lake,
    open_registry,
    open_vectors,
)
from flows.workspace import load_declarations
from rpe_core.errors import RpeError

PACKAGES = (
    *("prefect", "duckdb", "duckdb-extension-ducklake", "duckdb-extension-sqlite-scanner"),
    *("lancedb", "mlflow", "great-expectations", "torch", "peft", "transformers"),
)
PROVED = (
    "declarations",
    "lake",
    "registry",
    "files",
    "vectors",
    "records",
    "artifacts",
)  # of a copy too
BAD, WORKSPACE = "bad", "workspace"
RESTORE = "restore it from a back-up, or withdraw what was made of it"


def examine(settings: Settings, *, is_deep: bool = False) -> list[dict[str, Any]]:
    """One row per check: what, status (good, bad), detail without values.

    What was edited has a row of its own. `is_deep` hashes every artifact too.
    """
    rows = [_row("python", sys.version_info[:2] == (3, 11), sys.version.split()[0])]
    rows += [_package(name) for name in PACKAGES]
    rows += _checked(
        {
            "lock": surroundings.versions,
            "extensions": lambda: surroundings.extensions(settings),
            WORKSPACE: lambda: _workspace(settings),
        }
    )
    if rows[-1]["status"] == BAD:  # nothing else is there to be looked at
        return rows
    with leaving_no_trace(settings):
        return rows + _stores(settings, is_deep=is_deep)


def _stores(settings: Settings, *, is_deep: bool) -> list[dict[str, Any]]:
    """A row for each thing that a workspace has."""
    checks: dict[str, Callable[[], str]] = {
        "disk": lambda: surroundings.disk(settings),
        "permissions": lambda: surroundings.permissions(settings),
        "clock": lambda: surroundings.clock(settings),
        "declarations": lambda: _declarations(settings),
        "places": lambda: _places(settings),
        "lake": lambda: _lake(settings),
        "registry": lambda: _registry(settings),
        "intents": lambda: _intents(settings),
    }
    return (
        _checked(checks)
        + _found("files", lambda: _files(settings, is_deep=is_deep))
        + _found("vectors", lambda: _vectors(settings, is_deep=is_deep))
        + _found("records", lambda: _records(settings))
        + _found("artifacts", lambda: _artifacts(settings, is_deep=is_deep))
    )


def _checked(checks: Mapping[str, Callable[[], str]]) -> list[dict[str, Any]]:
    """A row for each check: what it says, or what it raises."""
    rows = []
    for name, check in checks.items():
        try:
            rows.append(_row(name, True, check()))
        except RpeError as error:
            rows.append(_row(name, False, str(error)))
    return rows


def _workspace(settings: Settings) -> str:
    require_workspace(settings)
    return str(settings.root)


def _found(
    name: str, look: Callable[[], tuple[str, Sequence[Finding | Damage]]]
) -> list[dict[str, Any]]:
    """A row for each thing that is not what was kept, then one about all."""
    try:
        detail, findings = look()
    except RpeError as error:
        return [_row(name, False, str(error))]
    odd = [_row(name, False, _told(found)) for found in findings]
    return [*odd, _row(name, not odd, detail)]


def _told(found: Finding | Damage) -> str:
    return str(found) if isinstance(found, Damage) else f"{found}; {RESTORE}"


def _package(name: str) -> dict[str, Any]:
    try:
        return _row(name, True, version(name))
    except PackageNotFoundError:
        return _row(name, False, "not installed; install from the lock in infra/")


def _declarations(settings: Settings) -> str:
    declared = load_declarations(settings)
    for error in declared.faulty.values():
        raise error
    return f"{len(declared.contracts)} contracts, {len(declared.plan.targets)} targets"


def _places(settings: Settings) -> str:
    for place in settings.places:
        require_forgetting(place)
    return ", ".join(settings.places)


def _lake(settings: Settings) -> str:
    lake = open_lake(settings, read_only=True)
    try:
        count = lake.rows("SELECT count(*) AS n FROM core.runs")[0]["n"]
        return f"snapshot {lake.snapshot_id}, {count} runs"
    finally:
        lake.close()


def _files(settings: Settings, *, is_deep: bool) -> tuple[str, Sequence[Damage]]:
    with open_lake(settings, read_only=True) as lake:
        there, found = measure_files(lake), damage_of_lake(lake, is_deep=is_deep)
    size = f"{there.n_files} files of the lake, {there.n_bytes:,} bytes"
    parts = [f"{size} read and hashed" if is_deep else f"{size}, there and of their size"]
    if there.n_unhashed:
        parts.append(f"the hash of {there.n_unhashed} is not on record yet: the next run takes it")
    if there.extra:
        parts.append(f"{len(there.extra)} more that no commit names, such as {there.extra[0]}")
    return "; ".join(parts), found


def _vectors(settings: Settings, *, is_deep: bool) -> tuple[str, Sequence[Damage]]:
    with open_lake(settings, read_only=True) as lake:
        n = lake.rows("SELECT count(*) AS n FROM core.representations")[0]["n"]
        n_unhashed = count_unhashed(lake)
        try:
            vectors = open_vectors(settings, read_only=True)
        except RecordNotFound:
            vectors = None
        found = damage_of_vectors(lake, vectors, is_deep=is_deep)
    told = f"{n} representations with their vectors" + (" read and hashed" if is_deep else "")
    if n_unhashed:
        told += f"; {n_unhashed} from before their hash was on record are held against their length"
    return told, found


def _intents(settings: Settings) -> str:
    with open_lake(settings, read_only=True) as lake:
        found, left = intents.open_intents(lake), intents.left_behind(lake)
    if left and is_free(settings):
        raise RpeError(
            f"{len(left)} records were begun and not finished since {at_of(asdict(left[0]))}.",
            where=", ".join(sorted({one.run_id for one in left})),
            remedy="`rpe maintain` or the next `rpe nightly` finishes or undoes them",
        )
    return f"{len(found)} records are being written"


def _records(settings: Settings) -> tuple[str, Sequence[Finding]]:
    with open_lake(settings, read_only=True) as lake:
        chain = read_chain(lake)
    head = (
        f", head {chain.head['link_sha256'][:12]} of {chain.head['run_id']}" if chain.head else ""
    )
    amended = f", {chain.n_amended} commits amended" if chain.n_amended else ""
    detail = f"{chain.n_rows} rows read under {chain.n_links} links{head}{amended}"
    return f"{detail}, {chain.n_open} rows not sealed yet", chain.findings


def _artifacts(settings: Settings, *, is_deep: bool) -> tuple[str, Sequence[Damage]]:
    store = open_artifacts(settings, read_only=True)
    with open_lake(settings, read_only=True) as lake:
        measured = measure_artifacts(lake, store)
        found = damage_of_artifacts(lake, store, is_deep=is_deep)
    size = f"{measured.n_folders} folders, {measured.n_bytes:,} bytes"
    told = "read and hashed" if is_deep else "not read: `rpe doctor --deep` hashes them"
    return f"{size}{' ' if is_deep else ', '}{told}", found


def _registry(settings: Settings) -> str:
    registry = open_registry(settings, read_only=True)
    plan = load_declarations(settings).plan
    served = [name for name in plan.target_names if CHAMPION in registry.aliases(name)]
    return f"{len(served)} of {len(plan.targets)} targets have a champion"


def _row(check: str, is_good: bool, detail: str) -> dict[str, Any]:
    return {"check": check, "status": "good" if is_good else BAD, "detail": detail}
