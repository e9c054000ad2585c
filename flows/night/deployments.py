"""Names, schedules and parameters of what `rpe serve` serves, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flows.night.nightly import (
    nightly,  # first: it switches telemetry off before Prefect is imported
)

# isort: split
from prefect import Flow

from flows.steps.table import VERBS
from flows.upkeep.maintain import upkeep
from flows.workspace.plan import Plan


@dataclass(frozen=True)
class Deployment:
    """One scheduled flow; of all of them one run at a time, because each holds the workspace."""

    name: str
    flow: Flow[..., Any]
    cron: str
    timezone: str
    parameters: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ("rpe",)

    def __str__(self) -> str:
        return f"{self.name} ({self.cron} {self.timezone})"


def deployments_of(plan: Plan, *, home: str) -> tuple[Deployment, ...]:
    """The night of a plan, and the upkeep if it has not been left out."""
    when, upkeep_when = plan.schedule, plan.schedule.maintain
    asked = {"home": home, "only": list(VERBS), "targets": []}
    night = Deployment("nightly", nightly, when.cron, when.timezone, asked)
    if upkeep_when is None:
        return (night,)
    home_alone = {"home": home}
    return night, Deployment("maintain", upkeep, upkeep_when.cron, when.timezone, home_alone)
