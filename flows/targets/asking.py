"""Questions about the library: what is near, how was it weighed, what is behind an answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from catalog.errors import RecordNotFound
from catalog.lineage import ancestors
from catalog.queries.versions import lineage_of_version
from catalog.records.champions import CHAMPION
from catalog.records.promotion import NO_CHAMPION
from catalog.report.queries import read_members
from flows.library.retrieval import TargetView, retrieve
from flows.runs.questions import open_for_question
from flows.targets.contributions import score_changes
from flows.workspace.lake_reads import (
    open_lake_to_read,
    require_lake,
)
from flows.workspace.settings import Settings
from flows.workspace.stores import open_registry
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import InputError

Rows = list[dict[str, Any]]


class NotedRows(NamedTuple):
    """What is answered, row by row, and in a sentence what to know about all of it."""

    rows: Rows
    note: str


def nearest_adapters(settings: Settings, target: str, *, k: int) -> NotedRows:
    """The k adapters nearest to a target, and what the domain guard says."""
    with open_for_question(settings) as workspace:
        view = _view(workspace, target)
        return NotedRows(nearest_of(view, k=k), view.domain.reason)


def nearest_of(target: TargetView, *, k: int) -> Rows:
    """The k nearest of the library that a target sees, one row each."""
    return [
        {"adapter_id": c.adapter_id, "source": c.source, "distance": c.distance}
        for c in target.library[:k]
    ]


def explain_ensembles(settings: Settings, target: str) -> Rows:
    """Members, weights, distances and guards of the ensembles that stand for a target."""
    name = load_declarations(settings).plan.target(target).name
    with open_lake_to_read(settings) as lake:
        return read_members(lake, targets=[name])


def explain_scores(settings: Settings, target: str) -> Rows:
    """How the validation score of each ensemble of a target changes without each source."""
    with open_for_question(settings) as workspace:
        return score_changes(workspace, _view(workspace, target))


def lineage_of(settings: Settings, subject: str) -> Rows:
    """Everything behind an id, or behind a version named `models:/<name>@<alias>` or `/<version>`.

    Raises:
        RecordNotFound: if there is no such record.
    """
    require_lake(settings)
    if subject.startswith("models:/"):
        name, version = _version(settings, subject.removeprefix("models:/"))
        with open_lake_to_read(settings) as lake:
            rows = lineage_of_version(lake, name, version)
    else:
        with open_lake_to_read(settings) as lake:
            rows = [dict(row) for row in ancestors(lake.rows, subject)]
    if not rows:
        raise RecordNotFound("Nothing is on record under this name.", remedy="`rpe adapters list`")
    return rows


def _version(settings: Settings, named: str) -> tuple[str, str]:
    if "@" not in named:
        name, _, version = named.rpartition("/")
        return name, version
    name, _, alias = named.partition("@")
    aliases = open_registry(settings, read_only=True).aliases(name)
    if alias not in aliases:
        why = why_none(settings, name) if alias == CHAMPION else ""
        raise RecordNotFound(
            f"This alias points nowhere. {why}".strip(),
            where=f"models:/{named}",
            expected=", ".join(f"@{known}" for known in sorted(aliases)) or "a version's number",
            remedy="`rpe predict` asks the base where no version serves" if why else "",
        )
    return name, aliases[alias]


def why_none(settings: Settings, model_name: str) -> str:
    """Why no version of a registered model serves, in its tag's words; '' where it does not say."""
    model = open_registry(settings, read_only=True).models().get(model_name)
    return model.tags.get(NO_CHAMPION, "") if model else ""


def _view(workspace: Workspace, target: str) -> TargetView:
    view = retrieve(workspace, workspace.plan.target(target))
    if view is None:
        raise InputError(
            "This target cannot be placed yet: it or the library has no data.",
            where=target,
            remedy="`rpe nightly` ingests, embeds and trains what is missing",
        )
    return view
