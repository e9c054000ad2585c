"""The Prefect server's process: `python -m flows.server_process PORT PARENT_PID`, loopback only."""

from __future__ import annotations

import sys

import flows.settings  # noqa: F401 - first: it switches telemetry off

# isort: split
import uvicorn

from flows.processes import end_with_parent


def main(port: int) -> None:
    """Serve the API and the UI until the process is ended."""
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        timeout_keep_alive=5,
    )


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    main(int(sys.argv[1]))
