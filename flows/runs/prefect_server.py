"""The workspace's own Prefect server: started if none is set, reaped if stale."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from catalog.stores.disk import disk_errors
from flows.runs.processes import end_process, is_same_process, started_at
from flows.workspace.settings import Settings, child_environment, prefect_api_url
from rpe_core.errors import RpeError

START_SECONDS = 90.0  # cold: migrations of a new database on a busy machine


@dataclass(frozen=True)
class ServerRecord:
    """server.json: the server's process and port, and the process that will stop it."""

    pid: int
    started: float
    port: int
    owner_pid: int
    owner_started: float

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def is_alive(self) -> bool:
        """Whether the server's process runs."""
        return is_same_process(self.pid, self.started)

    @property
    def is_owned(self) -> bool:
        """Whether the process that started it runs."""
        return is_same_process(self.owner_pid, self.owner_started)


@contextmanager
def prefect_server(
    settings: Settings, *, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """The URL of a Prefect API: the one that the environment names, a living one, or a new one.

    A server that this call started is stopped on leaving, and by the kernel if we are killed. It
    takes seconds to start, in which `meanwhile` is called.
    """
    named = prefect_api_url()
    if named:
        yield named
        return
    living = _living_server(settings)
    if living:
        yield living
        return
    reap_stale_server(settings)
    process, url = start_server(settings)
    try:
        meanwhile()
        _await_health(settings, process, url)
        yield url
    finally:
        end_process(process.pid)
        process.wait()  # it is gone; Popen alone does not know, and would warn when it is collected
        _record(settings).unlink(missing_ok=True)


def reap_stale_server(settings: Settings) -> None:
    """End a server whose owner is gone; the caller holds the workspace's lock."""
    server = _read(settings)
    if server and server.is_alive:
        end_process(server.pid)
    _record(settings).unlink(missing_ok=True)


def _living_server(settings: Settings) -> str | None:
    server = _read(settings)
    if not (server and server.is_owned and server.is_alive):
        return None
    with _client() as client:
        return server.url if _is_healthy(client, server.url) else None


def start_server(settings: Settings, *, port: int = 0) -> tuple[subprocess.Popen[bytes], str]:
    """A server's process on loopback, and where its API will be; by default any free port.

    The process inherits the socket: between the choice of a port and its use none can take it.
    """
    with disk_errors("the folder of Prefect's server", settings.prefect_home):
        settings.prefect_home.mkdir(parents=True, exist_ok=True)
        (settings.prefect_home / "server.log").open("ab").close()
    with socket.create_server(("127.0.0.1", port)) as listening:
        port, number = listening.getsockname()[1], listening.fileno()
        command = [
            sys.executable,
            "-m",
            "flows.runs.prefect_server_process",
            str(number),
            str(os.getpid()),
        ]
        with (settings.prefect_home / "server.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=child_environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[number],
            )
    return process, _write(settings, process.pid, port).url


def _await_health(settings: Settings, process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    with _client() as client:
        while process.poll() is None and time.monotonic() < deadline:
            if _is_healthy(client, url):
                return
            time.sleep(0.1)  # a server has no other way to tell us that it listens
    raise RpeError(
        "The workspace's Prefect server did not start.",
        where=str(settings.prefect_home / "server.log"),
        remedy="read the log; or set PREFECT_API_URL to a server of your own",
    )


def _client() -> httpx.Client:
    """To be used for many questions: to make one reads every certificate of the system."""
    return httpx.Client(timeout=2.0, trust_env=False)


def _is_healthy(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/health").is_success
    except httpx.HTTPError:
        return False


def _record(settings: Settings) -> Path:
    return settings.prefect_home / "server.json"


def _read(settings: Settings) -> ServerRecord | None:
    """The record, or None where there is none that can be read."""
    try:
        values = json.loads(_record(settings).read_text())
        return ServerRecord(
            int(values["pid"]),
            float(values["started"]),
            int(values["port"]),
            int(values["owner_pid"]),
            float(values["owner_started"]),
        )
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _write(settings: Settings, pid: int, port: int) -> ServerRecord:
    owner = os.getpid()
    # a process that is gone already never started: no other one will be taken for it
    written = ServerRecord(pid, started_at(pid) or 0.0, port, owner, started_at(owner) or 0.0)
    _record(settings).write_text(json.dumps(asdict(written), sort_keys=True))
    return written
