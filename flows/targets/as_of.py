"""As of a date: what a target would have retrieved, and how it would have weighed it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from catalog.queries import current
from flows.library.retrieval import TargetView, retrieve
from flows.library.weighing import draft_of_target
from flows.runs.questions import open_for_question
from flows.steps.ensemble import EnsembleUnit, tuning_of, units_of
from flows.targets.asking import NotedRows, Rows, nearest_of
from flows.workspace.plan import TargetSpec
from flows.workspace.settings import Settings
from flows.workspace.workspace import Workspace
from rpe_core.errors import InputError


def moment_of(text: str) -> datetime:
    """A date or time of ISO 8601 in UTC; a date is its first instant, without a zone it is UTC.

    >>> moment_of("2026-01-31").isoformat(), moment_of("2026-01-31T01:00+02:00").isoformat()
    ('2026-01-31T00:00:00+00:00', '2026-01-30T23:00:00+00:00')

    Raises:
        InputError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(
            "This is no date or time of ISO 8601.",
            where="--as-of",
            expected="such as 2026-01-31, 2026-01-31T18:00 or 2026-01-31T18:00+01:00",
        ) from None


def nearest_as_of(settings: Settings, target: str, *, k: int, moment: datetime) -> NotedRows:
    """The k adapters that would have been nearest at a moment, and a note; none is an answer."""
    return _asked(settings, target, moment, lambda _, view: nearest_of(view, k=k))


def weighed_as_of(settings: Settings, target: str, *, moment: datetime) -> NotedRows:
    """Members, weights and guards that every strategy of the plan would have given at a moment."""
    return _asked(
        settings,
        target,
        moment,
        lambda workspace, view: [
            row for unit in units_of(workspace, view) for row in _members(workspace, view, unit)
        ],
    )


def _asked(
    settings: Settings,
    target: str,
    moment: datetime,
    answer: Callable[[Workspace, TargetView], Rows],
) -> NotedRows:
    with open_for_question(settings, as_of=moment) as workspace:
        spec = workspace.plan.target(target)
        view = retrieve(workspace, spec)
        note = f"as of {moment.isoformat()}, by the plan as it is now"
        if view is None:
            return NotedRows([], f"{note}: {_why_none(workspace, spec, moment)}")
        n_gone = current.n_withdrawn(workspace.stores.lake, since=moment)
        gone = f"; {n_gone} withdrawals since then: what they took is not shown" if n_gone else ""
        return NotedRows(answer(workspace, view), f"{note}: {view.domain.reason}{gone}")


def _members(workspace: Workspace, target: TargetView, unit: EnsembleUnit) -> Rows:
    draft = unit.draft
    if draft is None:
        tuning = tuning_of(workspace, target, unit.strategy)
        draft = draft_of_target(workspace, target, unit.strategy, tuning)
    sources = {candidate.adapter_id: candidate.source for candidate in target.candidates}
    return [
        {
            "target_name": target.name,
            "strategy": unit.arm,
            "source": sources[member.adapter_id],
            "weight": member.weight,
            "distance": member.distance,
            "abstained": draft.abstained,
            "reason": draft.reason,
            "adapter_id": member.adapter_id,
            "ensemble_id": unit.ensemble_id,
            "is_on_record": unit.ensemble_id in workspace.standing.ensembles,
        }
        for member in draft.members
    ]


def _why_none(workspace: Workspace, target: TargetSpec, moment: datetime) -> str:
    """Which of data, representation and adapters was not there yet, and since when it is."""
    lake, base_id = workspace.stores.lake, workspace.bases[target.base].base_id
    for what, first in (
        (f"{target.source} had no data", current.first_version_at(lake, target.source)),
        (f"the library held no adapter of {base_id}", current.first_adapter_at(lake, base_id)),
    ):
        if first is None:
            return f"{what}, nor does it now"
        if first > moment:
            return f"{what}; the first came at {first.isoformat()}"
    return f"{target.source} was not embedded, or no adapter was there that it may see"
