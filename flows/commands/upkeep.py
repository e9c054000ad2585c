"""Commands about the workspace itself: make it, look after it, look it over."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.demos.table import DEMOS
from flows.output import AsJson, say, show_ids, show_rows

WORLDS = ", ".join(f"{name} ({demo.about})" for name, demo in DEMOS.items())


def add_to(app: typer.Typer) -> None:
    """Add these commands to `rpe`."""
    for command in (init, maintain, doctor):
        app.command()(command)


def init(
    demo: Annotated[str, typer.Option(help=f"Make a small synthetic world: {WORLDS}.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a workspace: plan, sources and stores. What is there already is left alone.

    Example: rpe init --demo text
    """
    from flows.init import init_workspace  # the stores take seconds to import
    from flows.settings import Settings

    settings = Settings()
    made = init_workspace(settings, demo=demo)
    show_ids([str(settings.root)], as_json=as_json)
    say(f"{made}; next: `rpe nightly`")


def maintain(as_json: AsJson = False) -> None:
    """Remove what no row names, compact the stores, repair the aliases.

    Example: rpe maintain --json
    """
    from flows.maintain import maintain as run_maintenance  # the stores take seconds to import
    from flows.settings import Settings

    show_rows(run_maintenance(Settings()), as_json=as_json, title="maintained")


def doctor(as_json: AsJson = False) -> None:
    """Look the workspace over: versions, extensions, stores, disk; each with what to do.

    Example: rpe doctor
    """
    from flows.doctor import examine  # the stores take seconds to import
    from flows.settings import Settings

    rows = examine(Settings())
    show_rows(rows, as_json=as_json, title="doctor")
    if any(row["status"] == "bad" for row in rows):
        raise typer.Exit(1)
