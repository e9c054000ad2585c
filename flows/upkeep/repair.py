"""Repair: what the lake and the artifacts can make again is made again; the rest is named.

Each store is mended from those before it: artifacts from rows, vectors from rows, the registry from
both. What takes the place of a damaged thing is whole, and has the hash on record, before that is
moved aside. Killed at any point, the same command goes on: it looks at the stores and not at what
it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from catalog.integrity.artifacts import damage_of_artifacts
from catalog.integrity.damage import BACKUP, GONE, REPAIR, Damage
from catalog.integrity.lake_files import damage_of_lake
from catalog.integrity.registry import damage_of_registry
from catalog.integrity.vectors import damage_of_tables, damage_of_vectors
from catalog.records import promotion
from catalog.records.champions import RESTORED, serving_by_target
from catalog.report.page import is_written
from catalog.stores.lake.lake import Lake
from catalog.stores.set_aside import Aside
from catalog.stores.stores import Stores
from flows.runs.ledger import Ledger, StepRecord, safe_message
from flows.runs.progress import announce
from flows.runs.run_record import close_run, open_run
from flows.steps.registered_models import tell_consumers
from flows.upkeep import remake_artifacts, remake_vectors
from flows.upkeep.alerts import watch
from flows.upkeep.crash_recovery import settle
from flows.upkeep.repair_preview import (
    ANEW,
    MOVED,
    SERVES_AGAIN,
    database_damage,
    fates,
    table_damage,
    vector_damage,
    withdrawn_damage,
)
from flows.verification import restore_versions
from flows.verification.champions import verify
from flows.verification.repair_parts import Mending, NotMended
from flows.verification.sound_version import as_far_as_told
from flows.workspace.locking import hold_workspace
from flows.workspace.settings import Settings
from flows.workspace.stores import (
    leaving_no_trace,
    open_artifacts,
    open_lake,
    open_registry,
    open_vectors,
    utc_now,
)
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import RpeError

FLOW = "repair"
TO_DO, DONE, LEFT = "would be made again", "made again", "left"
Row = dict[str, Any]


@dataclass
class Repaired:
    """What was found, one row each; `run_id` is '' where nothing was done."""

    rows: list[Row] = field(default_factory=list)
    run_id: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left that a backup must bring."""
        return all(row["outcome"] != LEFT for row in self.rows)

    def tell(self, damage: Damage, outcome: str, how: str) -> None:
        """Add a row about something that is damaged."""
        what = f"{damage.where} {damage.what}"
        self.rows.append(
            {
                "store": damage.store,
                "what": what,
                "outcome": outcome,
                "how": how,
                "cost": damage.cost,
            }
        )


def repair(settings: Settings) -> Repaired:
    """Mend a workspace; what was mended and what only a backup can bring.

    Raises:
        WorkspaceBusy: another run holds it.
        LakeLost: there is no lake that could tell what is to be mended.
        DeclarationError: the plan has faults.
    """
    declared = load_declarations(settings)
    with hold_workspace(settings), open_lake(settings) as lake:
        lake.migrate()
        mending, repaired = Mending(Aside(settings.aside_folder), utc_now()), Repaired()
        run, ledger = open_run(FLOW, at=lake.now), Ledger()
        with ledger.step("stores") as step:
            stores = _opened(settings, lake, mending, repaired, step)
        workspace = Workspace(settings, declared.plan, declared.contracts, stores, run)
        for damage in damage_of_lake(lake, is_deep=True):
            repaired.tell(damage, LEFT, damage.remedy)
        for name, mend in _STEPS.items():
            with ledger.step(name) as step:
                mend(workspace, mending, repaired, step)
        _let_serve(workspace, ledger, repaired)
        settle(stores)
        _close(workspace, ledger, repaired)
    return repaired


def foretell(settings: Settings) -> Repaired:
    """What `repair` would do, and what needs a backup; nothing is written.

    Raises:
        LakeLost, DeclarationError: as `repair`.
    """
    declared, planned = load_declarations(settings), Repaired()
    with (
        leaving_no_trace(settings),
        TemporaryDirectory() as scratch,
        open_lake(settings, read_only=True) as lake,
        as_far_as_told(lake),
    ):
        for damage, is_left, how in fates(settings, lake, declared.contracts, Path(scratch)):
            planned.tell(damage, LEFT if is_left else TO_DO, how)
        if not is_written(lake, settings.report_file):
            planned.tell(_report_damage(), TO_DO, "written again from the lake")
    return planned


def _opened(
    settings: Settings, lake: Lake, mending: Mending, repaired: Repaired, step: StepRecord
) -> Stores:
    """All stores, after what cannot be opened has been moved out of the way."""
    if what := restore_versions.damage_of_database(settings):
        restore_versions.give_up_database(settings, mending)
        repaired.tell(database_damage(what), DONE, ANEW)
        step.done.append(restore_versions.DATABASE)
    stores = Stores(
        lake=lake,
        vectors=open_vectors(settings),
        registry=open_registry(settings, is_new=True),
        artifacts=open_artifacts(settings),
    )
    for name in stores.vectors.unreadable():
        stores.vectors.give_up(name, aside=mending.aside)
        repaired.tell(table_damage(name), DONE, MOVED)
        step.done.append(name)
    return stores


def _mend_artifacts(
    workspace: Workspace, mending: Mending, repaired: Repaired, step: StepRecord
) -> None:
    stores = workspace.stores
    damages = damage_of_artifacts(stores.lake, stores.artifacts, is_deep=True)
    for number, damage in enumerate(remake_artifacts.in_order(damages), start=1):
        announce("repair", damage.ids[0], number, len(damages))
        with _one(damage, repaired, step) as how:
            how.append(remake_artifacts.mend(workspace, damage, mending))


def _write_tables_again(
    stores: Stores, mending: Mending, repaired: Repaired, step: StepRecord
) -> None:
    """Tables of which a file is not what was kept get new ones."""
    for damage in remake_vectors.by_table(
        damage_of_tables(stores.lake, stores.vectors, is_deep=True)
    ):
        with _one(damage, repaired, step) as how:
            stores.vectors.write_again(damage.ids[0], aside=mending.aside)
            how.append(remake_vectors.WRITTEN)


def _mend_vectors(
    workspace: Workspace, mending: Mending, repaired: Repaired, step: StepRecord
) -> None:
    stores = workspace.stores
    _write_tables_again(stores, mending, repaired, step)
    damages = damage_of_vectors(stores.lake, stores.vectors, is_deep=True)
    lost = remake_vectors.by_id(stores.lake, damages)
    for number, (name, damage) in enumerate(lost, start=1):
        announce("repair", name, number, len(lost))
        with _one(vector_damage(damage, name), repaired, step) as how:
            how.append(remake_vectors.mend(workspace, name, is_there=damage.what == GONE))


def _mend_registry(
    workspace: Workspace, mending: Mending, repaired: Repaired, step: StepRecord
) -> None:
    stores = workspace.stores
    damages = damage_of_registry(stores.lake, stores.registry, is_deep=True)
    by_id = {damage.ids[0]: damage for damage in damages}
    rows = restore_versions.rows_of(stores.lake, list(by_id))
    for number, row in enumerate(rows, start=1):
        uri = f"models:/{row['model_name']}/{row['model_version']}"
        announce("repair", uri, number, len(rows))
        with _one(by_id[uri], repaired, step) as how:
            how.append(restore_versions.mend(workspace, row, mending))
    if n_left := stores.registry.give_up_strays(aside=mending.aside):
        step.done.append(f"{n_left} folders of versions without an entry moved aside")
    _mend_aliases(workspace, [damage for damage in damages if "@" in damage.ids[0]], repaired, step)


def _mend_aliases(
    workspace: Workspace, apart: list[Damage], repaired: Repaired, step: StepRecord
) -> None:
    """Aliases, and what registered models say of themselves, as the night would."""
    try:
        step.done += promotion.repair_aliases(workspace.stores)
        if step.done:
            tell_consumers(workspace)
    except RpeError as error:
        for damage in apart:
            repaired.tell(damage, LEFT, f"{error.what} {BACKUP}")
        return
    for damage in apart:
        repaired.tell(damage, DONE, restore_versions.SET)


def _mend_report(workspace: Workspace, _: Mending, repaired: Repaired, step: StepRecord) -> None:
    """Nothing but its name: whoever closes the run writes it."""
    if not is_written(workspace.stores.lake, workspace.settings.report_file):
        repaired.tell(_report_damage(), DONE, "written again from the lake")
        step.done.append("report")


_STEPS: dict[str, Callable[[Workspace, Mending, Repaired, StepRecord], None]] = {
    "artifacts": _mend_artifacts,
    "vectors": _mend_vectors,
    "registry": _mend_registry,
    "report": _mend_report,
}


@contextmanager
def _one(damage: Damage, repaired: Repaired, step: StepRecord) -> Iterator[list[str]]:
    """Account for one thing: made again, in the words that the block gives, or left and why."""
    how: list[str] = []
    try:
        yield how
    except NotMended as error:
        repaired.tell(damage, LEFT, f"It cannot be made again: {error.what}. {BACKUP}")
    except RpeError as error:
        repaired.tell(damage, LEFT, f"It cannot be made again: {error.what} {BACKUP}")
    except Exception as error:  # whatever a driver says may hold values
        repaired.tell(damage, LEFT, f"It cannot be made again: {safe_message(error)}. {BACKUP}")
    else:
        repaired.tell(damage, DONE, "; ".join(how))
        step.done.append(damage.ids[0] if damage.ids else damage.where)


def _let_serve(workspace: Workspace, ledger: Ledger, repaired: Repaired) -> None:
    """Let a champion serve again that damage took away, as the next night would."""
    lake, is_done = workspace.stores.lake, any(step.done for step in ledger.steps)
    if not is_done and not any(serving.withdrawn for serving in serving_by_target(lake).values()):
        return
    verify(workspace, ledger)
    for name in [name for step in ledger.steps if step.name == "verify" for name in step.done]:
        if name.endswith(RESTORED):
            target = name.removesuffix(RESTORED).strip()
            repaired.tell(withdrawn_damage(target), DONE, SERVES_AGAIN)


def _close(workspace: Workspace, ledger: Ledger, repaired: Repaired) -> None:
    """Put the run on record if it did something; alerts stand as they stood."""
    if not any(step.done for step in ledger.steps):
        return
    watch(workspace, ledger, (), plan=workspace.plan)
    summary = close_run(workspace, ledger, targets=workspace.plan.target_names)
    repaired.run_id = summary.run_id


def _report_damage() -> Damage:
    return Damage("report", "The report page", "is gone", (), "", REPAIR)
