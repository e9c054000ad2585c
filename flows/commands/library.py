"""Commands about adapters and ensembles: what is near, what was weighed, who serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.output import AsJson, say, show_ids, show_rows
from rpe_core.errors import InputError

adapters = typer.Typer(help="Adapters of the library.", no_args_is_help=True, rich_markup_mode=None)
Target = Annotated[str, typer.Argument(help="Name of a target of the plan.")]
Actor = Annotated[str, typer.Option(help="Who decides; it goes on record.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `rpe`."""
    for command in (nearest, ensemble, predict, promote, rollback):
        app.command()(command)


def nearest(
    target: Target,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show the adapters nearest to a target, and whether the library spans it.

    Example: rpe nearest site-d -k 3
    """
    from flows.asking import nearest_adapters  # torch and the stores take seconds to import
    from flows.settings import Settings

    rows, note = nearest_adapters(Settings(), target, k=k)
    show_rows(rows, as_json=as_json, title=f"nearest to {target}")
    if note:
        say(note)


def ensemble(
    target: Target,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show members, weights, distances and guards.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the ensembles of a target that are missing; or explain those that stand.

    Example: rpe ensemble site-d --explain
    """
    from flows.asking import explain_ensembles  # torch and the stores take seconds to import
    from flows.settings import Settings

    if not explain:
        from flows.commands.nights import run_steps

        run_steps(("ensemble",), as_json=as_json, targets=(target,))
        return
    show_rows(
        explain_ensembles(Settings(), target), as_json=as_json, title=f"ensembles of {target}"
    )


def predict(
    target: Target,
    text: Annotated[list[str] | None, typer.Option(help="An input; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with one input a line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict with the champion as a registry consumer would; with the base where none serves.

    Example: rpe predict site-d --text "Chest film without infiltrate."
    """
    from flows.asking import predict_texts  # torch and MLflow take seconds to import
    from flows.settings import Settings

    inputs = [*(text or []), *(_lines(file) if file else [])]
    rows, note = predict_texts(Settings(), target, inputs)
    say(note)
    show_rows(rows, as_json=as_json, title=target)


def promote(
    target: Annotated[str, typer.Argument(help="A target that waits for approval.")] = "",
    actor: Actor = "",
    as_json: AsJson = False,
) -> None:
    """Ask the gate about every target; with a target and an actor, approve its pending challenger.

    Exit code 4: the gate refuses the challenger of at least one target.

    Example: rpe promote site-d --actor jane.roe
    """
    if target:
        from flows.deciding import approve  # the stores take seconds to import
        from flows.settings import Settings

        show_ids([approve(Settings(), target, actor=actor)], as_json=as_json)
        return
    from flows.commands.nights import run_steps
    from flows.last_screen import read_standing
    from flows.settings import Settings

    run_steps(("promote",), as_json=as_json)
    if any(row["verdict"] == "refused" for row in read_standing(Settings())):
        raise typer.Exit(4)


def rollback(target: Target, actor: Actor = "", as_json: AsJson = False) -> None:
    """Give a target back its former champion; the night will not promote the other one again.

    Example: rpe rollback site-d --actor jane.roe
    """
    from flows.deciding import roll_back  # the stores take seconds to import
    from flows.settings import Settings

    show_ids([roll_back(Settings(), target, actor=actor)], as_json=as_json)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(
            "The file of inputs cannot be read.",
            where=str(file),
            expected="a file of UTF-8 text, one input a line",
        ) from None


@adapters.command("list")
def list_adapters(as_json: AsJson = False) -> None:
    """List the adapters of the library.

    Example: rpe adapters list --json
    """
    from flows.reading import read_rows_of  # DuckDB is not needed for `--help`
    from flows.settings import Settings

    rows = read_rows_of(Settings(), "SELECT * FROM core.adapters ORDER BY source, recorded_at")
    columns = "adapter_id base_id recipe_id rank validation_score license model_name model_version"
    show_rows(rows, as_json=as_json, title="adapters", columns=columns)


@adapters.command("show")
def show_adapter(
    adapter: Annotated[str, typer.Argument(help="An adapter id.")], as_json: AsJson = False
) -> None:
    """Show one adapter: recipe, hashes, lineage and where it serves.

    Example: rpe adapters show adapter:site_a@0123456789ab
    """
    from catalog.errors import RecordNotFound
    from flows.reading import read_rows_of  # DuckDB is not needed for `--help`
    from flows.settings import Settings

    rows = read_rows_of(Settings(), "SELECT * FROM core.adapters WHERE adapter_id = ?", [adapter])
    if not rows:
        raise RecordNotFound("No adapter has this id.", remedy="`rpe adapters list` shows them")
    facts = [{"field": key, "value": value} for key, value in rows[0].items()]
    show_rows(rows if as_json else facts, as_json=as_json, title=adapter)
