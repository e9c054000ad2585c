"""Experiment: leave-one-out over sources, by the night's own steps on a plan made for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flows.settings import Settings  # first: it switches telemetry off before Prefect is imported

# isort: split
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.chunks import Verb
from flows.conclude import Conclusion
from flows.locking import hold_workspace
from flows.nightly import STEPS, do_steps, run_flow
from flows.protocol import Protocol, plan_of, protocol_of
from flows.run_record import Summary
from flows.workspace import Workspace, load_declarations
from rpe_core.errors import InputError

NIGHTLY = ("embed", "train", "ensemble", "evaluate")


def run_leave_one_out(settings: Settings, **asked: Any) -> Summary:
    """Run the protocol that is asked for, see `protocol_of`; what stands already is not done again.

    Raises:
        WorkspaceBusy: if another run holds the workspace.
        DeclarationError: if what is asked for has faults; nothing has been touched then.
    """
    protocol = protocol_of(load_declarations(settings), **asked)
    return run_flow(settings, partial(leave_one_out, str(settings.root), protocol.declared))


@flow(
    name="experiment",
    task_runner=ThreadPoolTaskRunner(max_workers=len(os.sched_getaffinity(0))),
    persist_result=False,
    validate_parameters=False,
)
def leave_one_out(home: str, asked: Mapping[str, Any]) -> Summary:
    """The steps of the night on the protocol's own plan, then its conclusion.

    Raises:
        NightFailed: if a unit failed for another reason than a refused batch; nothing is concluded.
    """
    settings = Settings(home=Path(home))
    protocol = Protocol(**{k: v if isinstance(v, str) else tuple(v) for k, v in asked.items()})
    with hold_workspace(settings):
        declared = load_declarations(settings)
        conclusion = Conclusion(protocol)
        steps = {
            "ingest": STEPS["ingest"],
            "check": Verb(_require_labels, lambda workspace, unit: None),
            **{verb: STEPS[verb] for verb in NIGHTLY},
            "conclude": Verb(conclusion.pending, conclusion.make, conclusion.keep),
        }
        plan = plan_of(declared.plan, protocol)
        summary = do_steps(settings, declared, plan, steps, name="experiment", is_strict=True)
    return replace(summary, experiment_id=conclusion.experiment_id)


def _require_labels(workspace: Workspace) -> list[str]:
    """Nothing is left to do where every source can be trained on and scored.

    Raises:
        InputError: a source has no labelled rows to train on or to be scored on.
    """
    versions = workspace.standing.versions
    lacking = []
    for source in workspace.plan.sources:
        row = versions.get(source)
        if row is None or not (row["n_train"] and row["n_labelled"] and row["n_test_labelled"]):
            lacking.append(source)
    if lacking:
        raise InputError(
            "A source without labelled training and test rows cannot take part.",
            where=", ".join(lacking),
            expected="labelled rows in both splits",
            remedy="leave it out of --sources, or deliver labelled rows; `rpe source show` counts",
        )
    return []
