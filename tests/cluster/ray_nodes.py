"""A Ray of its own for tests: a head that computes nothing and two workers, all on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ray
from ray.exceptions import RaySystemError

HOST = "127.0.0.1"
N_WORKERS = 2
START_SECONDS = 180.0


@contextmanager
def ray_nodes(scratch: Path) -> Iterator[str]:
    """The address of a Ray for the length of a `with` block; nodes have the environment of now."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        address = f"{HOST}:{free.getsockname()[1]}"
    head = ["--head", f"--port={address.partition(':')[2]}", "--num-cpus=0"]
    head += ["--include-dashboard=false", f"--temp-dir={scratch}"]
    worker = [f"--address={address}", "--num-cpus=1"]
    with ExitStack() as nodes:
        nodes.enter_context(_node(head))
        _await(address, 1)
        for number in range(N_WORKERS):  # two that start at once take the same socket
            nodes.enter_context(_node(worker))
            _await(address, 2 + number)
        yield address


@contextmanager
def _node(arguments: list[str]) -> Iterator[None]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start"]
    command += ["--block", "--disable-usage-stats"]
    command += [f"--node-ip-address={HOST}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()  # it ends what it has started
        process.wait()


def _await(address: str, n_nodes: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            ray.init(address, _node_ip_address=HOST, log_to_driver=False, logging_level="ERROR")
            alive = [node for node in ray.nodes() if node["Alive"]]
        except (ConnectionError, RuntimeError, RaySystemError):
            alive = []
        finally:
            ray.shutdown()
        if len(alive) == n_nodes:
            return
        time.sleep(0.5)  # nodes have no other way to tell us that they have joined
    raise RuntimeError(f"{n_nodes} nodes of Ray did not start")
