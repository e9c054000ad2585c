"""Retract: plan what a source or dataset version touched, withdraw it, erase it, build again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.workspace.settings import (
    Settings,  # first: it switches telemetry off before Prefect is imported
)

# isort: split
from catalog.contracts.contract import SourceContract
from catalog.queries.ensemble_record import count_ensemble_kinds
from catalog.queries.nights import steps_done
from catalog.readers.formats import delivery_sha256, list_deliveries
from catalog.retraction import retraction
from catalog.retraction.influence import (
    Influence,
    count_disagreeing,
    influence_of,
    own_bytes,
    subject_of,
)
from catalog.retraction.retraction import CERTIFIED, Retraction
from catalog.stores.stores import Stores
from flows.night.nightly import run_night
from flows.runs.processes import this_process
from flows.runs.run_record import Summary, open_run
from flows.upkeep.retraction_steps import recover_and_open_stores, steps_of
from flows.workspace.locking import hold_workspace
from flows.workspace.stores import open_stores, open_to_look
from flows.workspace.workspace import Declarations, load_declarations
from rpe_core.errors import InputError

Row = dict[str, Any]


@dataclass(frozen=True)
class Retracted:
    """A retraction with its certificate, and the run that built again what it influenced."""

    retraction_id: str
    certificate: Mapping[str, Any]  # empty while something is still to be built again
    summary: Summary | None  # None where it was certified before
    certificate_file: Path

    @property
    def is_clean(self) -> bool:
        """Whether it is certified, and the scan found nothing that was erased."""
        return bool(self.certificate) and bool(self.certificate["scan"]["is_clean"])

    @property
    def told(self) -> str:
        """What became of it, in a line or two."""
        if not self.certificate:
            faults = self.summary.faults if self.summary else ()
            where = ", ".join(f"{fault.step} {fault.unit}" for fault in faults)
            return (
                f"withdrawn and erased; not all is built again ({where}): `rpe nightly` goes on,"
                " and certifies it"
            )
        scan = self.certificate["scan"]
        files = ", ".join(scan["found"]) or "no file"
        times = self.certificate.get("resumed", {}).get("times", 0)
        resumed = f", resumed {times} times" if times else ""
        return (
            f"certificate: {self.certificate_file}{resumed}\n"
            f"scan: {scan['n_needles']} texts in {scan['n_files']} files: found in {files}"
        )


def plan_retraction(settings: Settings, named: str) -> list[Row]:
    """What a retraction would take: kind, how many, bytes, minutes, names; nothing is touched.

    Raises:
        InputError: no such source, or deliveries that stay cannot be read again.
    """
    declared = load_declarations(settings)
    with open_to_look(settings) as stores:
        return _plan(stores, _influence(declared, stores, named), declared.plan.target_names)


def retract(
    settings: Settings,
    named: str,
    *,
    reason: str,
    on_plan: Callable[[list[Row]], None] = lambda rows: None,
) -> Retracted:
    """Withdraw a source or dataset version at once, erase it, build again what it influenced.

    `on_plan` is shown what will be taken before anything is.

    Killed at any point, the same call goes on; so do `rpe maintain` and the next night.

    Raises:
        InputError: no reason, no such source, or deliveries that stay cannot be read again.
        WorkspaceBusy: another run holds the workspace.
    """
    retraction.require_reason(reason)
    with hold_workspace(settings):
        retracted = _begun(settings, named, reason=reason, on_plan=on_plan)
        certificate_file = settings.root / "retractions" / f"{retracted.retraction_id}.json"
        if retracted.state == CERTIFIED:
            return Retracted(retracted.retraction_id, retracted.content, None, certificate_file)
        recover_and_open_stores(settings).close()
        summary = run_night(settings, only=steps_of(retracted.influence))
        with open_stores(settings) as stores:
            done = _last(stores, retracted.subject_id)
    certificate = done.content if done and done.state == CERTIFIED else {}
    return Retracted(retracted.retraction_id, certificate, summary, certificate_file)


def _begun(
    settings: Settings, named: str, *, reason: str, on_plan: Callable[[list[Row]], None]
) -> Retraction:
    """The retraction on record, begun now or before."""
    with open_stores(settings) as stores:
        standing = _last(stores, named)
        if standing:
            return standing
        declared = load_declarations(settings)
        influence = _influence(declared, stores, named)
        on_plan(_plan(stores, influence, declared.plan.target_names))
        run = open_run("retract")
        return retraction.begin(stores, influence, reason=reason, run=run, process=this_process())


def _last(stores: Stores, subject_id: str) -> Retraction | None:
    retractions = retraction.find(stores.lake, subject_id)
    return retractions[-1] if retractions else None


def _influence(declared: Declarations, stores: Stores, named: str) -> Influence:
    contracts = declared.contracts
    known = [*contracts, *declared.faulty]
    influence = influence_of(stores.lake, subject_of(stores.lake, named, declared=known))
    lying = set[str]()
    if influence.staying and influence.source in contracts:
        files = contracts[influence.source].files
        lying = {delivery_sha256(files, uri) for uri in list_deliveries(files)}
    missing = [batch for sha256, batch in influence.staying.items() if sha256 not in lying]
    if missing:
        raise InputError(
            f"{len(missing)} deliveries of {influence.source} that stay are no longer where they"
            " were; their rows must land again without the withdrawn ones.",
            where=", ".join(sorted(missing)),
            remedy="put the files back, or name the source to withdraw it whole",
        )
    _require_order(stores, influence, contracts)
    return influence


def _require_order(
    stores: Stores, influence: Influence, contracts: Mapping[str, SourceContract]
) -> None:
    """Raise InputError where deliveries that stay disagree, and nothing says which is the later."""
    contract = contracts.get(influence.source)
    if contract is None or contract.files.order is not None:
        return
    if n := count_disagreeing(stores.lake, influence):
        raise InputError(
            f"{n} deliveries of {influence.source} that stay replaced rows of others that stay;"
            " landing again together they would refuse each other.",
            where=f"sources/{influence.source}.yaml",
            expected="files.order: natural, name, modified, or a pattern",
            remedy="say which file is the later, or name the source to withdraw it whole",
        )


def _plan(stores: Stores, influence: Influence, planned: Collection[str]) -> list[Row]:
    rebuilt = [name for name in influence.rebuilt if name in planned]
    minutes = _minutes(stores, rebuilt)
    lake_bytes = own_bytes(stores.lake, influence.source)
    artifact_bytes = sum(stores.artifacts.n_bytes(sha256) for sha256 in influence.artifacts)
    rows: list[tuple[str, Sequence[str], int | None, float | None]] = [
        ("deliveries", sorted(influence.deliveries), lake_bytes, None),
        ("deliveries landed anew", sorted(influence.staying.values()), None, None),
        ("dataset versions", influence.dataset_versions, None, None),
        ("adapters", sorted(influence.adapters), None, None),
        ("ensembles", sorted(influence.ensembles), None, None),
        ("artifacts", (), artifact_bytes, None),
        ("model versions", influence.versions, None, None),
        ("aliases moved or removed", sorted(influence.champions), None, None),
        ("evaluations", influence.evaluations, None, None),
        ("experiments", influence.experiments, None, None),
        ("targets built again", rebuilt, None, minutes),
    ]
    return [
        {
            "what": what,
            "count": len(influence.artifacts) if what == "artifacts" else len(names),
            "bytes": n_bytes,
            "minutes": taken,
            "names": list(names),
        }
        for what, names, n_bytes, taken in rows
    ]


def _minutes(stores: Stores, rebuilt: Collection[str]) -> float | None:
    """What it took before to make as much; None where a step is on no record."""
    seconds: dict[str, list[float]] = {}
    units: dict[str, int] = {}
    for step in steps_done(stores.lake):
        seconds.setdefault(step["name"], []).append(step["wall_seconds"])
        units[step["name"]] = units.get(step["name"], 0) + len(step["done"])
    n_ensembles = count_ensemble_kinds(stores.lake, rebuilt)
    wanted = {"ensemble": n_ensembles, "evaluate": len(rebuilt), "promote": len(rebuilt)}
    if any(n and not units.get(name) for name, n in wanted.items()):
        return None
    total = sum(n * sum(seconds[name]) / units[name] for name, n in wanted.items() if n)
    return round(total / 60, 2)
