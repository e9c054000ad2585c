"""Commands about the workspace itself: make it, look after it, look it over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.command_line import FAILED, MISUSED
from flows.commands.completion import complete_demo, complete_source
from flows.commands.output import AsJson, say, show_ids, show_rows
from flows.demos.table import DEMOS

MENDED = "store what outcome how"
PLANNED = "what count bytes minutes"
WORLDS = ", ".join(f"{name} ({demo.about})" for name, demo in DEMOS.items())


def add_to(app: typer.Typer) -> None:
    """Add these commands to `rpe`."""
    for command in (init, maintain, backup, doctor, repair, retract):
        app.command()(command)


def init(
    demo: Annotated[
        str,
        typer.Option(help=f"Make a small synthetic world: {WORLDS}.", autocompletion=complete_demo),
    ] = "",
    new_lake: Annotated[
        bool,
        typer.Option(
            "--new-lake", help="Give up a lake whose catalog is gone: its history is lost."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a workspace: plan, sources and stores. What is there already is left alone.

    `--new-lake` sets what the lost lake left aside and begins anew. What is served stays served
    until the next promotion.

    Example: rpe init --demo text
    """
    from flows.runs.progress import progress_on_stderr
    from flows.upkeep.init import init_workspace  # the stores take seconds to import
    from flows.workspace.settings import Settings

    settings = Settings()
    with progress_on_stderr("making the workspace"):
        made = init_workspace(settings, demo=demo, is_new_lake=new_lake)
    show_ids([str(settings.root)], as_json=as_json)
    say(f"{made}; next: `rpe nightly`")


def maintain(as_json: AsJson = False) -> None:
    """Remove what no row names, compact the stores, repair the aliases.

    Example: rpe maintain --json
    """
    from flows.runs.progress import progress_on_stderr
    from flows.upkeep.maintain import (
        maintain as run_maintenance,  # the stores take seconds to import
    )
    from flows.workspace.settings import Settings

    with progress_on_stderr("removing, compacting and repairing"):
        rows = run_maintenance(Settings())
    show_rows(rows, as_json=as_json, title="maintained")


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder outside of the workspace.")],
    as_json: AsJson = False,
) -> None:
    """Copy the workspace while nothing writes to it, and prove that the copy is whole.

    Every row of core is held against the chain, every artifact hashed. To restore, copy the folder
    back. Note the head of the chain that is printed: `rpe doctor` prints it of a restored one too.

    Example: rpe backup backups/2026-03-01
    """
    from flows.runs.progress import progress_on_stderr
    from flows.upkeep.backup import back_up  # the stores take seconds to import
    from flows.workspace.settings import Settings

    with progress_on_stderr("copying the workspace, then proving the copy"):
        done = back_up(Settings(), folder)
    show_ids([str(done.folder)], as_json=as_json)
    say(f"{done.n_files} files, {done.n_bytes:,} bytes, proved; head {done.head}")


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Hash every file and vector too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look the workspace over: versions, extensions, stores, permissions, clock; with what to do.

    Every row of core is held against the hashes that each run's close sealed: an edited one is
    named, with the run by which it was still whole. Files of every store are looked at by existence
    and size, with --deep by hash: what is damaged, what that costs, and what mends it.

    Example: rpe doctor
    """
    from flows.upkeep.doctor import BAD, WORKSPACE, examine  # the stores take seconds to import
    from flows.workspace.settings import Settings

    rows = examine(Settings(), is_deep=deep)
    show_rows(rows, as_json=as_json, title="doctor")
    bad = [row["check"] for row in rows if row["status"] == BAD]
    if bad:
        raise typer.Exit(MISUSED if WORKSPACE in bad else FAILED)


def repair(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; touch nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make again what is damaged or gone: vectors, artifacts, versions, aliases, the report.

    Each thing is kept only where it is what is on record; the damaged one is moved into the folder
    `aside` of the workspace. What only a backup can bring is named.

    Example: rpe repair --dry-run
    """
    from flows.runs.progress import progress_on_stderr  # the stores take seconds to import
    from flows.upkeep.repair import foretell
    from flows.upkeep.repair import repair as run_repair
    from flows.workspace.settings import Settings

    settings = Settings()
    with progress_on_stderr("hashing every store"):
        done = foretell(settings) if dry_run else run_repair(settings)
    show_rows(done.rows, as_json=as_json, title="repair", columns=MENDED)
    if not done.rows:
        say("all that the stores keep is what was kept")
    if done.run_id:
        say(f"on record as {done.run_id}; `rpe doctor --deep` looks once more")
    if not done.is_whole:
        say("what is left only a backup brings: see `Restore` in infra/runbook.md")
        raise typer.Exit(FAILED)


def retract(
    subject: Annotated[
        str,
        typer.Argument(
            help="A source, or the id of a dataset version.", autocompletion=complete_source
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be taken; touch nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Withdraw a dataset as if it had never been: aliases at once, then erasure, then a rebuild.

    Example: rpe retract site_a --reason "consent withdrawn" --dry-run
    """
    # Prefect and the stores take seconds to import
    from flows.night.retract import plan_retraction
    from flows.night.retract import retract as run_retraction
    from flows.runs.progress import progress_on_stderr
    from flows.workspace.settings import Settings

    settings = Settings()
    if dry_run:
        rows = plan_retraction(settings, subject)
        show_rows(
            rows, as_json=as_json, title=f"would be withdrawn with {subject}", columns=PLANNED
        )
        return
    with progress_on_stderr("looking for what was made of it"):
        done = run_retraction(settings, subject, reason=reason, on_plan=_show_plan)
    show_ids([done.retraction_id], as_json=as_json)
    say(done.told)
    if not done.is_clean:
        raise typer.Exit(1)


def _show_plan(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["count"]:
            say(f"  {row['what']}: {row['count']}")
