"""Progress: which unit of which step is being done now, told to whoever listens."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class Listener(Protocol):
    """Who is told of steps and units as they begin."""

    def step(self, name: str, number: int, total: int) -> None:
        """A step begins."""

    def unit(self, step: str, unit: str, number: int, total: int) -> None:
        """A unit of a step begins."""


_LISTENER: ContextVar[Listener | None] = ContextVar("progress", default=None)


def announce_step(name: str, number: int, total: int) -> None:
    """Say that step `number` of `total` of a run begins."""
    listener = _LISTENER.get()
    if listener:
        listener.step(name, number, total)


def announce(step: str, unit: str, number: int, total: int) -> None:
    """Say that unit `number` of `total` of a step begins."""
    listener = _LISTENER.get()
    if listener:
        listener.unit(step, unit, number, total)


@contextmanager
def progress_on_stderr(doing: str) -> Iterator[None]:
    """Bars on a terminal, one plain line per unit anywhere else, both with times.

    `doing` is what is said until the first step or unit begins.
    """
    if not sys.stderr.isatty():
        with _listening(_Lines(doing)):
            yield
        return
    with _shown_bars() as progress, _listening(_Bars(progress, doing)):
        yield


class _Lines:
    """One line per unit: time since the beginning, and what is left of the step at this pace."""

    def __init__(self, doing: str) -> None:
        self._began = time.monotonic()
        self._step, self._step_began = "", self._began
        self._line(doing)

    def step(self, name: str, number: int, total: int) -> None:
        """Nothing is said of a step that has no unit."""

    def unit(self, step: str, unit: str, number: int, total: int) -> None:
        """The line of a unit; of the first one of a step nothing can be foretold."""
        now = time.monotonic()
        if step != self._step:
            self._step, self._step_began = step, now
        left = ""
        if number > 1:
            seconds = (now - self._step_began) / (number - 1) * (total - number + 1)
            left = f", {clock(seconds)} left of {step}"
        self._line(f"{step} {number}/{total}: {unit}{left}")

    def _line(self, text: str) -> None:
        sys.stderr.write(f"[{clock(time.monotonic() - self._began)}] {text}\n")
        sys.stderr.flush()


class _Bars:
    """Two bars: the steps of the run, the units of the step with the time that they will take."""

    def __init__(self, progress: Any, doing: str) -> None:
        self._progress, self._step = progress, ""
        self._steps = progress.add_task(doing, total=None)
        self._units = progress.add_task("", total=None, visible=False, is_foretold=True)

    def step(self, name: str, number: int, total: int) -> None:
        """The steps before this one are done."""
        description = f"step {number} of {total}: {name}"
        self._progress.update(
            self._steps, description=description, completed=number - 1, total=total
        )
        self._progress.update(self._units, visible=False)

    def unit(self, step: str, unit: str, number: int, total: int) -> None:
        """The units before this one are done."""
        if step != self._step:
            self._step = step
            self._progress.reset(self._units, total=total)
        fields = {"description": f"{step} {unit}", "completed": number - 1, "visible": True}
        self._progress.update(self._units, **fields)


def clock(seconds: float) -> str:
    """Seconds as people read them.

    >>> clock(7.4), clock(75), clock(3671)
    ('0:07', '1:15', '1:01:11')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _shown_bars() -> Any:
    # rich takes a tenth of a second to import, which `--help` does not have
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    class Left(TimeRemainingColumn):
        """Time left of units alone: steps differ too much for one to foretell the next."""

        def render(self, task: Any) -> Any:
            return super().render(task) if task.fields.get("is_foretold") else ""

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        Left(),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    )


@contextmanager
def _listening(listener: Listener) -> Iterator[None]:
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
