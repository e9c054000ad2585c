"""Chunks: the units of a step that one task makes, keeps and tries again together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from flows.runs.ledger import safe_message
from flows.runs.progress import announce
from flows.runs.step import Step
from flows.workspace.workspace import Workspace
from rpe_core.errors import RpeError, Transient

# A task costs its record at the server, a commit its files in the lake: many small units share
# them, and what took long to make is kept soon.
TASK_UNITS = 16  # of a task at least, as far as there are so many
MAX_TASKS = 32  # of a step
KEPT_WITHIN_SECONDS = 5.0


class StepFailed(RpeError):
    """A unit failed with an error that is not ours; its text is withheld, it may hold values."""


class Chunk:
    """Some units of a step, `first` the number of the first among `total`; some may be done."""

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        step: Step,
        units: Sequence[Any],
        *,
        first: int,
        total: int,
    ) -> None:
        self._workspace, self._name, self._step = workspace, name, step
        self.units, self._first, self._total = units, first, total
        self.is_done = [False] * len(units)
        self.faults: list[RpeError | None] = [None] * len(units)

    def __str__(self) -> str:
        others = len(self.units) - 1
        return f"{self.units[0]} and {others} more" if others else str(self.units[0])

    def do(self) -> None:
        """Do what is not done yet and may still succeed; a failing unit never stops the others.

        Raises:
            RpeError: a unit failed; one that may succeed if `do` is called again, if there is one.
        """
        made: dict[int, Any] = {}
        wanted = [i for i in range(len(self.units)) if self._may_succeed(i)]
        if self._step.intend:
            self._step.intend(self._workspace, [self.units[i] for i in wanted])
        began = time.monotonic()
        for i in wanted:
            announce(self._name, str(self.units[i]), self._first + i, self._total)
            try:
                made[i] = self._step.make(self._workspace, self.units[i])
            except Exception as error:
                self.faults[i] = own_error(error, self._name, self.units[i])
            if time.monotonic() - began > KEPT_WITHIN_SECONDS:
                self._keep(made)
                made, began = {}, time.monotonic()
        self._keep(made)
        faults = [fault for fault in self.faults if fault is not None]
        for fault in sorted(faults, key=lambda fault: not isinstance(fault, Transient)):
            raise fault

    def _may_succeed(self, i: int) -> bool:
        fault = self.faults[i]
        return not self.is_done[i] and (fault is None or isinstance(fault, Transient))

    def _keep(self, made: dict[int, Any]) -> None:
        try:
            if self._step.keep and made:
                self._step.keep(self._workspace, list(made.values()))
        except Exception as error:
            if len(made) == 1:
                (i,) = made
                self.faults[i] = own_error(error, self._name, self.units[i])
                return
            for i, value in made.items():  # whose fault it is shows when each is kept by itself
                self._keep({i: value})
        else:
            for i in made:
                self.is_done[i], self.faults[i] = True, None


def chunks_of(workspace: Workspace, name: str, step: Step, units: Sequence[Any]) -> Iterator[Chunk]:
    """The units in order, in chunks of one size: at least TASK_UNITS, at most MAX_TASKS chunks."""
    size = max(TASK_UNITS, -(-len(units) // MAX_TASKS))
    for first in range(0, len(units), size):
        some = units[first : first + size]
        yield Chunk(workspace, name, step, some, first=first + 1, total=len(units))


def own_error(error: Exception, step: str, unit: object) -> RpeError:
    """The error if it is ours; else one of ours that withholds its text and tells its place."""
    if isinstance(error, RpeError):
        return error
    return StepFailed(f"{step} {unit} failed with {safe_message(error)}", where=_place(error))


def _place(error: BaseException) -> str:
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_name}, line {frame.tb_lineno}" if frame else ""
