"""Chunks: a failing unit stops no other, what is made is kept at once, a retry does the rest."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from catalog.errors import StoreUnavailable
from flows.runs.chunks import MAX_TASKS, TASK_UNITS, Chunk, StepFailed, chunks_of
from flows.runs.step import Step
from flows.workspace.workspace import Workspace
from rpe_core.errors import InputError

NOBODY = cast(Workspace, None)  # the steps below look at no workspace
MARKER = "quorvexil"


class Desk:
    """What was made and kept, and what goes wrong with which unit, how often."""

    def __init__(self, **failing: list[Exception]) -> None:
        self.failing, self.made, self.kept = failing, [], []

    def make(self, _: Workspace, unit: str) -> str:
        self.made.append(unit)
        if self.failing.get(unit):
            raise self.failing[unit].pop(0)
        return unit.upper()

    def keep(self, _: Workspace, made: Any) -> None:
        if "X" in made:
            raise InputError("X cannot be kept.")
        self.kept.append(list(made))

    def chunk(self, units: str) -> Chunk:
        step = Step(lambda _: [], self.make, self.keep)
        return Chunk(NOBODY, "test", step, list(units), first=1, total=len(units))


def outcome(chunk: Chunk) -> dict[str, str]:
    """Unit -> `done` or the kind of its fault."""
    return {
        unit: "done" if is_done else type(fault).__name__
        for unit, is_done, fault in zip(chunk.units, chunk.is_done, chunk.faults, strict=True)
    }


def test_all_are_kept_in_one_act() -> None:
    desk = Desk()
    chunk = desk.chunk("abc")
    chunk.do()
    assert desk.kept == [["A", "B", "C"]]
    assert outcome(chunk) == {"a": "done", "b": "done", "c": "done"}


def test_a_failing_unit_stops_no_other_and_a_foreign_text_is_withheld() -> None:
    desk = Desk(b=[ValueError(MARKER)])
    chunk = desk.chunk("abc")
    with pytest.raises(StepFailed) as told:
        chunk.do()
    assert MARKER not in str(told.value)
    assert "ValueError" in str(told.value)
    assert desk.kept == [["A", "C"]]
    assert outcome(chunk) == {"a": "done", "b": "StepFailed", "c": "done"}


def test_what_cannot_be_kept_is_told_from_what_can() -> None:
    desk = Desk()
    chunk = desk.chunk("axc")
    with pytest.raises(InputError):
        chunk.do()
    assert desk.kept == [["A"], ["C"]]
    assert outcome(chunk) == {"a": "done", "x": "InputError", "c": "done"}


def test_again_does_only_what_may_succeed_now() -> None:
    desk = Desk(b=[StoreUnavailable("Busy.")], c=[InputError("Wrong.")])
    chunk = desk.chunk("abc")
    with pytest.raises(StoreUnavailable):  # the one that a retry may help comes before the other
        chunk.do()
    desk.made.clear()
    with pytest.raises(InputError):
        chunk.do()
    assert desk.made == ["b"]
    assert desk.kept == [["A"], ["B"]]
    assert outcome(chunk) == {"a": "done", "b": "done", "c": "InputError"}


@pytest.mark.parametrize("n", [0, 1, TASK_UNITS, TASK_UNITS + 1, TASK_UNITS * MAX_TASKS + 1])
def test_a_step_has_few_chunks_that_hold_every_unit_once(n: int) -> None:
    make: Callable[[Workspace, Any], Any] = lambda _, unit: unit  # noqa: E731
    chunks = list(chunks_of(NOBODY, "test", Step(lambda _: [], make), range(n)))
    assert len(chunks) <= MAX_TASKS
    assert [unit for chunk in chunks for unit in chunk.units] == list(range(n))
    assert all(chunk.units for chunk in chunks)
