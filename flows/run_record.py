"""The record of a run: one row of core.runs, and the summary that a person reads."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

from catalog.report.page import write_report
from flows.ledger import Ledger, StepFault
from flows.wiring import utc_now
from flows.workspace import Workspace
from rpe_core.fingerprint import canonical_json, fingerprint, make_id
from rpe_core.records import RunRef

VERSIONED = ("prefect", "mlflow", "lancedb", "duckdb", "torch", "peft", "transformers")


@dataclass(frozen=True)
class Summary:
    """What a run did, without values."""

    run_id: str
    flow: str
    outcome: str
    exit_code: int
    wall_seconds: float
    steps: tuple[dict[str, Any], ...]
    faults: tuple[StepFault, ...]
    report: str
    experiment_id: str = ""  # of an experiment that is on record


def open_run(flow: str) -> RunRef:
    """A new run; its id is the only thing about it that is random."""
    return RunRef(make_id("run", flow, fingerprint(uuid.uuid4().hex)), flow, utc_now())


def close_run(
    workspace: Workspace, ledger: Ledger, *, ended_at: datetime, targets: Sequence[str]
) -> Summary:
    """Write the run's row last, then the report on these targets if anything changed."""
    run, settings = workspace.run, workspace.settings
    summary = Summary(
        run.run_id,
        run.flow,
        ledger.outcome,
        ledger.exit_code,
        (ended_at - run.started_at).total_seconds(),
        tuple(dict(row) for row in ledger.as_rows()),
        tuple(ledger.faults),
        str(settings.report_file),
    )
    with workspace.stores.lake.transaction(message="close run", run=run) as commit:
        commit.insert_new("runs", [_row(workspace, ledger, summary, ended_at)])
    if ledger.has_work or not settings.report_file.exists():
        stores = workspace.stores
        write_report(stores.lake, stores.vectors, settings.report_file, targets=targets)
    return summary


def markdown_of(summary: Summary) -> str:
    """The run as Markdown, for Prefect's artifact."""
    lines = [f"**{summary.run_id}**: {summary.outcome} in {summary.wall_seconds:.0f} s", ""]
    lines += ["| step | done | failed | seconds |", "|---|---|---|---|"]
    lines += [
        f"| {s['name']} | {', '.join(s['done'])} | {', '.join(s['failed'])} "
        f"| {s['wall_seconds']:.1f} |"
        for s in summary.steps
    ]
    lines += ["", *(f"- {f.step} {f.unit}: {f.kind}" for f in summary.faults)]
    return "\n".join([*lines, "", f"Report: {summary.report}"])


def _row(
    workspace: Workspace, ledger: Ledger, summary: Summary, ended_at: datetime
) -> dict[str, Any]:
    import torch  # heavy; every step that computes has loaded it already

    return {
        "run_id": summary.run_id,
        "flow": summary.flow,
        "outcome": summary.outcome,
        "started_at": workspace.run.started_at,
        "ended_at": ended_at,
        "plan_sha256": workspace.plan.sha256,
        "wall_seconds": summary.wall_seconds,
        "cpu_seconds": sum(step.cpu_seconds for step in ledger.steps),
        "peak_memory_bytes": max((s.peak_memory_bytes for s in ledger.steps), default=0),
        "written_bytes": sum(step.written_bytes for step in ledger.steps),
        "threads": torch.get_num_threads(),
        "steps_json": canonical_json(summary.steps),
        "faults_json": canonical_json([asdict(fault) for fault in summary.faults]),
        "versions_json": canonical_json({name: version(name) for name in VERSIONED}),
    }
