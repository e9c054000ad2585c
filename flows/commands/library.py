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
        bool,
        typer.Option(
            "--explain", help="Show members, weights, distances, guards, and each one's part."
        ),
    ] = False,
    scores: Annotated[
        bool,
        typer.Option("--scores", help="Show the score without each source: one merge for each."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the ensembles of a target that are missing; or explain those that stand.

    Example: rpe ensemble site-d --explain
    """
    from flows.asking import explain_ensembles, explain_scores  # torch takes seconds to import
    from flows.settings import Settings

    if scores:
        show_rows(
            explain_scores(Settings(), target), as_json=as_json, title=f"{target} without a source"
        )
        return
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
    image: Annotated[
        list[Path] | None,
        typer.Option(help="An image file, or the folder of a DICOM series; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the masks of images.")] = Path("masks"),
    as_json: AsJson = False,
) -> None:
    """Predict with the champion as a registry consumer would; with the base where none serves.

    Example: rpe predict site-d --text "Chest film without infiltrate."
    """
    # torch and MLflow take seconds to import
    from flows.predicting import predict_images, predict_texts
    from flows.settings import Settings

    if image:
        rows, note = predict_images(Settings(), target, image, out)
    else:
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


@adapters.command("import")
def import_(
    places: Annotated[
        list[str], typer.Argument(help="Adapter folders, bundles, folders of them, or patterns.")
    ],
    base: Annotated[str, typer.Option(help="Base of the plan that they belong to.")] = "",
    source: Annotated[str, typer.Option(help="Name of whoever made them.")] = "",
    license: Annotated[str, typer.Option(help="Licence of what they were trained on.")] = "",
    task_of: Annotated[str, typer.Option(help="Source whose contract has their task.")] = "",
    sample: Annotated[str, typer.Option(help="File of inputs: txt, csv, jsonl, parquet.")] = "",
    representation: Annotated[str, typer.Option(help="File with z: .npy or .json.")] = "",
    confirm_base: Annotated[
        bool, typer.Option("--confirm-base", help="Take the base's name on trust.")
    ] = False,
    register: Annotated[
        bool, typer.Option("--register/--no-register", help="Give each a version in MLflow.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """File adapters that were trained elsewhere: all of them, or none and the reason for each.

    A bundle of `rpe adapters export` says everything itself. A plain PEFT folder needs the options;
    --sample and --representation may name a file in each folder, and of several folders each is a
    source of its own, named after the folder.

    Example: rpe adapters import bundles/*
    """
    from flows.importing import ImportSpec, import_adapters  # torch takes seconds to import
    from flows.progress import progress_on_stderr
    from flows.settings import Settings

    spec = ImportSpec(base, source, license, task_of, sample, representation, confirm_base)
    with progress_on_stderr():
        ids = import_adapters(Settings(), places, spec, is_registered=register)
    show_ids(ids, as_json=as_json)
    say(f"{len(ids)} new in the library")


@adapters.command("export")
def export(
    adapter: Annotated[str, typer.Argument(help="An adapter id.")],
    out: Annotated[Path, typer.Option(help="The folder to write; it must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Write an adapter as a bundle: weights, card, representation, hashes, no row of data.

    Example: rpe adapters export adapter:site_a@0123456789ab --out bundles/site_a
    """
    from flows.exporting import export_adapter  # the stores take seconds to import
    from flows.settings import Settings

    show_ids([str(export_adapter(Settings(), adapter, out))], as_json=as_json)
