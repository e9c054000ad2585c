"""Run steps: the steps of a plan in their order, unit by unit, on record as one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import httpx

from flows.workspace.settings import (
    Settings,  # first: it switches telemetry off before Prefect is imported
)

# isort: split
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from catalog.records import promotion
from flows.runs.chunks import Step, StepFailed, chunks_of, own_error
from flows.runs.ledger import Ledger, StepRecord
from flows.runs.progress import announce, announce_step
from flows.runs.run_record import Summary, close_run, markdown_of, open_run
from flows.runs.workers import Workers
from flows.steps import train
from flows.targets.registered_models import tell_consumers
from flows.upkeep.alerts import watch
from flows.upkeep.withdraw import certify, recover_and_open_stores
from flows.verification.champions import verify
from flows.workspace.plan import Plan
from flows.workspace.workspace import Declarations, Workspace
from rpe_core.errors import RpeError, Transient


class NightFailed(RpeError):
    """Some unit of the night failed; the others ran, and the summary says which is which."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        super().__init__(
            f"{len(summary.faults)} unit(s) failed in {summary.run_id}.",
            where=", ".join(f"{fault.step} {fault.unit}" for fault in summary.faults),
            remedy="the last screen and the report list each with its remedy",
        )


def do_steps(
    settings: Settings,
    declared: Declarations,
    plan: Plan,
    steps: Mapping[str, Step],
    *,
    name: str,
    is_strict: bool = False,
) -> Summary:
    """Do the steps of a plan in their order, on record as one run of this name.

    A strict run goes no further once a unit failed for another reason than a refused batch.

    Raises:
        NightFailed: after the last step, if such a unit failed.
    """
    ledger, stores = Ledger(), recover_and_open_stores(settings)
    try:
        run = open_run(name, at=stores.lake.now)
        workspace = Workspace(settings, plan, declared.contracts, stores, run)
        _set_right(workspace, ledger, declared, is_strict=is_strict)
        with Workers(settings) as workers:
            for number, (verb, how) in enumerate(steps.items(), start=1):
                announce_step(verb, number, len(steps))
                if is_strict and ledger.outcome == "failed":
                    break
                with ledger.step(verb) as step:
                    if verb == "ingest" and not is_strict:
                        _report_faulty(ledger, step, declared.faulty)
                    _run_verb(workspace, workers, verb, how, ledger, step)
                    if verb == "promote" and not is_strict:
                        with ledger.unit(step, "models", is_done=False):
                            tell_consumers(workspace)
        # an experiment has a plan of its own: it looks at nothing, and what stands goes on standing
        watch(workspace, ledger, () if is_strict else tuple(steps), plan=declared.plan)
        summary = close_run(workspace, ledger, targets=declared.plan.target_names)
        if plan.target_names == declared.plan.target_names:
            certify(settings, stores, done=steps, faults=ledger.faults, run=workspace.run)
    finally:
        stores.lake.close()
    if ledger.has_work or ledger.has_news:
        _show_in_prefect(summary, name)
    if summary.outcome == "failed":
        raise NightFailed(summary)
    return summary


def _show_in_prefect(summary: Summary, name: str) -> None:
    with suppress(httpx.TransportError):  # the record of the run is ours, and it is made
        create_markdown_artifact(markdown_of(summary), key=name.replace("+", "-"))


def _set_right(
    workspace: Workspace, ledger: Ledger, declared: Declarations, *, is_strict: bool
) -> None:
    """Let sound versions serve, and the aliases be what was decided, before anything is done."""
    if not is_strict:  # an experiment serves nobody
        verify(replace(workspace, plan=declared.plan), ledger)
    promotion.repair_aliases(workspace.stores)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[1, 5],
    retry_condition_fn=lambda task, task_run, state: _is_transient(state),
    task_run_name="{step} {unit}",
)
def do_unit(step: str, unit: str, action: Callable[[], Any]) -> object:
    """A unit or a chunk of them, as a task; an error that is not ours loses its text here."""
    try:
        return action()
    except Exception as error:
        raise own_error(error, step, unit) from None


def _run_verb(
    workspace: Workspace, workers: Workers, verb: str, how: Step, ledger: Ledger, step: StepRecord
) -> None:
    if verb == "train":
        _train(workspace, workers, how, ledger, step)
        return
    units = _units(ledger, step, how.pending, workspace)
    try:
        how = workers.verb(workspace, verb, how, units, do_unit.with_options(name=verb))
    except RpeError as error:  # no worker can be reached
        ledger.fail(step, "all", error)
        return
    for chunk in chunks_of(workspace, verb, how, units):
        stopped: Exception | None = None
        try:
            do_unit.with_options(name=verb)(verb, str(chunk), chunk.do)
        except Exception as error:
            stopped = error
        for unit, is_done, fault in zip(chunk.units, chunk.is_done, chunk.faults, strict=True):
            with ledger.unit(step, str(unit)):
                if not is_done:
                    raise fault or stopped or StepFailed(f"{verb} {unit} was not done.")


def _train(
    workspace: Workspace, workers: Workers, how: Step, ledger: Ledger, step: StepRecord
) -> None:
    """Prepare and keep in turn, because the stores have one writer; train side by side."""
    units = _units(ledger, step, how.pending, workspace)
    started = []
    for unit in units:
        with ledger.unit(step, str(unit), is_done=False):
            folder = train.prepare(workspace, unit)
            action = partial(train.run_process, folder)
            task = do_unit.with_options(name="train")
            future = workers.submit(task, "train", str(unit), action)
            started.append((unit, folder, future))
    for number, (unit, folder, future) in enumerate(started, start=1):
        announce("train", str(unit), number, len(started))
        with ledger.unit(step, str(unit)):
            keep = partial(train.keep, workspace, unit, folder, future.result())
            do_unit.with_options(name="train")("train", str(unit), keep)


def _units(
    ledger: Ledger,
    step: StepRecord,
    pending: Callable[[Workspace], Sequence[Any]],
    workspace: Workspace,
) -> list[Any]:
    """What is to be done; a step that cannot even tell has failed."""
    units: list[Any] = []
    with ledger.unit(step, "all", is_done=False):
        units.extend(pending(workspace))
    return units


def _report_faulty(ledger: Ledger, step: StepRecord, faulty: Mapping[str, RpeError]) -> None:
    for source, error in faulty.items():
        ledger.fail(step, source, error)


def _is_transient(state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, Transient)
