"""What Prefect keeps of past runs, removed: names of units, parameters, states, logs, events."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flows.workspace.settings import (  # first: telemetry off before Prefect
    Settings,
    prefect_api_url,
)

# isort: split
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from catalog.errors import StoreUnavailable
from catalog.stores.sqlite_files import vacuum

_PAGE = 200
_WAIT_SECONDS = 60.0
# Run records, children first; all but the run that is asking, and those that are still to come.
_PAST_RUNS = "flow_run WHERE id <> :present AND state_type <> 'SCHEDULED'"
_OF_RUNS = (
    "task_run_state WHERE task_run_id IN (SELECT id FROM task_run WHERE {past})",
    "task_run WHERE {past}",
    "flow_run_input WHERE {past}",
    "log WHERE {past}",
    "artifact WHERE {past}",
    "artifact_collection WHERE {past}",
    "flow_run_state WHERE {past}",
    _PAST_RUNS,
)
_OF_ALL = ("task_run_state_cache", "event_resources", "events")
_PAST = (
    "(flow_run_id IS NULL OR flow_run_id <> :present AND flow_run_id NOT IN"
    " (SELECT id FROM flow_run WHERE state_type = 'SCHEDULED'))"
)


def erase_prefect_records(settings: Settings) -> str:
    """Remove the records of all past runs of this workspace; in words, what became of them.

    They are a copy of what core.runs says. Of a server that the environment names, its API removes
    flow runs, logs and artifacts; events go when that server's retention ends.

    Raises:
        StoreUnavailable: another process holds the database.
    """
    named = prefect_api_url()
    if named:
        with temporary_settings({PREFECT_API_URL: named}):
            n_runs = _erase_by_api(str(settings.root))
        return f"{n_runs} flow runs and their logs removed through the API; events age there"
    database = settings.prefect_home / "prefect.db"
    if not database.exists():
        return "none"
    n_runs = _erase_in_file(settings, str(flow_run.id or ""))
    vacuum(database)
    return removal_text(n_runs)


def count_prefect_runs(settings: Settings) -> int | None:
    """How many past runs the workspace's own database has; None where there is none to count in.

    Raises:
        StoreUnavailable: another process holds the database.
    """
    database = settings.prefect_home / "prefect.db"
    if prefect_api_url() or not database.exists():
        return None
    with _prefect_errors(database), closing(_opened(database)) as file:
        counted = f"SELECT count(*) FROM {_PAST_RUNS}"
        row = file.execute(counted, {"present": str(flow_run.id or "")}).fetchone()
    return int(row[0])


def removal_text(n_runs: int) -> str:
    """What a certificate says of runs that were removed from the workspace's own database."""
    return f"{n_runs} flow runs removed"


@contextmanager
def _prefect_errors(database: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error:
        raise StoreUnavailable(
            "Prefect's database could not be cleared of past runs.",
            where=str(database),
            remedy="stop `rpe serve`, then `rpe maintain` goes on",
        ) from None


def _opened(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=_WAIT_SECONDS)


def _erase_in_file(settings: Settings, present: str) -> int:
    database = settings.prefect_home / "prefect.db"
    with _prefect_errors(database), closing(_opened(database)) as file, file:
        for entry in _OF_RUNS:
            done = file.execute(f"DELETE FROM {entry.format(past=_PAST)}", {"present": present})
        for table in _OF_ALL:
            file.execute(f"DELETE FROM {table}")
    return done.rowcount


def _erase_by_api(home: str) -> int:
    n_runs = 0
    with get_client(sync_client=True) as client:
        for run in list(_past_runs(client)):
            if run.parameters.get("home") != home:
                continue
            wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
            for artifact in client.read_artifacts(artifact_filter=wanted):
                client.delete_artifact(artifact.id)
            client.delete_flow_run(run.id)
            n_runs += 1
    return n_runs


def _past_runs(client: SyncPrefectClient) -> Iterator[FlowRun]:
    """Every flow run but the present one and those that are still to come."""
    for first in itertools.count(step=_PAGE):
        page = client.read_flow_runs(limit=_PAGE, offset=first)
        for run in page:
            if str(run.id) != flow_run.id and run.state_type != StateType.SCHEDULED:
                yield run
        if len(page) < _PAGE:
            return
