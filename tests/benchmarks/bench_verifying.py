"""What a night pays to verify its champions when nothing has changed, against hashing them all.

Both sides look at every file of the same versions and of the base behind them. The night knows the
hash of a file by its size and time, and asks the lake and the registry which versions serve.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from catalog.records import promotion, registration
from catalog.records.promotion import VerdictRecord
from catalog.records.registration import Challenger
from flows.night.nightly import run_night
from flows.runs.ledger import Ledger
from flows.runs.run_record import open_run
from flows.verification.champions import verified_by, verify
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from tests.benchmarks.night_world import make_night_world

CHAMPIONS, LIMIT_SECONDS = 100, 3.0
Row = dict[str, Any]


def row_verifying_100_champions(workdir: Path) -> Row:
    """The second night's look at a hundred champions; the target is 3 s."""
    settings = make_night_world(workdir / "world", n_targets=1, n_adapters=8)
    run_night(settings, only=("ingest", "embed", "ensemble"))
    _let_all_serve(settings)
    first, n_damaged = _verified(settings)
    again = min(_verified(settings)[0] for _ in range(3))
    files = [p for p in Path(settings.model_artifacts).rglob("*") if p.is_file()]
    began = time.perf_counter()
    for file in files:
        hashlib.sha256(file.read_bytes()).hexdigest()
    hashed = time.perf_counter() - began
    return {
        "work": f"verifying {CHAMPIONS} champions in a night in which nothing changed",
        "peer": f"sha256 of all {len(files)} files of every version",
        "ours_seconds": again,
        "peer_seconds": hashed,
        "ratio": again / LIMIT_SECONDS,
        "target": f"<= 1 of {LIMIT_SECONDS:g} s",
        "extra": {"first_seconds": first, "damaged": n_damaged},
    }


def _let_all_serve(settings: Settings) -> None:
    """Let one ensemble serve under a hundred names, each with a version and files of its own."""
    workspace = _workspace(settings)
    stores, (target,) = workspace.stores, workspace.plan.targets
    task, base = workspace.contracts[target.source].task_spec, workspace.bases[target.base]
    (made,) = stores.lake.rows("FROM core.ensembles ORDER BY ensemble_id LIMIT 1")
    copies = [
        {**made, "ensemble_id": f"ensemble:copy-{n:03d}@{n:012d}", "target_name": f"copy-{n:03d}"}
        for n in range(CHAMPIONS)
    ]
    with stores.lake.transaction(message="benchmark", run=workspace.run) as commit:
        commit.insert_new("ensembles", copies)
    asked = [Challenger(row["ensemble_id"], base, task, "labels") for row in copies]
    registration.register_challengers(stores, asked, run=workspace.run)
    verdicts = [
        VerdictRecord(
            row["target_name"], row["dataset_version_id"], row["strategy"], row["ensemble_id"], "",
            "promoted", "labels", ("It serves for this benchmark.",), "benchmark",
        )
        for row in copies
    ]  # fmt: skip
    promotion.record_verdicts(stores, [(one, ()) for one in verdicts], run=workspace.run)
    stores.lake.close()


def _verified(settings: Settings) -> tuple[float, int]:
    """Seconds that a look takes, the stores being open, and how many it found damaged."""
    workspace, ledger = _workspace(settings), Ledger()
    began = time.perf_counter()
    verify(workspace, ledger)
    taken = time.perf_counter() - began
    workspace.stores.lake.close()
    if ledger.steps:
        raise RuntimeError("The champions were not sound, or not all of them could be looked at.")
    return taken, len(verified_by(workspace).damaged)


def _workspace(settings: Settings) -> Workspace:
    declared, stores = load_declarations(settings), open_stores(settings)
    return Workspace(settings, declared.plan, declared.contracts, stores, open_run("benchmark"))
