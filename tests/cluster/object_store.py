"""An object store of its own for tests: moto's server as a process on loopback, gone afterwards."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.error import URLError
from urllib.request import urlopen

START_SECONDS = 60.0


@contextmanager
def object_store() -> Iterator[str]:
    """The endpoint of an empty store for the length of a `with` block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _await(f"{endpoint}/moto-api/")
        yield endpoint
    finally:
        server.kill()
        server.wait()


def _await(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(URLError, ConnectionError), urlopen(url, timeout=1.0):
            return
        time.sleep(0.1)  # a server has no other way to tell us that it listens
    raise RuntimeError("moto's server did not start")
