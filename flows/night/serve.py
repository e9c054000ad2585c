"""Serve: the plan's schedule, on the workspace's own server if none is set, until told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from flows.workspace.settings import (
    Settings,  # first: it switches telemetry off before Prefect is imported
)

# isort: split
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types.entrypoint import EntrypointType

from flows.night.deployments import Deployment, deployments_of
from flows.night.openmetrics import offer_metrics
from flows.runs.prefect_server import prefect_server
from flows.workspace.locking import hold_schedule, hold_workspace
from flows.workspace.workspace import load_declarations


@dataclass(frozen=True)
class ServedFlow:
    """What is served: the deployments, Prefect's API, and where the metrics are ('' if nowhere)."""

    deployments: tuple[Deployment, ...]
    api_url: str
    metrics_url: str

    def __str__(self) -> str:
        names = ", ".join(map(str, self.deployments))
        metrics = f"; metrics at {self.metrics_url}" if self.metrics_url else ""
        return f"{names}; Prefect at {self.api_url.removesuffix('/api')}{metrics}"


class NightRunner(Runner):
    """A runner that tells when it polls, and that leaves SIGTERM to whoever runs it."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, limit=1)
        self.is_polling = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start every service of the runner, then tell."""
        await super().__aenter__()
        self.is_polling.set()
        return self

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: Prefect's own handler leaves without awaiting the end of its services."""


def serve(settings: Settings, *, on_ready: Callable[[ServedFlow], None]) -> None:
    """Serve the schedules; returns after SIGTERM or Ctrl-C, with the server stopped.

    Raises:
        DeclarationError: the plan has faults, its schedule among them.
        WorkspaceBusy: a run holds the workspace, or another process serves its schedule.
        RpeError: the port for metrics cannot be had.
    """
    deployments = deployments_of(load_declarations(settings).plan, home=str(settings.root))
    schedules = [Cron(deployment.cron, timezone=deployment.timezone) for deployment in deployments]
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts its `&` deaf to the first
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            stack.enter_context(hold_schedule(settings))
            with hold_workspace(settings):  # a night that runs has a server, and ends it
                url = stack.enter_context(prefect_server(settings))
            stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
            served = ServedFlow(deployments, url, stack.enter_context(offer_metrics(settings)))
            runner = NightRunner("rpe")
            for deployment, schedule in zip(deployments, schedules, strict=True):
                runner.add_flow(
                    deployment.flow,
                    name=deployment.name,
                    schedule=schedule,
                    parameters=deployment.parameters,
                    tags=list(deployment.tags),
                    entrypoint_type=EntrypointType.MODULE_PATH,  # wherever `rpe serve` was started
                )
            asyncio.run(_poll_until_told(runner, lambda: on_ready(served)))
    except KeyboardInterrupt:
        return


async def _poll_until_told(runner: NightRunner, on_polling: Callable[[], None]) -> None:
    """Run the runner until SIGTERM or Ctrl-C.

    They are heeded once it polls: a start that is cancelled half way may swallow the cancellation.
    """
    is_stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, is_stopping.set)

    async def stop() -> None:
        await runner.is_polling.wait()
        on_polling()
        await is_stopping.wait()

    polling, stopping = asyncio.create_task(runner.start()), asyncio.create_task(stop())
    await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (polling, stopping):
        task.cancel()
    for outcome in await asyncio.gather(polling, stopping, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
