"""Repair: what the lake and the artifacts can make again is made again; the rest is named.

Each store is mended from those before it: artifacts from rows, vectors from rows, the registry from
both. What takes the place of a damaged thing is whole, and has the hash on record, before that is
moved aside. Killed at any point, the same command goes on: it looks at the stores and not at what
it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from catalog import damage, promotion
from catalog.damage_of_vectors import damage_of_tables
from catalog.damaged import BACKUP, GONE, REPAIR, Damage
from catalog.report.page import is_written
from catalog.stores.bundle import Stores
from catalog.stores.lake import Lake
from catalog.stores.set_aside import Aside
from flows import mend_artifacts, mend_registry, mend_vectors
from flows.alerts import watch
from flows.consumers import tell_consumers
from flows.ledger import Ledger, Step, safe_message
from flows.locking import hold_workspace
from flows.mending import Mending, NotMended
from flows.progress import announce
from flows.run_record import close_run, open_run
from flows.settings import Settings
from flows.settling import settle
from flows.verify import verify
from flows.wiring import (
    leaving_no_trace,
    open_artifacts,
    open_lake,
    open_registry,
    open_vectors,
    utc_now,
)
from flows.workspace import Workspace, load_declarations
from rpe_core.errors import RpeError

FLOW = "repair"
RESTORED = promotion.RESTORED
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

    def tell(self, found: Damage, outcome: str, how: str) -> None:
        """Add a row about something that is damaged."""
        what = f"{found.where} {found.what}"
        self.rows.append(
            {"store": found.store, "what": what, "outcome": outcome, "how": how, "cost": found.cost}
        )


def repair(settings: Settings) -> Repaired:
    """Mend a workspace; what was mended and what only a backup can bring.

    Raises:
        WorkspaceBusy: another run holds it.
        LakeLost: there is no lake that could tell what is to be mended.
        DeclarationError: the plan has faults.
    """
    declared = load_declarations(settings)
    with hold_workspace(settings), closing(open_lake(settings)) as lake:
        lake.migrate()
        mending, told = Mending(Aside(settings.aside_folder), utc_now()), Repaired()
        run, ledger = open_run(FLOW, at=lake.now), Ledger()
        with ledger.step("stores") as step:
            stores = _opened(settings, lake, mending, told, step)
        workspace = Workspace(settings, declared.plan, declared.contracts, stores, run)
        for found in _lake_damage(lake):
            told.tell(found, LEFT, BACKUP)
        for name, mend in _STEPS.items():
            with ledger.step(name) as step:
                mend(workspace, mending, told, step)
        _let_serve(workspace, ledger, told)
        settle(stores)
        _close(workspace, ledger, told)
    return told


def foretell(settings: Settings) -> Repaired:
    """What `repair` would do, and what needs a backup; nothing is written.

    Raises:
        LakeLost, DeclarationError: as `repair`.
    """
    load_declarations(settings)
    told = Repaired()
    with (
        leaving_no_trace(settings),
        TemporaryDirectory() as scratch,
        closing(open_lake(settings, read_only=True)) as lake,
    ):
        lake.require_current()
        for found in _lake_damage(lake):
            told.tell(found, LEFT, BACKUP)
        for found in _artifacts_seen(settings, lake):
            told.tell(found, TO_DO, mend_artifacts.foretell(found))
        for found in _vectors_seen(settings, lake, Path(scratch)):
            told.tell(found, TO_DO, mend_vectors.foretell(found))
        for found in _registry_seen(settings, lake):
            told.tell(found, TO_DO, mend_registry.FORETOLD)
        if not is_written(lake, settings.report_file):
            told.tell(_report_damage(), TO_DO, "written again from the lake")
    return told


def _opened(settings: Settings, lake: Lake, mending: Mending, told: Repaired, step: Step) -> Stores:
    """All stores, after what cannot be opened has been moved out of the way."""
    if what := mend_registry.damage_of_database(settings):
        mend_registry.give_up_database(settings, mending)
        told.tell(_database_damage(what), DONE, "made anew; its versions follow")
        step.done.append(mend_registry.DATABASE)
    stores = Stores(
        lake=lake,
        vectors=open_vectors(settings),
        registry=open_registry(settings, is_new=True),
        artifacts=open_artifacts(settings),
    )
    for name in stores.vectors.unreadable():
        stores.vectors.give_up(name, aside=mending.aside)
        told.tell(_table_damage(name), DONE, "moved aside; its vectors follow")
        step.done.append(name)
    return stores


def _mend_artifacts(workspace: Workspace, mending: Mending, told: Repaired, step: Step) -> None:
    stores = workspace.stores
    found = damage.damage_of_artifacts(stores.lake, stores.artifacts, is_deep=True)
    for number, one in enumerate(mend_artifacts.in_order(found), start=1):
        announce("repair", one.ids[0], number, len(found))
        with _one(one, told, step) as how:
            how.append(mend_artifacts.mend(workspace, one, mending))


def _write_tables_again(stores: Stores, mending: Mending, told: Repaired, step: Step) -> None:
    """Tables of which a file is not what was kept get new ones."""
    for one in mend_vectors.by_table(damage_of_tables(stores.lake, stores.vectors, is_deep=True)):
        with _one(one, told, step) as how:
            stores.vectors.write_again(one.ids[0], aside=mending.aside)
            how.append(mend_vectors.WRITTEN)


def _mend_vectors(workspace: Workspace, mending: Mending, told: Repaired, step: Step) -> None:
    stores = workspace.stores
    _write_tables_again(stores, mending, told, step)
    found = damage.damage_of_vectors(stores.lake, stores.vectors, is_deep=True)
    found = [one for one in found if not mend_vectors.is_of_file(one)]
    by_id: dict[str, Damage] = {}
    for one in sorted(found, key=lambda one: one.what != GONE):  # what is changed counts
        by_id |= dict.fromkeys(mend_vectors.lost(workspace, one.ids), one)
    for number, (name, one) in enumerate(sorted(by_id.items()), start=1):
        announce("repair", name, number, len(by_id))
        its_own = replace(one, where=f"The vector of {name}", ids=(name,))
        with _one(its_own, told, step) as how:
            how.append(mend_vectors.mend(workspace, name, is_there=one.what == GONE))


def _mend_registry(workspace: Workspace, mending: Mending, told: Repaired, step: Step) -> None:
    stores = workspace.stores
    found = damage.damage_of_registry(stores.lake, stores.registry, is_deep=True)
    by_id = {one.ids[0]: one for one in found}
    rows = mend_registry.rows_of(workspace, list(by_id))
    for number, row in enumerate(rows, start=1):
        uri = f"models:/{row['model_name']}/{row['model_version']}"
        announce("repair", uri, number, len(rows))
        with _one(by_id[uri], told, step) as how:
            how.append(mend_registry.mend(workspace, row, mending))
    if n_left := stores.registry.give_up_strays(aside=mending.aside):
        step.done.append(f"{n_left} folders of versions without an entry moved aside")
    _mend_aliases(workspace, told, step)


def _mend_aliases(workspace: Workspace, told: Repaired, step: Step) -> None:
    """Aliases, and what registered models say of themselves, as the night would."""
    one = Damage("registry", "Aliases", "are not what core.promotions says", (), "", REPAIR)
    try:
        mended = promotion.repair_aliases(workspace.stores)
        if step.done:
            tell_consumers(workspace)
    except RpeError as error:
        told.tell(one, LEFT, f"{error.what} {BACKUP}")
        return
    for name in mended:
        told.tell(Damage("registry", name, "was another"), DONE, "set as core.promotions says")
    step.done += mended


def _mend_report(workspace: Workspace, _: Mending, told: Repaired, step: Step) -> None:
    """Nothing but its name: whoever closes the run writes it."""
    if not is_written(workspace.stores.lake, workspace.settings.report_file):
        told.tell(_report_damage(), DONE, "written again from the lake")
        step.done.append("report")


_STEPS: dict[str, Callable[[Workspace, Mending, Repaired, Step], None]] = {
    "artifacts": _mend_artifacts,
    "vectors": _mend_vectors,
    "registry": _mend_registry,
    "report": _mend_report,
}


@contextmanager
def _one(found: Damage, told: Repaired, step: Step) -> Iterator[list[str]]:
    """Account for one thing: made again, in the words that the block gives, or left and why."""
    how: list[str] = []
    try:
        yield how
    except NotMended as error:
        told.tell(found, LEFT, f"It cannot be made again: {error.what}. {BACKUP}")
    except RpeError as error:
        told.tell(found, LEFT, f"It cannot be made again: {error.what} {BACKUP}")
    except Exception as error:  # whatever a driver says may hold values
        told.tell(found, LEFT, f"It cannot be made again: {safe_message(error)}. {BACKUP}")
    else:
        told.tell(found, DONE, "; ".join(how))
        step.done.append(found.ids[0] if found.ids else found.where)


def _let_serve(workspace: Workspace, ledger: Ledger, told: Repaired) -> None:
    """Let a champion serve again that damage took away, as the next night would."""
    lake, is_done = workspace.stores.lake, any(step.done for step in ledger.steps)
    if not is_done and not any(one.withdrawn for one in promotion.serving(lake).values()):
        return
    verify(workspace, ledger)
    for name in [name for step in ledger.steps if step.name == "verify" for name in step.done]:
        if name.endswith(RESTORED):
            target = name.removesuffix(RESTORED).strip()
            one = Damage("registry", f"The champion of {target}", "was withdrawn", (target,))
            told.tell(one, DONE, "it is sound, and serves again")


def _close(workspace: Workspace, ledger: Ledger, told: Repaired) -> None:
    """Put the run on record if it did something; alerts stand as they stood."""
    if not any(step.done for step in ledger.steps):
        return
    watch(workspace, ledger, (), plan=workspace.plan)
    summary = close_run(workspace, ledger, targets=workspace.plan.target_names)
    told.run_id = summary.run_id


def _lake_damage(lake: Lake) -> Sequence[Damage]:
    return damage.damage_of_lake(lake, is_deep=True)


def _artifacts_seen(settings: Settings, lake: Lake) -> list[Damage]:
    look = partial(open_artifacts, settings, read_only=True)
    return _seen(
        "artifacts",
        lambda: damage.damage_of_artifacts(lake, look(), is_deep=True),
    )


def _vectors_seen(settings: Settings, lake: Lake, parts: Path) -> list[Damage]:
    def look() -> list[Damage]:
        vectors = open_vectors(settings, read_only=True, parts=parts)
        broken = [_table_damage(name) for name in vectors.unreadable()]
        return broken or damage.damage_of_vectors(lake, vectors, is_deep=True)

    return _seen("vectors", look)


def _registry_seen(settings: Settings, lake: Lake) -> list[Damage]:
    if what := mend_registry.damage_of_database(settings):
        return [_database_damage(what)]
    look = partial(open_registry, settings, read_only=True)
    return _seen(
        "registry",
        lambda: damage.damage_of_registry(lake, look(), is_deep=True),
    )


def _seen(store: str, look: Callable[[], list[Damage]]) -> list[Damage]:
    """What a finder finds; a store that cannot even be opened is one thing."""
    try:
        return look()
    except RpeError:
        return [Damage(store, f"The store of {store}", "cannot be opened, or is gone", (store,))]


def _database_damage(what: str) -> Damage:
    cost = "No version is known, no alias: nothing is served"
    return Damage("registry", mend_registry.DATABASE, what, (), cost, REPAIR)


def _table_damage(name: str) -> Damage:
    cost = "No target can be held against what is filed there"
    return Damage("vectors", f"Table {name}", "cannot be read", (), cost, REPAIR)


def _report_damage() -> Damage:
    return Damage("report", "The report page", "is gone", (), "", REPAIR)
