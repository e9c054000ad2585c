"""The record of a step of the night: what is pending, how a unit is made and how it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flows.workspace.plan import Plan
from flows.workspace.workspace import Declarations, Workspace
from rpe_core.errors import InputError, RpeError


@dataclass(frozen=True)
class RemoteWork:
    """How a unit is named to a worker and found by it; how what it makes travels as JSON."""

    units: Callable[[Workspace], Sequence[Any]]
    name: Callable[[Any], str]
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


@dataclass(frozen=True)
class FollowingUnit:
    """A unit that would follow, as a dry run tells it, and the steps and units it comes of."""

    unit: str
    causes: list[str]


@dataclass(frozen=True)
class Outlook:
    """What a dry run foresees from: the plan, and by step the units that are pending now."""

    plan: Plan
    pending: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Step:
    """A step of the night; a new one is a file of its own and a line of `flows/steps/table.py`.

    Attributes:
        pending: the units that are to be done now.
        make: makes a unit. A step that runs side by side only prepares it, in turn, and returns the
            work that is left: a call that touches no store, and that can be sent to a worker.
        keep: puts what was made on record, together; without it, making a unit keeps it.
        intend: says of some units that they are about to be made, where making one writes to a
            store already.
        remote: lets workers make units that this process would make in turn.
        concurrency: whether units are made in turn, or their work is done side by side.
        faulty: units that fail before any is looked at, by name.
        finish: acts after the units, by the name under which a failing one is told.
        followers: the units that would come of what is pending in the steps before, for a dry run.
    """

    pending: Callable[[Workspace], Sequence[Any]]
    make: Callable[[Workspace, Any], Any]
    keep: Callable[[Workspace, Sequence[Any]], None] | None = None
    intend: Callable[[Workspace, Sequence[Any]], None] | None = None
    remote: RemoteWork | None = None
    concurrency: Literal["in_turn", "side_by_side"] = "in_turn"
    faulty: Callable[[Declarations], Mapping[str, RpeError]] = lambda declared: {}
    finish: Mapping[str, Callable[[Workspace], None]] = field(default_factory=dict)
    followers: Callable[[Outlook], Iterable[FollowingUnit]] = lambda outlook: ()

    def __post_init__(self) -> None:
        """Refuse a step that would send its units to workers in two ways."""
        if self.remote and self.concurrency == "side_by_side":
            raise InputError(
                "A step that runs side by side sends its work to workers, and no unit by its id.",
                expected="remote, or concurrency side_by_side",
            )
