"""The night in one screen: the verbs in order, skipping what has not changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flows.night.run_steps import NightFailed, do_steps
from flows.steps.table import STEPS, VERBS
from flows.workspace.settings import (
    Settings,  # first: it switches telemetry off before Prefect is imported
)

# isort: split
from prefect import flow
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.runs.prefect_drain import handing_over
from flows.runs.prefect_server import prefect_server
from flows.runs.run_record import NIGHT, Summary
from flows.runs.webhook import send_night_notice, tell_stop
from flows.workspace.locking import hold_workspace
from flows.workspace.stores import load_drivers, require_registry
from flows.workspace.workspace import load_declarations
from rpe_core.errors import RpeError

THREADS: Any = ThreadPoolTaskRunner(max_workers=len(os.sched_getaffinity(0)))


def run_night(
    settings: Settings, *, only: Sequence[str] = VERBS, targets: Sequence[str] = ()
) -> Summary:
    """One night on a workspace of its own server, or on the API that the environment names.

    Raises:
        WorkspaceBusy: if another run holds the workspace.
        InputError: if the plan has faults; nothing has been touched then.
        RegistryLost: if the registry is gone; nothing has been touched then.
    """
    try:
        load_declarations(settings).plan.narrowed(targets)
        require_registry(settings)
    except RpeError as error:
        tell_stop(settings, _name_of(only), error)
        raise
    return run_flow(settings, partial(nightly, str(settings.root), list(only), list(targets)))


def run_flow(settings: Settings, flow_run: Callable[[], Summary]) -> Summary:
    """Run a flow that holds this workspace, whether it fails or not, beside its Prefect server.

    Raises:
        WorkspaceBusy: if another run holds the workspace.
        ServerLost: if Prefect's server does not answer, before the flow or when it ends.
    """
    with (
        hold_workspace(settings),
        prefect_server(settings, meanwhile=partial(load_drivers, settings)) as url,
        temporary_settings({PREFECT_API_URL: url}),
    ):
        try:
            with handing_over(url):
                return flow_run()
        except NightFailed as failed:
            return failed.summary


@flow(
    name="night",
    task_runner=THREADS,
    persist_result=False,
    validate_parameters=False,
)
def nightly(home: str, only: list[str], targets: list[str]) -> Summary:
    """Every verb in order; a failing source or target never stops the others.

    Raises:
        NightFailed: after the last step, if a unit failed for another reason than a refused batch.
    """
    settings, name = Settings(home=Path(home)), _name_of(only)
    steps = {verb: STEPS[verb] for verb in VERBS if verb in only}
    try:
        with hold_workspace(settings):
            declared = load_declarations(settings)
            plan = declared.plan.narrowed(targets)
            summary = send_night_notice(
                settings, do_steps(settings, declared, plan, steps, name=name)
            )
    except NightFailed as failed:
        raise NightFailed(send_night_notice(settings, failed.summary)) from None
    except Exception as error:
        tell_stop(settings, name, error)
        raise
    if summary.notice:
        get_run_logger().warning(summary.notice)
    return summary


def _name_of(only: Sequence[str]) -> str:
    """What a run of these steps is called."""
    return NIGHT if set(only) == set(VERBS) else "+".join(only)
