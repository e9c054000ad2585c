"""A new lake where one was lost, on purpose: what is served stays, everything else is set aside."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from catalog.errors import StoreError
from catalog.records.champions import NEW_LAKE
from catalog.stores.set_aside import Aside
from flows.runs.ledger import Ledger
from flows.runs.run_record import close_run, open_run
from flows.workspace.lost_lake import LakeLost
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, open_stores, others_of, utc_now
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import InputError


def begin_new_lake(settings: Settings) -> str:
    """Begin a lake beside what still serves; in words what was lost and what stands.

    The registry stays, so that a consumer sees no change until the next promotion. What only the
    lost lake could name goes into the folder of things set aside. The first row of the new one is
    a run of its own: it says when the history was given up. Killed, the same command goes on.

    Raises:
        InputError: the lake is whole, or there is none to be lost.
        DeclarationError: the plan has faults, which are to be mended first.
    """
    declared = load_declarations(settings)
    _require_lost(settings)
    _set_aside(settings, utc_now())
    with open_stores(settings, may_be_lost=True) as stores:
        run = open_run(NEW_LAKE, at=stores.lake.now)
        workspace = Workspace(settings, declared.plan, declared.contracts, stores, run)
        ledger = Ledger()
        with ledger.step(NEW_LAKE) as step:
            step.done.append("lake")
        close_run(workspace, ledger, targets=declared.plan.target_names)
    return _told(settings)


def _require_lost(settings: Settings) -> None:
    """Raise InputError unless the lake is lost, or its catalog cannot be read."""
    try:
        others_of(settings).require_catalog()
        open_lake(settings, read_only=True).close()
    except LakeLost:
        return
    except StoreError:
        if others_of(settings).standing():
            return
        raise
    raise InputError(
        "The lake is there, so a new one is not needed.",
        where=str(settings.root),
        remedy="leave `--new-lake` out; `rpe doctor --deep` tells what is damaged",
    )


def _set_aside(settings: Settings, at: datetime) -> None:
    """Move local stores away but for the registry; the catalog last, by which it is known as lost.

    What lies in a bucket or on a server stays: `rpe maintain` removes what no row names.
    """
    aside, catalog = Aside(settings.aside_folder), Path(settings.lake.rpartition(":")[2])
    places = {
        "vectors": settings.vectors,
        "artifacts": settings.artifacts,
        "report": str(settings.report_file.parent),
        "cache": str(settings.root / "cache"),
        "lake/data": settings.lake_data,
    }
    for name, path in places.items():
        if "://" not in path:
            aside.put(Path(path), name, at=at)
    if settings.lake.startswith("ducklake:sqlite:"):
        for end in ("-wal", "-shm", ""):
            file = catalog.with_name(f"{catalog.name}{end}")
            aside.put(file, f"lake/{file.name}", at=at)


def _told(settings: Settings) -> str:
    certificates = list((settings.root / "retractions").glob("*.json"))
    text = "a new lake; what is served stays served until the next promotion"
    if certificates:
        text += (
            f". {len(certificates)} certificates in retractions/ name what was withdrawn:"
            " the new lake does not know it, so take it out of the sources before the next night"
        )
    return text
