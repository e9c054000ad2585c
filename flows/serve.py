"""Serve: the plan's schedule, on the workspace's own server if none is set, until told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any

from flows.settings import Settings  # first: it switches telemetry off before Prefect is imported

# isort: split
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types.entrypoint import EntrypointType

from flows.deployments import Deployment, night_of
from flows.locking import hold_schedule, hold_workspace
from flows.nightly import nightly
from flows.server import prefect_server
from flows.workspace import load_declarations
from rpe_core.errors import DeclarationError, Fault

INSIST_SECONDS = 30.0  # a night that is interrupted gets this long to hand over its records


class NightRunner(Runner):
    """A runner that takes SIGTERM as Ctrl-C; Prefect's own handler forgets to await its end."""

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Stop as Ctrl-C does."""
        _stop(signal.SIGTERM, None)


def serve(settings: Settings, *, on_ready: Callable[[str, Deployment], None]) -> None:
    """Serve the schedule; returns after SIGTERM or Ctrl-C, with the server stopped.

    Raises:
        DeclarationError: the plan has faults, its schedule among them.
        WorkspaceBusy: a run holds the workspace, or another process serves its schedule.
    """
    deployment = night_of(load_declarations(settings).plan, home=str(settings.root))
    schedule = _schedule(deployment)
    signal.signal(signal.SIGTERM, _stop)
    try:
        with ExitStack() as stack:
            stack.enter_context(hold_schedule(settings))
            with hold_workspace(settings):  # a night that runs has a server, and ends it
                url = stack.enter_context(prefect_server(settings))
            stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
            runner = NightRunner(name=deployment.name, limit=1)
            runner.add_flow(
                nightly,
                name=deployment.name,
                schedule=schedule,
                parameters=deployment.parameters,
                tags=list(deployment.tags),
                entrypoint_type=EntrypointType.MODULE_PATH,  # wherever `rpe serve` was started
            )
            on_ready(url, deployment)
            asyncio.run(runner.start())
    except KeyboardInterrupt:
        return


def _schedule(deployment: Deployment) -> Schedule:
    try:
        return Cron(deployment.cron, timezone=deployment.timezone)
    except ValueError:
        expected = "minute hour day month weekday, as in 0 2 * * *"
        fault = Fault("schedule.cron", "is no cron line", expected)
        raise DeclarationError("plan.yaml", [fault]) from None


def _stop(number: int, frame: FrameType | None) -> None:
    """Interrupt now, and once more later: Prefect may swallow a first one while it starts."""
    again = threading.Timer(INSIST_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()
    signal.raise_signal(signal.SIGINT)
