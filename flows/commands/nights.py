"""Commands that run steps of the night: all of them, or one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.command_line import MISUSED
from flows.commands.completion import complete_steps
from flows.commands.output import AsJson, say, show_rows, write_json

if TYPE_CHECKING:
    from flows.runs.run_record import Summary
    from flows.workspace.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add these commands to `rpe`."""
    for command in (nightly, ingest, embed, train, evaluate, serve):
        app.command()(command)


def nightly(
    only: Annotated[
        str,
        typer.Option(
            help="Steps to run, comma-separated: ingest,embed,train,ensemble,…",
            autocompletion=complete_steps,
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; touch nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the night: ingest, embed, train, ensemble, evaluate, promote, report.

    Example: rpe nightly --dry-run
    """
    steps = _steps(only)
    if dry_run:
        # the night's modules take seconds to import
        from flows.night.dry_run import WOULD_FOLLOW, planned_units
        from flows.workspace.settings import Settings

        rows, faulty, refused = planned_units(Settings(), steps)
        shown = rows if as_json else [{**row, "after": _some(row["after"])} for row in rows]
        show_rows(shown, as_json=as_json, title="would be done")
        if any(row["certainty"] == WOULD_FOLLOW for row in rows):
            say("surely: pending now; would follow: if what comes before it changes something")
        for source, error in faulty.items():
            say(f"WOULD FAIL ingest {source}: {error}")
        for alert in refused:
            say(f"REFUSED {alert.message}; {alert.remedy}")
        if faulty:
            raise typer.Exit(MISUSED)
        return
    run_steps(steps, as_json=as_json)


def ingest(as_json: AsJson = False) -> None:
    """Land the new files of every source of the plan.

    Example: rpe ingest --json
    """
    from flows.commands.ingest_screen import show_ingest  # Prefect takes seconds to import

    run_steps(("ingest",), as_json=as_json, show=show_ingest)


def embed(as_json: AsJson = False) -> None:
    """Compute the representations that are missing.

    Example: rpe embed --json
    """
    run_steps(("embed",), as_json=as_json)


def train(as_json: AsJson = False) -> None:
    """Train the adapters that are missing.

    Example: rpe train --json
    """
    run_steps(("train",), as_json=as_json)


def evaluate(as_json: AsJson = False) -> None:
    """Score every arm of the targets whose arms or rows changed.

    Example: rpe evaluate --json
    """
    run_steps(("evaluate",), as_json=as_json)


def serve() -> None:
    """Serve the plan's schedules until stopped, and a Prefect server if none is set.

    With RPE_METRICS_PORT, also figures in OpenMetrics.

    Example: rpe serve
    """
    from flows.night.serve import serve as serve_schedule  # Prefect takes seconds to import
    from flows.workspace.settings import Settings

    serve_schedule(Settings(), on_ready=lambda served: say(f"serving {served}; Ctrl-C stops"))


def _some(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are: JSON has them all."""
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _steps(only: str) -> tuple[str, ...]:
    from flows.steps.table import VERBS
    from rpe_core.errors import InputError, UnknownName

    names = tuple(name.strip() for name in only.split(",")) if only else VERBS
    if not all(names):
        what = "A step between commas has no name."
        raise InputError(what, where="--only", expected=", ".join(VERBS))
    for name in names:
        if name not in VERBS:
            raise UnknownName("step", name, VERBS, where="--only")
        if names.count(name) > 1:
            what = f"Step {name} is named {names.count(name)} times, and a night does it once."
            raise InputError(what, where="--only", expected=f"{name} once")
    return tuple(verb for verb in VERBS if verb in names)


def run_steps(
    steps: tuple[str, ...],
    *,
    as_json: bool,
    targets: tuple[str, ...] = (),
    show: Callable[[Settings, Summary], None] | None = None,
) -> Summary:
    """Run steps of the night and show the last screen; a failure ends the command.

    `targets` narrows the steps to some targets of the plan; none means all. `show` prints another
    screen than that of a night.
    """
    from flows.commands.last_screen import (
        alerts_of,
        faults_of,
        resolved_of,
        show_summary,
    )  # Prefect takes seconds to import
    from flows.night.nightly import run_night
    from flows.runs.progress import progress_on_stderr
    from flows.workspace.settings import Settings

    settings = Settings()
    with progress_on_stderr("starting Prefect's server and the stores"):
        summary = run_night(settings, only=steps, targets=targets)
    if as_json:
        write_json(
            {
                "status": summary.outcome,
                "ids": [summary.run_id],
                "faults": faults_of(summary),
                "alerts": alerts_of(summary),
                "resolved": resolved_of(summary),
            }
        )
    else:
        (show or show_summary)(settings, summary)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)
    return summary
