"""MLflow's database as a file, read without MLflow: is it whole, and how many versions has it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from catalog.errors import StoreError


def fault_of_tables(file: Path) -> str:
    """What is wrong with the tables of a database, in words that follow `it`; '' where nothing."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            tables = database.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'model_versions'"
            ).fetchone()[0]
            answer = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error:
        return "cannot be read"
    return "" if answer == "ok" and tables else "cannot be read" if tables else "is empty"


def count_versions_in(file: Path) -> int:
    """How many versions of registered models a database holds.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM model_versions").fetchone()[0])
    except sqlite3.OperationalError:  # no such table: MLflow was cut off while it made them
        return 0
    except sqlite3.DatabaseError:
        raise StoreError("MLflow's database cannot be read.", where=str(file)) from None
