"""Commands about time: how a target has done over its nights, and who serves it since when."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.output import AsJson

Target = Annotated[
    str, typer.Argument(help="A target of the plan, or of a former one; none means all.")
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `rpe`."""
    for command in (history, champion):
        app.command()(command)


def history(
    target: Target = "",
    nights: Annotated[
        int, typer.Option("--nights", min=1, help="How many; only those that changed something.")
    ] = 14,
    as_json: AsJson = False,
) -> None:
    """Tell how a target did over its nights: champion, challenger, base, and what was decided.

    Nights in which nothing happened to the target are counted, not listed. Without a target: one
    line for each of the plan.

    Example: rpe history site-d
    """
    from flows.commands.history_screen import show_history, show_overview
    from flows.targets.history import occasions_of, overview  # DuckDB is not needed for `--help`
    from flows.workspace.settings import Settings

    if target:
        occasions = occasions_of(Settings(), target)
        show_history(target, occasions, nights=nights, as_json=as_json)
    else:
        show_overview(overview(Settings()), as_json=as_json)


def champion(target: Target = "", as_json: AsJson = False) -> None:
    """Tell which version serves a target: since when, who decided, why, and its members.

    Where none serves it says what answers instead, why, and what to do. Without a target: one line
    for each of the plan.

    Example: rpe champion site-d
    """
    from flows.commands.history_screen import show_champion, show_overview
    from flows.targets.history import champion_of, overview  # DuckDB is not needed for `--help`
    from flows.workspace.settings import Settings

    if target:
        show_champion(champion_of(Settings(), target), as_json=as_json)
    else:
        show_overview(overview(Settings()), as_json=as_json)
