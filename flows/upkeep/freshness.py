"""Freshness: sources of the plan that have gone silent, by the limit of their contracts."""

from __future__ import annotations

from datetime import UTC, datetime

from catalog.queries import current
from catalog.queries.withdrawn import withdrawn_sources
from flows.runs.ledger import Alert
from flows.workspace.workspace import Workspace

SILENT = "silent"


def silent_sources(workspace: Workspace) -> list[Alert]:
    """An alert for each source that has been silent for longer than its contract allows.

    The same bytes delivered again break no silence. A source that was withdrawn owes nothing.
    """
    known = {name: workspace.contracts.get(name) for name in workspace.plan.sources}
    limits = {n: c.freshness.max_age_days for n, c in known.items() if c and c.freshness}
    if not limits:
        return []
    lake, alerts = workspace.stores.lake, []
    heard, withdrawn = current.last_arrivals(lake), withdrawn_sources(lake)
    for source in sorted(set(limits) - withdrawn):
        limit = limits[source]
        silence = _silence(heard.get(source), now=workspace.run.started_at, limit=limit)
        if silence:
            remedy = (
                f"ask its owner for a delivery; `rpe source show {source}` lists what was delivered"
            )
            last = heard.get(source)
            cause = last.astimezone(UTC).isoformat() if last else "never"
            message = f"{source} {silence}"
            alerts.append(Alert(SILENT, source, message, remedy, source=source, cause=cause))
    return alerts


def _silence(last: datetime | None, *, now: datetime, limit: int) -> str:
    """The silence in words, or '' where it is within the limit of so many days."""
    if last is None:
        return f"has delivered nothing yet; its contract allows {limit} days of silence"
    days = (now - last).total_seconds() / 86_400
    if days <= limit:
        return ""
    return f"has been silent for {days:.1f} days; its contract allows {limit}"
