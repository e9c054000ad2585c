"""Commands that only read: lineage, SQL, the report."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.output import AsJson, show_rows, write_json


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
    from flows.asking import lineage_of  # DuckDB is not needed for `--help`
    from flows.settings import Settings

    rows = lineage_of(Settings(), subject)
    columns = "source weight adapter_id dataset_version_id file_uri file_sha256 n_rows"
    if rows[0].keys().isdisjoint({"weight"}):
        columns = "depth child_id role parent_id"
    show_rows(rows, as_json=as_json, title=f"behind {subject}", columns=columns)


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT, EXPLAIN or DESCRIBE.")],
    as_json: AsJson = False,
) -> None:
    """Ask the lake; read-only, and closed to every other file.

    Example: rpe sql "SELECT target_name, arm, value FROM mart.leaderboard"
    """
    from catalog.stores.lake import guarded_reader  # DuckDB is not needed for `--help`
    from flows.reading import require_lake
    from flows.settings import Settings

    settings = Settings()
    require_lake(settings)
    with guarded_reader(settings.lake, settings.lake_data) as reader:
        rows = reader.query(query).to_pylist()
    if as_json:
        write_json(rows)
    else:
        show_rows(rows, as_json=False)


def report(as_json: AsJson = False) -> None:
    """Write the report again from the lake, and say where it is.

    Example: rpe report
    """
    from catalog.report.page import write_report  # charts take seconds to import
    from flows.output import show_ids
    from flows.settings import Settings
    from flows.wiring import open_lake, open_vectors
    from flows.workspace import load_declarations

    settings = Settings()
    plan = load_declarations(settings).plan
    lake = open_lake(settings, read_only=True)
    try:
        vectors, min_groups = open_vectors(settings), plan.publishing.min_groups
        place, names = settings.report_file, plan.target_names
        write_report(lake, vectors, place, targets=names, min_groups=min_groups)
    finally:
        lake.close()
    show_ids([str(settings.report_file)], as_json=as_json)
