"""Prefect's server is killed in the middle of a night, which ends without it or with the next."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.runs.prefect_server import prefect_server, start_server
from flows.runs.processes import end_process
from flows.workspace.settings import Settings
from tests.end_state import end_state
from tests.kill_matrix import World, ended, put_back, run_undisturbed
from tests.kill_operations import NIGHT_WORDS

pytestmark = [pytest.mark.slow, pytest.mark.ci_slow]


@pytest.fixture(scope="module")
def calm(
    tmp_path_factory: pytest.TempPathFactory, prefect_api: str
) -> tuple[World, dict[str, Any]]:
    """A world after its undisturbed night, and how that ended."""
    root = tmp_path_factory.mktemp("away")
    world = World(root, {"PREFECT_API_URL": prefect_api, "OMP_NUM_THREADS": "1"})
    run_undisturbed(world)
    return world, end_state(Settings(home=world.home))


@pytest.fixture
def prefect(tmp_path: Path, lay_prefect_tables: Callable[[Settings], None]) -> Settings:
    """Where the server that is killed keeps its records."""
    settings = Settings(home=tmp_path / "prefect")
    lay_prefect_tables(settings)
    return settings


def night_without(prefect: Settings, world: World, **environment: str) -> subprocess.Popen[str]:
    """A night on the fresh workspace that kills its server when the first vectors are kept."""
    put_back(world, world.fresh())
    server = json.loads((prefect.prefect_home / "server.json").read_text())
    own = {"PREFECT_API_URL": f"http://127.0.0.1:{server['port']}/api", **environment}
    there = replace(world, environment={**world.environment, **own})
    return there.start("--at", "vectors add", "--do", f"kill -9 {server['pid']}", *NIGHT_WORDS)


def test_gone_for_good(calm: tuple[World, dict[str, Any]], prefect: Settings) -> None:
    """The night is done and tells who is gone; what Prefect's threads still held is dropped."""
    world, state = calm
    with prefect_server(prefect):
        night = ended(night_without(prefect, world, PREFECT_CLIENT_MAX_RETRIES="1"))
    assert night.code == 1, night
    assert json.loads(night.out)["kind"] == "ServerLost"
    assert "Event(" not in night.err
    assert "Traceback" not in night.err
    assert end_state(Settings(home=world.home)) == state


def test_back_again(calm: tuple[World, dict[str, Any]], prefect: Settings) -> None:
    """The night waits for the server, which then has the run from its begin to its end."""
    world, state = calm
    with prefect_server(prefect) as url:
        server = json.loads((prefect.prefect_home / "server.json").read_text())
        night = night_without(prefect, world)
        psutil.Process(server["pid"]).wait()
        again, _ = start_server(prefect, port=server["port"])
        done = ended(night)
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            runs = client.read_flow_runs()
        end_process(again.pid)
        again.wait()
    assert done.code == 0, done
    assert [str(run.state_name) for run in runs] == ["Completed"]
    assert end_state(Settings(home=world.home)) == state
