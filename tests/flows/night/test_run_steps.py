"""Run steps: a step of any name runs as its record says, and a failing unit stops no other."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.night.nightly import run_flow
from flows.night.run_steps import do_steps
from flows.runs.run_record import Summary
from flows.runs.step import RemoteWork, Step
from flows.workspace.settings import Settings
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import InputError

Events = list[tuple[str, str]]
UNITS = ("a", "b", "unready", "broken", "homeless")
TOGETHER_SECONDS = 30.0


def run_step(settings: Settings, step: Step) -> Summary:
    """A run of one step that no table knows."""

    @flow(name="parade", task_runner=ThreadPoolTaskRunner(max_workers=4), persist_result=False)
    def parade() -> Summary:
        declared = load_declarations(settings)
        return do_steps(settings, declared, declared.plan, {"parade": step}, name="parade")

    return run_flow(settings, parade)


def side_by_side(events: Events) -> Step:
    """A step whose work on `a` ends only if that on `b` is done beside it."""
    together = threading.Barrier(2)

    def intend(_: Workspace, units: Sequence[str]) -> None:
        events.extend(("intend", unit) for unit in units)

    def make(_: Workspace, unit: str) -> Callable[[], str]:
        events.append(("make", unit))
        if unit == "unready":
            raise InputError("Not ready.")
        return partial(work, unit)

    def work(unit: str) -> str:
        if unit in ("a", "b"):
            together.wait(TOGETHER_SECONDS)
        if unit == "broken":
            raise InputError("Broken.")
        return unit.upper()

    def keep(_: Workspace, made: Sequence[str]) -> None:
        if "HOMELESS" in made:
            raise InputError("No place for it.")
        events.extend(("keep", unit) for unit in made)

    return Step(lambda _: UNITS, make, keep, intend, concurrency="side_by_side")


def test_work_is_done_side_by_side_made_and_kept_in_turn(night_copy: Settings) -> None:
    events: Events = []
    summary = run_step(night_copy, side_by_side(events))
    assert {(fault.unit, fault.message) for fault in summary.faults} == {
        ("unready", "Not ready."),
        ("broken", "Broken."),
        ("homeless", "No place for it."),
    }
    assert [step["done"] for step in summary.steps if step["name"] == "parade"] == [["a", "b"]]
    made = [event for unit in UNITS for event in (("intend", unit), ("make", unit))]
    assert events == [*made, ("keep", "A"), ("keep", "B")]


def test_what_a_step_declares_faulty_fails_and_what_it_does_last_is_done(
    night_copy: Settings,
) -> None:
    finished: list[str] = []
    step = Step(
        lambda _: (),
        lambda _, unit: None,
        faulty=lambda declared: {"site_x": InputError("No contract.")},
        finish={"worn": lambda _: finished.append("worn"), "torn": lambda _: finished.remove("no")},
    )
    summary = run_step(night_copy, step)
    assert [(fault.step, fault.unit) for fault in summary.faults] == [
        ("parade", "site_x"),
        ("parade", "torn"),
    ]
    assert finished == ["worn"]


def test_a_step_side_by_side_names_no_unit_to_a_worker() -> None:
    by_id = RemoteWork(lambda _: (), str, str, str)
    with pytest.raises(InputError, match="side by side"):
        Step(lambda _: (), lambda _, unit: unit, remote=by_id, concurrency="side_by_side")
