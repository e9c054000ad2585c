"""Commands that only read: lineage, SQL, the report."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flows.commands.output import AsJson, show_rows, write_json


def add_to(app: typer.Typer) -> None:
    """Add these commands to `rpe`."""
    for command in (lineage, sql, report):
        app.command()(command)


def lineage(
    subject: Annotated[str, typer.Argument(help="An id, or models:/<name>@champion.")],
    as_json: AsJson = False,
) -> None:
    """Show everything behind a record or a served version, down to file hashes and row counts.

    Example: rpe lineage models:/site-d@champion
    """
    from flows.targets.asking import lineage_of  # DuckDB is not needed for `--help`
    from flows.workspace.settings import Settings

    rows = lineage_of(Settings(), subject)
    columns = "source weight adapter_id dataset_version_id file_uri file_sha256 n_rows"
    if rows[0].keys().isdisjoint({"weight"}):
        columns = "depth child_id role parent_id"
    show_rows(rows, as_json=as_json, title=f"behind {subject}", columns=columns)


def sql(
    query: Annotated[
        str, typer.Argument(help="One SELECT, SHOW TABLES, DESCRIBE, SUMMARIZE or EXPLAIN.")
    ],
    as_csv: Annotated[
        bool, typer.Option("--csv", help="CSV with a header; text is quoted, null is empty.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the lake; read-only, and closed to every other file.

    `SHOW TABLES` lists what there is, `DESCRIBE mart.leaderboard` the columns of one. Numbers are
    exact in CSV, times ISO 8601, lists and structs JSON, bytes hexadecimal.

    Example: rpe sql "SELECT target_name, arm, value FROM mart.leaderboard"
    """
    from catalog.stores.lake.lake import guarded_reader  # DuckDB is not needed for `--help`
    from flows.commands.sql_rows import rows_of, with_unique_names, write_csv
    from flows.workspace.lake_reads import require_current_lake
    from flows.workspace.settings import Settings

    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json are two forms of one answer: choose one.")
    settings = Settings()
    require_current_lake(settings)
    with guarded_reader(settings.lake, settings.lake_data) as reader:
        answer = with_unique_names(reader.query(query))
    if as_csv:
        write_csv(answer)
    elif as_json:
        write_json(rows_of(answer))
    else:
        show_rows(rows_of(answer), as_json=False, columns=answer.column_names)


def report(
    no_write: Annotated[
        bool, typer.Option("--no-write", help="Write nothing: the page goes to standard output.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report again from the lake, and say where it is.

    With --no-write the workspace may be one that is only read.

    Example: rpe report
    """
    from catalog.report.page import render_newest, write_report  # charts take seconds to import
    from flows.commands.output import show_ids
    from flows.workspace.lake_reads import open_lake_to_read, require_current_lake
    from flows.workspace.settings import Settings
    from flows.workspace.stores import open_to_look, open_vectors
    from flows.workspace.workspace import load_declarations

    settings = Settings()
    plan = load_declarations(settings).plan
    names, fewest = plan.target_names, plan.publishing.min_groups
    if no_write:
        require_current_lake(settings)
        with open_to_look(settings) as stores:
            page = render_newest(
                stores.lake, stores.vectors, settings.report_file, targets=names, min_groups=fewest
            )
        if as_json:
            write_json({"status": "ok", "rows": [{"page": page}], "faults": []})
        else:
            sys.stdout.write(page)
        return
    with open_lake_to_read(settings) as lake:
        write_report(
            lake, open_vectors(settings), settings.report_file, targets=names, min_groups=fewest
        )
    show_ids([str(settings.report_file)], as_json=as_json)
