"""Serve: the plan's schedule, on the workspace's own server if none is set, until told to stop."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from flows.settings import Settings  # first: it switches telemetry off before Prefect is imported

# isort: split
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deployments import night_of
from flows.nightly import nightly
from flows.server import prefect_server
from flows.workspace import load_declarations


def serve(settings: Settings, *, on_ready: Any) -> None:
    """Serve the schedule; returns after SIGTERM or Ctrl-C, with the server stopped."""
    deployment = night_of(load_declarations(settings).plan, home=str(settings.root))
    signal.signal(signal.SIGTERM, _stop)
    try:
        with prefect_server(settings) as url, temporary_settings({PREFECT_API_URL: url}):
            on_ready(url, deployment)
            nightly.serve(
                name=deployment.name,
                schedule=Cron(deployment.cron, timezone=deployment.timezone),
                parameters=deployment.parameters,
                tags=list(deployment.tags),
                limit=1,
                print_starting_message=False,
            )
    except (KeyboardInterrupt, SystemExit):
        return


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
