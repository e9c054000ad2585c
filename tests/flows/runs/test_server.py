"""The workspace's own Prefect server: one is started, reused, reaped when its owner is gone."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from flows.runs.prefect_server import prefect_server, reap_stale_server
from flows.runs.processes import started_at
from flows.workspace.settings import Settings

Child = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def settings(
    tmp_path: Path, lay_prefect_tables: Callable[[Settings], None], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A workspace with nothing but a server's database, and no API in the environment."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    settings = Settings(home=tmp_path)
    lay_prefect_tables(settings)
    return settings


@pytest.fixture
def child() -> Iterator[Child]:
    """Starts processes that wait for a word that never comes; none outlives the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def record(settings: Settings) -> Path:
    return settings.prefect_home / "server.json"


def write_record(settings: Settings, server: int, owner: int, **other: Any) -> None:
    """What a server of this process id, started by this owner, would have left."""
    entry = {
        "pid": server,
        "started": started_at(server),
        "port": 9,  # discard: nobody listens there
        "owner_pid": owner,
        "owner_started": started_at(owner),
        **other,
    }
    record(settings).write_text(json.dumps(entry))


def listening(pid: int) -> set[str]:
    """The addresses at which a process waits for others."""
    connections = psutil.Process(pid).net_connections("inet")
    return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}


def test_a_stale_server_gives_way_to_a_new_one_that_is_reused_and_stopped(
    settings: Settings, child: Child
) -> None:
    stale, owner = child(), child()
    write_record(settings, stale.pid, owner.pid)
    owner.kill()
    owner.wait()
    with prefect_server(settings) as url:
        assert started_at(stale.pid) is None, "the server that nobody owned was ended"
        entry = json.loads(record(settings).read_text())
        assert url == f"http://127.0.0.1:{entry['port']}/api"
        assert httpx.get(f"{url}/health", trust_env=False).json() is True
        assert listening(entry["pid"]) == {"127.0.0.1"}
        opened = {file.path for file in psutil.Process(entry["pid"]).open_files()}
        assert str(settings.prefect_home / "prefect.db") in opened, "the workspace's own database"
        with prefect_server(settings) as again:
            assert again == url
        assert json.loads(record(settings).read_text()) == entry
        assert httpx.get(f"{url}/health", trust_env=False).is_success, "only its starter stops it"
    assert started_at(entry["pid"]) is None
    assert not record(settings).exists()


def test_the_api_of_the_environment_wins(
    settings: Settings, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = child()
    write_record(settings, process.pid, process.pid)
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example.org/api")
    before = record(settings).read_text()
    with prefect_server(settings) as url:
        assert url == "http://prefect.example.org/api"
    assert process.poll() is None
    assert record(settings).read_text() == before


def test_a_server_without_an_owner_is_ended(settings: Settings, child: Child) -> None:
    process, owner = child(), child()
    write_record(settings, process.pid, owner.pid)
    owner.kill()
    owner.wait()
    reap_stale_server(settings)
    assert started_at(process.pid) is None
    assert not record(settings).exists()


def test_a_process_that_took_over_the_pid_is_left_alone(settings: Settings, child: Child) -> None:
    process = child()
    earlier = (started_at(process.pid) or 0.0) - 3600.0
    write_record(settings, process.pid, process.pid, started=earlier)
    reap_stale_server(settings)
    assert process.poll() is None
    assert not record(settings).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": null}', '{"pid": "x"}', "7"])
def test_a_record_that_cannot_be_read_names_nobody(settings: Settings, text: str) -> None:
    record(settings).write_text(text)
    reap_stale_server(settings)
    assert not record(settings).exists()


def test_no_record_is_nothing_to_reap(settings: Settings) -> None:
    reap_stale_server(settings)
    assert not record(settings).exists()
