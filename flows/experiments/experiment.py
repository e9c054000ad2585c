"""Experiments: the night's own steps on a plan made for one, and then its conclusion."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from flows.workspace.settings import (
    Settings,  # first: it switches telemetry off before Prefect is imported
)

# isort: split
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.experiments.conclusion import Conclusion, Experiment, ExperimentQuestion
from flows.experiments.leave_one_out_protocol import Protocol, plan_of, protocol_of
from flows.experiments.leave_one_out_tables import LeaveOneOut
from flows.experiments.method_protocol import MethodProtocol, method_plan_of, method_protocol_of
from flows.experiments.method_tables import MethodComparison
from flows.night.nightly import run_flow
from flows.night.run_steps import do_steps
from flows.runs.run_record import Summary
from flows.runs.step import Step
from flows.steps.table import STEPS
from flows.workspace.locking import hold_workspace
from flows.workspace.plan import Plan
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import InputError

NIGHTLY = ("embed", "train", "ensemble", "evaluate")
THREADS: Any = ThreadPoolTaskRunner(max_workers=len(os.sched_getaffinity(0)))


class Kind(NamedTuple):
    """How an experiment is asked for, planned and concluded."""

    protocol: Callable[..., Any]
    plan_of: Callable[[Plan, Any], Plan]
    experiment: Callable[..., Experiment]


KINDS = {
    Protocol.kind: Kind(Protocol, plan_of, LeaveOneOut),
    MethodProtocol.kind: Kind(MethodProtocol, method_plan_of, MethodComparison),
}


def run_leave_one_out(settings: Settings, **asked: Any) -> Summary:
    """Run the protocol that is asked for, see `protocol_of`; what stands already is not done again.

    Raises:
        WorkspaceBusy: if another run holds the workspace.
        DeclarationError: if what is asked for has faults; nothing has been touched then.
    """
    return _run(settings, protocol_of(load_declarations(settings), **asked))


def run_methods(settings: Settings, **asked: Any) -> Summary:
    """Compare adapter methods, see `method_protocol_of`; what stands already is not done again.

    Raises:
        WorkspaceBusy: if another run holds the workspace.
        InputError: if what is asked for has faults; nothing has been touched then.
    """
    return _run(settings, method_protocol_of(settings, load_declarations(settings), **asked))


def _run(settings: Settings, protocol: ExperimentQuestion) -> Summary:
    action = partial(experiment, str(settings.root), protocol.kind, protocol.declared)
    return run_flow(settings, action)


@flow(
    name="experiment",
    task_runner=THREADS,
    persist_result=False,
    validate_parameters=False,
)
def experiment(home: str, kind: str, asked: Mapping[str, Any]) -> Summary:
    """The steps of the night on the protocol's own plan, then its conclusion.

    Raises:
        NightFailed: if a unit failed for another reason than a refused batch; nothing is concluded.
    """
    settings, how = Settings(home=Path(home)), KINDS[kind]
    values = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in asked.items()}
    protocol = how.protocol(**values)
    with hold_workspace(settings):
        declared = load_declarations(settings)
        conclusion = Conclusion(lambda workspace, units: how.experiment(workspace, protocol, units))
        steps = {
            "ingest": STEPS["ingest"],
            "check": Step(_require_labels, lambda workspace, unit: None),
            **{verb: STEPS[verb] for verb in NIGHTLY},
            "conclude": Step(conclusion.pending, conclusion.make, conclusion.keep),
        }
        plan = how.plan_of(declared.plan, protocol)
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
