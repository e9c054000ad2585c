"""The process of the Prefect server that `prefect_server` starts, with a socket and its parent."""

from __future__ import annotations

import socket
import sys

import flows.workspace.settings  # noqa: F401 - first: it switches telemetry off

# isort: split
import uvicorn

from flows.runs.processes import end_with_parent


def main(listening: socket.socket) -> None:
    """Serve the API and the UI on a bound socket until the process is ended."""
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        log_level="warning",
        timeout_keep_alive=5,
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    main(socket.socket(fileno=int(sys.argv[1])))
