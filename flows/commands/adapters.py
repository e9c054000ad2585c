"""Commands about the library's adapters: listing, showing, carrying them in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.command_line import Group
from flows.commands.output import AsJson, say, show_ids, show_rows

app = typer.Typer(
    cls=Group, help="Adapters of the library.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_adapters(as_json: AsJson = False) -> None:
    """List the adapters of the library.

    Example: rpe adapters list --json
    """
    from catalog.queries.adapters import list_adapters as list_all
    from flows.workspace.lake_reads import open_lake_to_read  # DuckDB is not needed for `--help`
    from flows.workspace.settings import Settings

    with open_lake_to_read(Settings()) as lake:
        rows = list_all(lake)
    columns = "adapter_id base_id recipe_id rank validation_score license model_name model_version"
    show_rows(rows, as_json=as_json, title="adapters", columns=columns)


@app.command("show")
def show_adapter(
    adapter: Annotated[str, typer.Argument(help="An adapter id.")], as_json: AsJson = False
) -> None:
    """Show one adapter: recipe, hashes, lineage and where it serves.

    Example: rpe adapters show adapter:site_a@0123456789ab
    """
    from catalog.errors import RecordNotFound
    from catalog.queries.current import adapters
    from flows.workspace.lake_reads import open_lake_to_read  # DuckDB is not needed for `--help`
    from flows.workspace.settings import Settings

    with open_lake_to_read(Settings()) as lake:
        rows = list(adapters(lake, [adapter]).values())
    if not rows:
        raise RecordNotFound("No adapter has this id.", remedy="`rpe adapters list` shows them")
    facts = [{"field": key, "value": value} for key, value in rows[0].items()]
    show_rows(rows if as_json else facts, as_json=as_json, title=adapter)


@app.command("import")
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and show what would be filed; file nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """File adapters that were trained elsewhere: all of them, or none and the reason for each.

    What was checked, hashes included, is shown before any of it is filed. A bundle of `rpe adapters
    export` says everything itself. A plain PEFT folder needs the options; --sample and
    --representation may name a file in each folder, and of several folders each is a source of its
    own, named after the folder.

    Example: rpe adapters import bundles/*
    """
    from flows.adapters.import_adapters import (  # torch takes seconds to import
        ImportSpec,
        import_adapters,
    )
    from flows.runs.progress import progress_on_stderr
    from flows.workspace.settings import Settings

    spec = ImportSpec(base, source, license, task_of, sample, representation, confirm_base)
    with progress_on_stderr("checking the adapters"):
        ids = import_adapters(
            Settings(),
            places,
            spec,
            is_registered=register,
            is_dry_run=dry_run,
            on_checked=_show_checked,
        )
    show_ids(ids, as_json=as_json)
    say(f"{len(ids)} would be filed" if dry_run else f"{len(ids)} new in the library")


def _show_checked(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        say(f"  {row['adapter_id']}: rank {row['rank']}, {row['n_items']} items, {row['license']}")
        if row["mapped"]:
            say(f"    fitted to the base: {row['mapped']}")


@app.command("export")
def export(
    adapter: Annotated[str, typer.Argument(help="An adapter id.")],
    out: Annotated[Path, typer.Option(help="The folder to write; it must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Write an adapter as a bundle: weights, card, representation, hashes, no row of data.

    Example: rpe adapters export adapter:site_a@0123456789ab --out bundles/site_a
    """
    from flows.adapters.export_adapter import export_adapter  # the stores take seconds to import
    from flows.workspace.settings import Settings

    show_ids([str(export_adapter(Settings(), adapter, out))], as_json=as_json)


@app.command("grams")
def grams(
    adapter: Annotated[str, typer.Argument(help="An adapter id.")],
    out: Annotated[Path, typer.Option(help="The file to write; it must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Write what an adapter's modules were fed, as sums, for `rpe merge --method regmean`.

    Example: rpe adapters grams adapter:site_a@0123456789ab --out site_a.grams.safetensors
    """
    from flows.adapters.export_grams import export_grams  # the stores take seconds to import
    from flows.workspace.settings import Settings

    show_ids([str(export_grams(Settings(), adapter, out))], as_json=as_json)
