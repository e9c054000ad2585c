"""The record of a run: one row of core.runs, and the summary that a person reads."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from catalog.errors import StoreError
from catalog.queries import current
from catalog.report.page import is_written, write_report
from catalog.stores.lake import chain
from catalog.stores.stores import Stores
from catalog.stores.vectors.files import unsealed_files
from flows.runs.ledger import Alert, Ledger, StepFault
from flows.runs.versions import NUMERIC, versions_of
from flows.workspace.stores import utc_now
from flows.workspace.workspace import Workspace
from rpe_core.fingerprint import canonical_json, fingerprint, make_id
from rpe_core.records import RunRef

NIGHT = "night"  # the flow of a run that did every step
VERSIONED = ("prefect", "mlflow", "lancedb", "duckdb", *NUMERIC)


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
    alerts: tuple[Alert, ...]
    report: str
    resolved: tuple[Alert, ...] = ()
    experiment_id: str = ""  # of an experiment that is on record
    notice: str = ""  # why the webhook was not told of it, if so


def open_run(flow: str, *, at: datetime | None = None) -> RunRef:
    """A new run, from now or `at`; its id is the only thing about it that is random."""
    run_id = make_id("run", flow, fingerprint(uuid.uuid4().hex))
    return RunRef(run_id, flow, at or utc_now())


def close_run(workspace: Workspace, ledger: Ledger, *, targets: Sequence[str]) -> Summary:
    """Write the run's row last, by which all is sealed; then the report if anything changed."""
    run, settings = workspace.run, workspace.settings
    summary = Summary(
        run.run_id,
        run.flow,
        ledger.outcome,
        ledger.exit_code,
        ledger.wall_seconds,
        tuple(dict(row) for row in ledger.as_rows()),
        tuple(ledger.faults),
        tuple(ledger.alerts),
        str(settings.report_file),
        tuple(ledger.resolved),
    )
    stores = workspace.stores
    files = _files_of_vectors(stores)
    with stores.lake.transaction(message=chain.CLOSING, run=run) as commit:
        chain.seal(commit, _row(workspace, ledger, summary, commit.recorded_at), files=files)
    if not is_written(stores.lake, settings.report_file):
        min_groups = workspace.plan.publishing.min_groups
        report_file = settings.report_file
        write_report(
            stores.lake, stores.vectors, report_file, targets=targets, min_groups=min_groups
        )
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
    lines += [
        f"- {'alert' if alert.is_raised else 'still'}: {alert.message}" for alert in summary.alerts
    ]
    lines += [f"- resolved: {alert.ending}" for alert in summary.resolved]
    return "\n".join([*lines, "", f"Report: {summary.report}"])


def _files_of_vectors(stores: Stores) -> dict[str, str]:
    """Files that LoRA-VecDB has written since the last close; none where it cannot be reached."""
    try:
        tokens = stores.vectors.tokens()
        return unsealed_files(stores.lake, stores.vectors.uri, tokens)
    except StoreError:
        return {}


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
        "read_bytes": sum(step.read_bytes for step in ledger.steps),
        "written_bytes": sum(step.written_bytes for step in ledger.steps),
        "n_rows": current.n_delivered(
            workspace.stores.lake, workspace.plan.sources, since=workspace.run.started_at
        ),
        "threads": torch.get_num_threads(),
        "steps_json": canonical_json(summary.steps),
        "faults_json": canonical_json([asdict(fault) for fault in summary.faults]),
        "alerts_json": canonical_json(
            [asdict(alert) for alert in [*ledger.alerts, *ledger.others]]
        ),
        "versions_json": canonical_json(versions_of(VERSIONED)),
    }
