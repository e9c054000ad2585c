"""The workspace's own Prefect server: started if none is set, reaped if stale."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from flows.processes import end_process, is_same_process, started_at
from flows.settings import Settings, child_environment, prefect_api_url
from rpe_core.errors import RpeError

START_SECONDS = 90.0  # cold: migrations of a new database on a busy machine


@contextmanager
def prefect_server(settings: Settings) -> Iterator[str]:
    """The URL of a Prefect API: the one that the environment names, a living one, or a new one.

    A server that this call started is stopped on leaving, and by the kernel if we are killed.
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
    process, url = _start(settings)
    try:
        yield url
    finally:
        end_process(process.pid)
        process.wait()  # it is gone; Popen alone does not know, and would warn when it is collected
        _record(settings).unlink(missing_ok=True)


def reap_stale_server(settings: Settings) -> None:
    """End a server whose owner is gone; the caller holds the workspace's lock."""
    entry = _read(settings)
    if entry and is_same_process(int(entry["pid"]), float(entry["started"])):
        end_process(int(entry["pid"]))
    _record(settings).unlink(missing_ok=True)


def _living_server(settings: Settings) -> str | None:
    entry = _read(settings)
    if not entry:
        return None
    owned = is_same_process(int(entry["owner_pid"]), float(entry["owner_started"]))
    alive = is_same_process(int(entry["pid"]), float(entry["started"]))
    url = f"http://127.0.0.1:{entry['port']}/api"
    return url if owned and alive and _is_healthy(url) else None


def _start(settings: Settings) -> tuple[subprocess.Popen[bytes], str]:
    settings.prefect_home.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [sys.executable, "-m", "flows.server_process", str(port), str(os.getpid())]
    with (settings.prefect_home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=child_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}/api"
    _write(settings, process.pid, port)
    _await_health(settings, process, url)
    return process, url


def _await_health(settings: Settings, process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _is_healthy(url):
            return
        time.sleep(0.1)  # a server has no other way to tell us that it listens
    end_process(process.pid)
    process.wait()
    _record(settings).unlink(missing_ok=True)
    raise RpeError(
        "The workspace's Prefect server did not start.",
        where=str(settings.prefect_home / "server.log"),
        remedy="read the log; or set PREFECT_API_URL to a server of your own",
    )


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _record(settings: Settings) -> Path:
    return settings.prefect_home / "server.json"


def _read(settings: Settings) -> dict[str, float] | None:
    try:
        entry: dict[str, float] = json.loads(_record(settings).read_text())
    except (OSError, ValueError):
        return None
    return entry


def _write(settings: Settings, pid: int, port: int) -> None:
    entry = {
        "pid": pid,
        "started": started_at(pid),
        "port": port,
        "owner_pid": os.getpid(),
        "owner_started": started_at(os.getpid()),
    }
    _record(settings).write_text(json.dumps(entry, sort_keys=True))
