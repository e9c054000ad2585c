"""Names, schedule and parameters of what `rpe serve` serves, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from flows.nightly import VERBS
from flows.plans import Plan


@dataclass(frozen=True)
class Deployment:
    """One scheduled flow: one run at a time, because a workspace has one night at a time."""

    name: str
    cron: str
    timezone: str
    parameters: dict[str, str | list[str]] = field(default_factory=dict)
    tags: tuple[str, ...] = ("rpe",)


def night_of(plan: Plan, *, home: str) -> Deployment:
    """The nightly deployment of a plan."""
    schedule = plan.schedule
    return Deployment(
        "nightly",
        schedule.cron,
        schedule.timezone,
        {"home": home, "only": list(VERBS), "targets": []},
    )
