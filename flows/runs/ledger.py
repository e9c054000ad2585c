"""What a run did and what it cost: per step the outcome, wall and CPU seconds, memory and bytes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from flows.runs.exit_codes import BROKEN, exit_code_of
from flows.runs.processes import usage_so_far
from flows.runs.system_faults import system_fault
from rpe_core.errors import RpeError

REFUSED = "refused"  # kind of the alert that a refused file lies there

ENDED = {  # kind of an alert -> how it ends, if not by a retraction or by leaving the plan
    "abstained": "an ensemble may serve it again",
    "below_promotion": "another champion serves, or it scores as when it was promoted",
    "clock": "the clock is past the newest record again",
    "damaged": "the files of what serves it, and of its members, are intact again",
    "drift": "the newest version is like the ones before it",
    "fall": "the evaluation after it shows no further fall",
    "renamed_base": "the library holds adapters for it again",
    "refused": "the file was replaced, accepted or removed",
    "silent": "the source has delivered again",
}


@dataclass
class StepRecord:
    """One step of a run over all its units (sources, adapters, targets)."""

    name: str
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True)
class StepFault:
    """A unit that failed, in words that hold no value."""

    step: str
    unit: str
    kind: str
    message: str
    exit_code: int


@dataclass(frozen=True)
class Alert:
    """What a run found that no step of it can mend; it fails nothing, but a refused file is no ok.

    It is raised by the run that first finds its cause and stands until the cause has gone. The same
    kind, subject and cause is the same alert.
    """

    kind: str
    subject: str  # a source, a target, or the machine
    message: str
    remedy: str
    source: str = ""  # the source that it is about, or whose rows the target serves
    cause: str = ""
    since: str = ""  # ISO 8601: when it was raised, or when its cause came about
    alert_id: str = ""
    is_raised: bool = True  # whether this run is the first to find it
    rests_on: tuple[str, ...] = ()  # records without which there is nothing to tell

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from any other alert."""
        return self.kind, self.subject, self.cause

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        how = ENDED.get(self.kind, "its cause has gone")
        since = f" since {self.since[:10]}" if self.since else ""
        # of several refused files of a source the batch tells which
        batch = f", {self.cause}," if self.kind == REFUSED and self.cause else ""
        return f"{self.kind.replace('_', ' ')} of {self.subject}{batch}{since}: {how}"


def is_told(alert: Alert, faults: Iterable[StepFault]) -> bool:
    """Whether a fault of the same run already names this refused file, with all its reasons."""
    return alert.kind == REFUSED and any(
        fault.exit_code == BROKEN and fault.unit == alert.subject and alert.cause in fault.message
        for fault in faults
    )


@dataclass
class Ledger:
    """The running account of a run."""

    steps: list[StepRecord] = field(default_factory=list)
    faults: list[StepFault] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)  # of what the run looked at
    others: list[Alert] = field(default_factory=list)  # that stand, and that it did not look at
    resolved: list[Alert] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    @property
    def wall_seconds(self) -> float:
        """Since the account was opened, by a clock that nobody sets."""
        return round(time.monotonic() - self._began, 3)

    @contextmanager
    def step(self, name: str) -> Iterator[StepRecord]:
        """Account for one step; an exception inside is the caller's to handle."""
        step = StepRecord(name)
        self.steps.append(step)
        began, before = time.monotonic(), usage_so_far()
        try:
            yield step
        finally:
            after = usage_so_far()
            step.wall_seconds = round(time.monotonic() - began, 3)
            step.cpu_seconds = round(after.cpu_seconds - before.cpu_seconds, 3)
            step.peak_memory_bytes = after.peak_memory_bytes
            step.read_bytes = after.read_bytes - before.read_bytes
            step.written_bytes = after.written_bytes - before.written_bytes

    @contextmanager
    def unit(self, step: StepRecord, unit: str, *, is_done: bool = True) -> Iterator[None]:
        """Account for one unit: done, or failed and told; the others go on."""
        try:
            yield
        except Exception as error:
            self.fail(step, unit, error)
        else:
            if is_done:
                step.done.append(unit)

    def fail(self, step: StepRecord, unit: str, error: BaseException) -> None:
        """Record a failed unit; the others go on."""
        step.failed.append(unit)
        error = system_fault(error) or error
        message = safe_message(error)
        self.faults.append(
            StepFault(step.name, unit, type(error).__name__, message, exit_code_of(error))
        )

    @property
    def has_work(self) -> bool:
        """Whether any step did anything."""
        return any(step.done or step.failed for step in self.steps)

    @property
    def has_news(self) -> bool:
        """Whether an alert was raised or has ended."""
        return bool(self.resolved) or any(alert.is_raised for alert in self.alerts)

    @property
    def outcome(self) -> str:
        """`failed`, `refused`, `alert`, `ok` or `unchanged`.

        An alert that was raised before makes no night an `alert`; a refused file that still lies
        there makes every night `refused`.
        """
        if self.exit_code in (1, 2):
            return "failed"
        if self.exit_code:
            return "refused"
        if any(alert.is_raised for alert in self.alerts):
            return "alert"
        return "ok" if self.has_work else "unchanged"

    @property
    def exit_code(self) -> int:
        """0 every step ran, 1 a step failed, 2 a declaration has faults, 3 a file is refused."""
        lies_there = [BROKEN for alert in self.alerts if alert.kind == REFUSED]
        return min([*(fault.exit_code for fault in self.faults), *lies_there], default=0)

    def as_rows(self) -> list[Mapping[str, Any]]:
        """Steps as plain values."""
        return [asdict(step) for step in self.steps]


def safe_message(error: BaseException) -> str:
    """The message of our own errors; of others only the type, because drivers echo cells."""
    if isinstance(error, RpeError):
        return str(error)
    if fault := system_fault(error):
        return str(fault)
    return f"{type(error).__name__} (its text is withheld: it may hold values)"
