"""`rpe serve` for real: it says where it serves, a run of the deployment runs, SIGTERM ends it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.night.serve import serve
from flows.runs.processes import end_process
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from rpe_core.errors import DeclarationError
from tests.pico_world import SITES, make_pico_workspace

COMMAND = [str(Path(sys.executable).parent / "rpe"), "serve"]
READY = (
    "serving nightly (0 0 1 1 * Europe/Zurich), maintain (0 5 2 1 * Europe/Zurich);"
    " Prefect at http://127.0.0.1:"
)


@pytest.fixture
def workspace(tmp_path: Path) -> Settings:
    """A pico workspace without targets, whose next night is far away."""
    settings = make_pico_workspace(tmp_path)
    text = settings.plan_file.read_text()
    kept = text[: text.index("targets:")] + text[text.index("gate:") :]
    schedule = 'schedule: {cron: "0 0 1 1 *", timezone: Europe/Zurich,'
    schedule += ' maintain: {cron: "0 5 2 1 *"}}\n'
    settings.plan_file.write_text(kept + schedule)
    return settings


@pytest.fixture
def environment(workspace: Settings) -> dict[str, str]:
    """The environment of a command in another process; no API is named."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    home = str(workspace.root)
    return {**own, "RPE_HOME": home, "RPE_METRICS_PORT": port, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def served(
    workspace: Settings,
    environment: dict[str, str],
    lay_prefect_tables: Callable[[Settings], None],
    tmp_path: Path,
) -> Iterator[subprocess.Popen[str]]:
    """`rpe serve`, started somewhere else than where the code is; ended however the test ends."""
    lay_prefect_tables(workspace)
    process = subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        end_process(process.pid)
        process.communicate()


@pytest.mark.slow
@pytest.mark.ci_slow
def test_serve_stops_in_the_moment_it_says_that_it_serves(served: subprocess.Popen[str]) -> None:
    assert served.stderr is not None
    told = served.stderr.readline()
    served.send_signal(signal.SIGTERM)
    out, err = served.communicate(timeout=60)
    assert told.startswith(READY)
    assert (served.returncode, out, err) == (0, "", "")


@pytest.mark.slow
@pytest.mark.ci_slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_stops_while_it_starts(
    served: subprocess.Popen[str], workspace: Settings, number: signal.Signals
) -> None:
    deadline = time.monotonic() + 60
    while not (workspace.prefect_home / "server.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # a process has no other way to tell that it has begun
    served.send_signal(number)
    out, _ = served.communicate(timeout=60)
    assert (served.returncode, out) == (0, "")
    assert not (workspace.prefect_home / "server.json").exists()


@pytest.mark.slow
@pytest.mark.ci_slow
def test_serve_runs_what_is_asked_for_and_leaves_nothing_behind(
    served: subprocess.Popen[str], workspace: Settings, environment: dict[str, str]
) -> None:
    assert served.stderr is not None
    told = served.stderr.readline()
    assert told.startswith(READY)
    port = int(told.removeprefix(READY).partition(";")[0])
    api = f"http://127.0.0.1:{port}/api"

    found = httpx.post(f"{api}/deployments/filter", json={}, trust_env=False).json()
    upkeep, deployment = sorted(found, key=lambda one: str(one["name"]))
    assert (upkeep["name"], upkeep["entrypoint"]) == ("maintain", "flows.upkeep.maintain.upkeep")
    assert upkeep["schedules"][0]["schedule"]["cron"] == "0 5 2 1 *"
    assert deployment["name"] == "nightly"
    assert deployment["parameters"]["home"] == str(workspace.root)
    assert deployment["entrypoint"] == "flows.night.nightly.nightly", (
        "a module, so any folder will do"
    )
    (schedule,) = deployment["schedules"]
    assert schedule["active"]
    assert not deployment["paused"]
    assert schedule["schedule"]["cron"] == "0 0 1 1 *"
    assert schedule["schedule"]["timezone"] == "Europe/Zurich"

    with temporary_settings({PREFECT_API_URL: api}):
        steps = {"only": ["ingest", "embed", "train"]}  # train starts processes of its own
        run = run_deployment("night/nightly", parameters=steps, timeout=240, poll_interval=1)
    assert run.state is not None
    assert run.state.is_completed(), run.state.name
    with open_lake(workspace, read_only=True) as lake:
        for table in ("batches", "adapters"):
            rows = lake.rows(f"FROM core.{table} ORDER BY source")
            assert [row["source"] for row in rows] == [*SITES[:2]]
    with temporary_settings({PREFECT_API_URL: api}):
        run = run_deployment("maintain/maintain", timeout=240, poll_interval=1)
    assert run.state is not None
    assert run.state.is_completed(), run.state.name

    (url,) = [part for part in told.split() if part.endswith("/metrics;")]
    assert "rpe_lake_readable 1.0" in httpx.get(url.strip(";"), trust_env=False).text

    second = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith("WorkspaceBusy: Another process serves this workspace")

    family = psutil.Process(served.pid).children(recursive=True)
    served.send_signal(signal.SIGTERM)
    out, err = served.communicate(timeout=60)
    assert (served.returncode, out, err) == (0, "", "")
    _, left = psutil.wait_procs(family, timeout=30)  # the last one ends when it sees us gone
    assert left == []
    assert not (workspace.prefect_home / "server.json").exists()


def test_a_schedule_that_is_none_is_a_fault_of_the_plan(workspace: Settings) -> None:
    text = workspace.plan_file.read_text()
    workspace.plan_file.write_text(text.replace("0 0 1 1 *", "every night"))
    with pytest.raises(DeclarationError) as raised:
        serve(workspace, on_ready=lambda served: None)
    (fault,) = raised.value.faults
    assert (fault.path, fault.what) == ("schedule.cron", "is no cron line")
    assert not workspace.prefect_home.exists()
