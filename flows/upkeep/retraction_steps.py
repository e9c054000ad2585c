"""Withdraw: finish what a retraction began - aliases, erasure, certificate; each step again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from catalog.contracts.load import load_contract
from catalog.errors import ContractInvalid
from catalog.intake import extracts, landing
from catalog.queries import current
from catalog.readers.formats import list_deliveries
from catalog.records import promotion
from catalog.report.archive import erase_pages
from catalog.retraction import byte_scan, erasure, retraction
from catalog.retraction.influence import Influence
from catalog.retraction.retraction import ERASED, WITHDRAWN, Retraction
from catalog.stores.disk import write_whole
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.registry.connection import vacuum_tracking
from catalog.stores.set_aside import Aside
from catalog.stores.stores import Stores
from flows.library import input_statistics
from flows.runs.ledger import StepFault
from flows.runs.prefect_records import count_prefect_runs, erase_prefect_records, removal_text
from flows.runs.processes import this_process
from flows.runs.run_record import open_run
from flows.upkeep.crash_recovery import settle
from flows.workspace.settings import Settings
from flows.workspace.stores import close_on_error, open_stores
from rpe_core.errors import InputError
from rpe_core.fingerprint import fingerprint
from rpe_core.records import RunRef
from rpe_core.regular_files import read_regular

REBUILT = ("embed", "ensemble", "evaluate", "promote")  # steps that make anew what was erased
LANDED = ("ingest", *REBUILT[:1], "train", *REBUILT[1:])  # and deliveries that stay


def steps_of(influence: Influence) -> tuple[str, ...]:
    """The steps of the night that make anew what a retraction erased."""
    return LANDED if influence.staying else REBUILT


def recover_and_open_stores(settings: Settings) -> Stores:
    """The stores, after intents are settled and what a retraction withdrew has been erased.

    The caller holds the workspace. Where nothing was left behind this is `open_stores`.
    """
    stores = open_stores(settings)
    with close_on_error(stores):
        settle(stores)
        unfinished = retraction.unfinished_retractions(stores.lake)
        pending = [retracted for retracted in unfinished if retracted.state == WITHDRAWN]
    if not pending:
        return stores
    run = open_run("retract")
    with stores:
        since = {
            retracted.retraction_id: erasure.came_at(stores.lake, retracted.influence)
            for retracted in pending
        }
        promotion.repair_aliases(stores)
        for retracted in pending:
            _remember(settings, stores, retracted, run=run)
            erasure.erase_rows(stores.lake, retracted.influence, run=run)
            erasure.erase_stores(stores, retracted.influence)
    _erase_files(settings)
    for retracted in pending:
        names = erasure.names_of(retracted.influence)
        erase_pages(settings.report_file, names=names, since=since[retracted.retraction_id])
        input_statistics.erase(settings, retracted.influence.dataset_versions)
        is_whole = retracted.subject_id == retracted.source
        gone = None if is_whole else set(retracted.influence.deliveries.values())
        extracts.erase(settings.extracts_folder, retracted.source, gone)
    prefect = erase_prefect_records(settings)
    stores = open_stores(settings)
    with close_on_error(stores):
        for retracted in pending:
            n_runs = _known(settings, retracted).get("n_prefect_runs")
            removal = prefect if n_runs is None else removal_text(n_runs)
            content = {**retracted.content, "prefect": removal}
            retraction.advance(stores.lake, retracted, ERASED, content, run=run)
    return stores


def certify(
    settings: Settings,
    stores: Stores,
    *,
    done: Collection[str],
    faults: Sequence[StepFault],
    run: RunRef,
) -> list[Path]:
    """Certify the retractions after which everything has been made again; the certificates.

    Args:
        settings: where the workspace is.
        stores: its stores.
        done: steps that a run has just done for every target of the plan.
        faults: units of them that failed; one of an influenced target leaves no certificate.
        run: that run.
    """
    made = []
    for retracted in retraction.unfinished_retractions(stores.lake):
        if retracted.state == ERASED and _is_rebuilt(retracted.influence, done, faults):
            certificate = _certificate(settings, stores, retracted, run=run)
            path = settings.root / "retractions" / f"{retracted.retraction_id}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(certificate, indent=1, sort_keys=True) + "\n")
            retraction.advance(stores.lake, retracted, retraction.CERTIFIED, certificate, run=run)
            _known_file(settings, retracted).unlink(missing_ok=True)
            made.append(path)
    return made


def _is_rebuilt(influence: Influence, done: Collection[str], faults: Sequence[StepFault]) -> bool:
    concerned = {influence.source, *influence.targets, "all"}  # "all": the step could not even tell
    steps = steps_of(influence)
    failed = [
        fault
        for fault in faults
        if fault.step in steps and (fault.step == "embed" or fault.unit.split(" ")[0] in concerned)
    ]
    return set(steps) <= set(done) and not failed


def _certificate(
    settings: Settings, stores: Stores, retracted: Retraction, *, run: RunRef
) -> dict[str, Any]:
    """The facts, which are the same however often it was cut off, and how often that was."""
    influence, known = retracted.influence, _known(settings, retracted)
    before = {"ensembles": influence.ensembles, "champions": influence.champions}
    after = _standing(stores, influence)
    scan = byte_scan.scan(
        settings.places,
        known["texts"],
        without=[_known_file(settings, retracted), *_delivered(settings, influence.source)],
    )
    return {
        "retraction_id": retracted.retraction_id,
        "subject_id": retracted.subject_id,
        "source": retracted.source,
        "reason": retracted.reason,
        "withdrawn_at": retracted.recorded_at.isoformat(),
        "erased": {
            "files_sha256": sorted(influence.deliveries.values()),
            "dataset_versions": influence.dataset_versions,
            "adapters": influence.adapters,
            "ensembles": influence.ensembles,
            "model_versions": influence.versions,
            "experiments": influence.experiments,
            "n_rows": known["n_rows"],
            "prefect": retracted.content["prefect"],
        },
        "before": {**before, "sha256": fingerprint(before)},
        "after": {**after, "sha256": fingerprint(after)},
        "resumed": _resumed([*known.get("attempts", []), [run.run_id, this_process()]], retracted),
        "unchanged": sorted(set(influence.ensembles.items()) & set(after["ensembles"].items())),
        # whoever lost the list of texts cannot say that none of them is left
        "scan": {**asdict(scan), "is_clean": bool(known["texts"]) and not scan.found},
    }


def _resumed(attempts: Sequence[Sequence[str]], retracted: Retraction) -> dict[str, Any]:
    """How many processes took a retraction up again after the one that began it, by which runs."""
    first: dict[str, str] = {}
    for run_id, process in [retracted.content.get("begun_by", attempts[0]), *attempts]:
        first.setdefault(process, run_id)
    runs = list(first.values())[1:]
    return {"times": len(runs), "runs": runs}


def _standing(stores: Stores, influence: Influence) -> dict[str, Any]:
    """What stands for the influenced targets now: ensembles with their hashes, and champions."""
    standing = current.read_standing(stores.lake)
    return {
        "ensembles": {
            ensemble_id: row["weights_sha256"]
            for ensemble_id, row in sorted(standing.ensembles.items())
            if row["target_name"] in influence.targets
        },
        "champions": {
            name: row["ensemble_id"]
            for name, row in sorted(standing.champions.items())
            if name in influence.targets
        },
    }


def _remember(settings: Settings, stores: Stores, retracted: Retraction, *, run: RunRef) -> None:
    """Write down, until the last scan, by which texts the rows are known and how many go, and who.

    What is counted before anything is removed is the same after it was cut off and taken up again.
    """
    path = _known_file(settings, retracted)
    known = _known(settings, retracted)
    if not path.exists():
        texts = byte_scan.needles_of(
            stores.lake, retracted.source, list(retracted.influence.deliveries)
        )
        n_rows = erasure.count_rows(stores.lake, retracted.influence)
        known = {"texts": texts, "n_rows": n_rows, "n_prefect_runs": count_prefect_runs(settings)}
    known["attempts"] = [*known.get("attempts", []), [run.run_id, this_process()]]
    with write_whole(path) as part:
        part.write_text(json.dumps(known))


def _known(settings: Settings, retracted: Retraction) -> dict[str, Any]:
    path = _known_file(settings, retracted)
    if not path.exists():
        return {"texts": [], "n_rows": {}}
    known: dict[str, Any] = json.loads(read_regular(path))
    return known


def _known_file(settings: Settings, retracted: Retraction) -> Path:
    return settings.root / "tmp" / f"retract-{retracted.retraction_id}.json"


def _erase_files(settings: Settings) -> None:
    """Scratch with rows, and pages that databases have freed."""
    for folder in (settings.root / "tmp").glob("*train-*"):
        shutil.rmtree(folder)
    for file in (settings.root / "tmp").glob("made-*"):
        file.unlink()
    Aside(settings.aside_folder).clear()  # whose rows damaged files hold nobody can tell
    landing.clear_scratch()
    parse_catalog(settings.lake).vacuum()
    vacuum_tracking(settings.tracking)


def _delivered(settings: Settings, source: str) -> Sequence[Path]:
    """The delivered files, which are their owner's to remove."""
    path = settings.sources_folder / f"{source}.yaml"
    try:
        contract = load_contract(path)
        if contract.files.query is not None:
            return []  # its extracts are ours
        return [Path(uri) for uri in list_deliveries(contract.files)]
    except (ContractInvalid, InputError, OSError):
        return []
