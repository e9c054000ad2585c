"""Where MLflow's records point: a workspace that was moved takes its model files along."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from catalog.errors import StoreUnavailable

_WAIT_SECONDS = 60.0
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow(tracking_uri: str, artifacts_uri: str, *, experiment: str) -> None:
    """Let the records of a database beside its model files point there, wherever both lie now.

    MLflow keeps absolute places: without this a copy would read and write in the original. Nothing
    is changed where the database is on a server, lies elsewhere, or points there already.

    Args:
        tracking_uri: of MLflow; its tables are there.
        artifacts_uri: where files of model versions belong.
        experiment: name of the experiment whose place was the old one.

    Raises:
        StoreUnavailable: the database is in use, or cannot be written to.
    """
    path, files = Path(tracking_uri.removeprefix("sqlite:///")), artifacts_uri.rstrip("/")
    if not tracking_uri.startswith("sqlite:///") or path.parent != Path(files).parent:
        return
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as database, database:
            row = database.execute(
                "SELECT artifact_location FROM experiments WHERE name = ?", [experiment]
            ).fetchone()
            if row and row[0] != files:
                for table, column in _PLACES:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                        f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        [files, len(row[0]) + 1, row[0], len(row[0]) + 1, f"{row[0]}/"],
                    )
    except sqlite3.Error:
        raise StoreUnavailable(
            "MLflow's database could not be told that the workspace was moved.",
            where=str(path),
            remedy="stop whoever uses it, and check that you may write to it",
        ) from None
