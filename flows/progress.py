"""Progress: which unit of which step is being done now, told to whoever listens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, str, int, int], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("progress", default=None)


def announce(step: str, unit: str, number: int, total: int) -> None:
    """Say that unit `number` of `total` of a step begins."""
    listener = _LISTENER.get()
    if listener:
        listener(step, unit, number, total)


@contextmanager
def progress_on_stderr() -> Iterator[None]:
    """A bar on a terminal, one plain line per unit anywhere else."""
    if not sys.stderr.isatty():
        with _listening(lambda step, unit, i, n: _line(f"{step} {i}/{n}: {unit}")):
            yield
        return
    # rich takes a tenth of a second to import, which `--help` does not have
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        with _listening(
            lambda step, unit, i, n: bar.update(
                task, description=f"{step} {unit}", completed=i - 1, total=n
            )
        ):
            yield


@contextmanager
def _listening(listener: Listener) -> Iterator[None]:
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def _line(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
