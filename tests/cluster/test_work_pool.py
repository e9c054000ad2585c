"""What the containers run, as plain processes: server, pool, deployments, worker, tracking."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from flows.runs.processes import end_process
from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of
from tests.pico_world import SITES, make_pico_workspace

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
START_SECONDS = 120.0


@contextmanager
def running(*command: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A process from outside the repository, ended with its children however the test ends."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            env=environment, cwd=log.parent, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield
    finally:
        end_process(process.pid)
        process.wait()


def await_health(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)  # a server has no other way to tell us that it listens
    pytest.fail(log.read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.cluster
def test_a_worker_of_the_pool_runs_the_deployments(
    tmp_path: Path, lay_prefect_tables: Callable[[Settings], None]
) -> None:
    settings = make_pico_workspace(tmp_path)
    lay_prefect_tables(settings)
    port, tracking = free_port(), free_port()
    api = f"http://127.0.0.1:{port}/api"
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **own, "PREFECT_HOME": str(settings.prefect_home), "PREFECT_API_URL": api,
        "DO_NOT_TRACK": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip

    def prefect(*arguments: str) -> None:
        done = subprocess.run(
            [str(BIN / "prefect"), *arguments],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    with ExitStack() as stack:
        log = tmp_path / "server.log"
        server = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        stack.enter_context(running(*server, environment=environment, log=log))
        await_health(f"{api}/health", log)
        prefect("work-pool", "create", "rpe", "--type", "process")
        prefect("work-pool", "set-concurrency-limit", "rpe", "1")
        prefect("--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect.yaml")
        worker = ("prefect", "worker", "start", "--pool", "rpe")
        stack.enter_context(running(*worker, environment=environment, log=tmp_path / "worker.log"))
        home = f"home={settings.root}"
        run = ("deployment", "run", "--watch")
        prefect(*run, "night/nightly", "--param", home, "--param", 'only=["ingest"]')
        rows = read_rows_of(settings, "SELECT source FROM core.batches ORDER BY source")
        assert [row["source"] for row in rows] == list(SITES)
        prefect(*run, "maintain/maintain", "--param", home)
        log = tmp_path / "tracking.log"
        store = ("--backend-store-uri", settings.tracking, "--artifacts-destination", str(tmp_path))
        where = ("--host", "127.0.0.1", "--port", str(tracking), "--workers", "1")
        command = ("mlflow", "server", *where, *store)
        stack.enter_context(running(*command, environment=environment, log=log))
        await_health(f"http://127.0.0.1:{tracking}/health", log)
