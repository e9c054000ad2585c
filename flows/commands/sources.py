"""Commands about sources: draft a contract, add it, look at what was accepted and what was not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.command_line import Group
from flows.commands.completion import complete_source
from flows.commands.output import AsJson, say, show_ids, show_rows, write_json

app = typer.Typer(
    cls=Group, help="Sources and their contracts.", no_args_is_help=True, rich_markup_mode=None
)
SourceName = Annotated[
    str, typer.Argument(help="Name of a source.", autocompletion=complete_source)
]


@app.command()
def draft(
    path: Annotated[str, typer.Argument(help="A data file, glob or fsspec URL.")],
    out: Annotated[Path | None, typer.Option(help="Where to write it; default is stdout.")] = None,
    query: Annotated[
        str | None, typer.Option(help="A SELECT, where PATH is the URI of a database.")
    ] = None,
    credentials: Annotated[
        Path | None, typer.Option(help="A file with user and password of that database.")
    ] = None,
) -> None:
    """Write a contract from the data, so that nobody starts from an empty page.

    The source is called after --out, or after the data.

    Example: rpe source draft data/reports.csv --out reports.yaml
    """
    from catalog.intake.drafting import (  # pyarrow takes a second to import
        draft_contract,
        source_name,
    )
    from catalog.intake.drafting_queries import draft_query
    from flows.workspace.contracts import write_new

    source = source_name(out.name) if out else ""
    if query:
        text = draft_query(path, query, credentials, source=source)
    else:
        text = draft_contract(path, source=source)
    if out is None:
        typer.echo(text)
        return
    write_new(out, text)
    named = out.with_name(f"{source}.yaml")
    step = "fill in what is marked" if named == out else f"fill in what is marked, call it {named}"
    say(f"{out}: {step}, then `rpe source add {named}`")


@app.command()
def add(
    contract_file: Annotated[Path, typer.Argument(help="A contract.")], as_json: AsJson = False
) -> None:
    """Check a contract and a sample of its data; accept it only if both are right.

    Example: rpe source add reports.yaml
    """
    from flows.workspace.contracts import add_contract  # pyarrow takes a second to import
    from flows.workspace.settings import Settings

    kept = add_contract(Settings(), contract_file)
    show_ids([str(kept)], as_json=as_json)
    say("accepted; name it in plan.yaml, then `rpe ingest`")


@app.command()
def check(source: SourceName, as_json: AsJson = False) -> None:
    """Say what an ingest would do with each file of a source, changing nothing.

    The files are read whole and held against the contract and against what stands. Ends with 2
    where ingest would refuse something.

    Example: rpe source check site_a
    """
    from catalog.intake.preview import COUNTS  # pyarrow takes a second to import
    from flows.workspace.contracts import check_contract, plan_roles
    from flows.workspace.settings import Settings

    settings = Settings()
    checked = check_contract(settings, source)
    faults = [{"path": f.path, "what": f.what, "expected": f.expected} for f in checked.faults]
    if as_json:
        status, aside = "refused" if faults else "ok", list(checked.set_aside)
        write_json({"status": status, "rows": checked.files, "set_aside": aside, "faults": faults})
    else:
        counted = [name for name in COUNTS if any(row.get(name) for row in checked.files)]
        columns = " ".join(["file", "verdict", *counted, "reason"])
        # why a file would be refused stands in a table of its own
        rows = [
            {**row, "reason": ""} if row["verdict"] == "refuse" else row for row in checked.files
        ]
        show_rows(rows, as_json=False, title=f"{source}: ingest would", columns=columns)
        columns = "file rule n_rows first_rows meaning"
        show_rows(checked.set_aside, as_json=False, title="quarantined rows", columns=columns)
        show_rows(faults, as_json=False, title="what would be refused")
    roles = plan_roles(settings)
    if roles is not None and source not in roles:
        say(f"{source} is not named in plan.yaml: no ingest reads it before it is")
    if faults:
        raise typer.Exit(2)


@app.command("list")
def list_sources(as_json: AsJson = False) -> None:
    """List every source: whether it stands, is in the plan, its rows, quarantine and age.

    Example: rpe source list --json
    """
    from flows.workspace.contracts import list_contracts  # DuckDB is not needed for `--help`
    from flows.workspace.settings import Settings

    rows = list_contracts(Settings())
    columns = (
        "source state in_plan n_rows n_labelled last_outcome age_days is_stale n_quarantined n_phi"
    )
    show_rows(rows, as_json=as_json, title="sources", columns=columns)
    if any(row["in_plan"] == "no" for row in rows):
        say("a source that is not in the plan is not ingested: name it in plan.yaml")


@app.command()
def show(source: SourceName, as_json: AsJson = False) -> None:
    """Show the batches of a source, what was accepted, refused, set aside, and how z drifted.

    Example: rpe source show site_a
    """
    from catalog.queries.deliveries import batches_of_source, drifts_of_source
    from flows.workspace.contracts import known_source  # pyarrow takes a second to import
    from flows.workspace.lake_reads import open_lake_to_read
    from flows.workspace.settings import Settings

    settings = Settings()
    with open_lake_to_read(settings) as lake:
        rows, drifts = batches_of_source(lake, source), drifts_of_source(lake, source)
    if not rows:
        known_source(settings, source)
    if as_json:
        write_json({"status": "ok", "rows": rows, "drifts": drifts, "faults": []})
        return
    columns = "batch_id outcome n_rows n_accepted n_unchanged n_outdated n_quarantined n_phi reason"
    show_rows(rows, as_json=False, title=f"batches of {source}", columns=columns)
    columns = "dataset_version_id role distance standard_error noise noise_ratio n_items"
    show_rows(drifts, as_json=False, title="drift of z", columns=columns)


@app.command()
def findings(
    source: SourceName,
    batch: Annotated[str, typer.Argument(help="Part of a batch id; default is all.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show which rows were quarantined and by which rule: row numbers, never values.

    Example: rpe source findings site_a
    """
    from catalog.queries.deliveries import reasons_of_quarantine
    from catalog.readers.reasons import reason_text  # pyarrow takes a second to import
    from flows.workspace.contracts import known_source
    from flows.workspace.lake_reads import open_lake_to_read
    from flows.workspace.settings import Settings

    settings = Settings()
    name = known_source(settings, source)
    with open_lake_to_read(settings) as lake:
        rows = reasons_of_quarantine(lake, name, part_of_batch_id=batch)
    show_rows(rows, as_json=as_json, title=f"quarantine of {source}")
    codes = {code for row in rows for code in row["reasons"].split(";")}
    for code in sorted(code for code in codes if reason_text(code)):
        say(f"{code}: {reason_text(code)}")
