"""The registry with MLflow's tables on PostgreSQL: reading makes none, writing makes them once."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.errors import RecordNotFound
from catalog.stores.postgres import has_table
from catalog.stores.registry.registry import Registry
from flows.workspace.settings import Settings
from flows.workspace.stores import others_of
from tests.cluster.postgres import Postgres

pytestmark = pytest.mark.cluster


def open_registry(server: Postgres, database: str, folder: Path, *, read_only: bool) -> Registry:
    return Registry.open(
        tracking_uri=server.url(database),
        artifacts_uri=str(folder / "files"),
        lock_path=folder / "writer.lock",
        read_only=read_only,
    )


def test_reading_makes_no_tables(server: Postgres, database: str, tmp_path: Path) -> None:
    """Readers hold no lock: tables made by several at once are an error of the server."""
    with pytest.raises(RecordNotFound, match="never made"):
        open_registry(server, database, tmp_path, read_only=True)
    assert not has_table(server.url(database), "alembic_version")
    open_registry(server, database, tmp_path, read_only=False)
    assert open_registry(server, database, tmp_path, read_only=True).models() == {}


def test_a_registry_without_tables_is_no_trace_of_a_lost_lake(
    databases: list[str], server: Postgres, tmp_path: Path
) -> None:
    others = others_of(Settings(home=tmp_path))
    others.require_catalog()
    assert others.standing() == []
    assert not has_table(server.url(databases[1]), "alembic_version")
