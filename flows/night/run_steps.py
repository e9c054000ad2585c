"""Run steps: the steps of a plan in their order, unit by unit, on record as one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from flows.runs.chunks import StepFailed, chunks_of, own_error
from flows.runs.ledger import Ledger, StepRecord
from flows.runs.progress import announce, announce_step
from flows.runs.run_record import Summary, close_run, markdown_of, open_run
from flows.runs.step import Step
from flows.runs.workers import Workers
from flows.upkeep.alerts import watch
from flows.upkeep.retraction_steps import certify, recover_and_open_stores
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
    ledger = Ledger()
    with recover_and_open_stores(settings) as stores:
        run = open_run(name, at=stores.lake.now)
        workspace = Workspace(settings, plan, declared.contracts, stores, run)
        _set_right(workspace, ledger, declared, is_strict=is_strict)
        with Workers(settings) as workers:
            for number, (step_name, step) in enumerate(steps.items(), start=1):
                announce_step(step_name, number, len(steps))
                if is_strict and ledger.outcome == "failed":
                    break
                with ledger.step(step_name) as record:
                    running = _RunningStep(workspace, workers, ledger, record, step)
                    if not is_strict:
                        running.tell_faulty(declared)
                    running.do()
                    if not is_strict:
                        running.finish()
        # an experiment has a plan of its own: it looks at nothing, and what stands goes on standing
        watch(workspace, ledger, () if is_strict else tuple(steps), plan=declared.plan)
        summary = close_run(workspace, ledger, targets=declared.plan.target_names)
        if plan.target_names == declared.plan.target_names:
            certify(settings, stores, done=steps, faults=ledger.faults, run=workspace.run)
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


@dataclass(frozen=True)
class _RunningStep:
    """A step of this run, and the record of it that its units are told to."""

    workspace: Workspace
    workers: Workers
    ledger: Ledger
    record: StepRecord
    step: Step

    def tell_faulty(self, declared: Declarations) -> None:
        """Record the units that fail by what is declared."""
        for unit, error in self.step.faulty(declared).items():
            self.ledger.fail(self.record, unit, error)

    def do(self) -> None:
        """Do the units that are pending."""
        units = self._pending()
        if self.step.concurrency == "side_by_side":
            self._do_side_by_side(units)
        else:
            self._do_in_turn(units)

    def finish(self) -> None:
        """Do what the step does after its units, whether there were any or not."""
        for subject, act in self.step.finish.items():
            with self.ledger.unit(self.record, subject, is_done=False):
                act(self.workspace)

    def _pending(self) -> list[Any]:
        """What is to be done; a step that cannot even tell has failed."""
        units: list[Any] = []
        with self.ledger.unit(self.record, "all", is_done=False):
            units.extend(self.step.pending(self.workspace))
        return units

    def _do_in_turn(self, units: Sequence[Any]) -> None:
        name, task = self.record.name, self._task()
        try:
            step = self.workers.remote_step(self.workspace, name, self.step, units, task)
        except RpeError as error:  # no worker can be reached
            self.ledger.fail(self.record, "all", error)
            return
        for chunk in chunks_of(self.workspace, name, step, units):
            stopped: Exception | None = None
            try:
                task(name, str(chunk), chunk.do)
            except Exception as error:
                stopped = error
            for unit, is_done, fault in zip(chunk.units, chunk.is_done, chunk.faults, strict=True):
                with self.ledger.unit(self.record, str(unit)):
                    if not is_done:
                        raise fault or stopped or StepFailed(f"{name} {unit} was not done.")

    def _do_side_by_side(self, units: Sequence[Any]) -> None:
        """Make and keep in turn, because the stores have one writer; do the work side by side."""
        name, started = self.record.name, []
        for unit in units:
            with self.ledger.unit(self.record, str(unit), is_done=False):
                if self.step.intend:
                    self.step.intend(self.workspace, [unit])
                work = self.step.make(self.workspace, unit)
                future = self.workers.submit(self._task(), name, str(unit), work)
                started.append((unit, future))
        for number, (unit, future) in enumerate(started, start=1):
            announce(name, str(unit), number, len(started))
            with self.ledger.unit(self.record, str(unit)):
                made = future.result()
                if self.step.keep:
                    keep = partial(self.step.keep, self.workspace, [made])
                    self._task()(name, str(unit), keep)

    def _task(self) -> Any:
        return do_unit.with_options(name=self.record.name)


def _is_transient(state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, Transient)
