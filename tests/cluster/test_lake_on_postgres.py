"""The lake with its catalog on PostgreSQL: many writers, nothing lost, a dead holder forgotten."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import RecordNotFound, StoreUnavailable
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.lake import Lake, guarded_reader
from catalog.stores.locks import WriterLock
from rpe_core.errors import InputError
from tests.catalog.lakes import EDGE, NOON, start_script
from tests.cluster.postgres import Postgres

pytestmark = pytest.mark.cluster

WRITERS, COMMITS = 4, 20
WRITE = """
    import sys
    from tests.cluster.test_lake_on_postgres import open_lake
    place, data, writer, n = sys.argv[1:]
    with open_lake(place, data) as lake:
        for i in range(int(n)):
            edge = {"child_id": f"dataset:w{writer}@{i}", "parent_id": "batch:a@1", "role": "batch"}
            with lake.transaction(message="write", run=None) as tx:
                tx.insert_new("lineage", [edge])
"""
HOLD = """
    import sys
    from catalog.stores.locks import WriterLock
    with WriterLock(sys.argv[1]).hold():
        print("held", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def place(server: Postgres, database: str) -> str:
    return f"postgres:{server.libpq(database)}"


def open_lake(place: str, data: object, *, read_only: bool = False) -> Lake:
    return Lake.open(
        uri=f"ducklake:{place}",
        data_uri=str(data),
        lock_path=place,
        clock=lambda: NOON,
        read_only=read_only,
        lock_timeout_seconds=60.0,
    )


@pytest.fixture
def lake(place: str, tmp_path: Path) -> Iterator[Lake]:
    with open_lake(place, tmp_path / "data") as opened:
        opened.migrate()
        yield opened


def test_a_lake_that_was_not_begun_is_told(place: str, tmp_path: Path) -> None:
    with pytest.raises(RecordNotFound, match="no lake here yet"):
        open_lake(place, tmp_path, read_only=True)


def test_a_second_migration_writes_nothing_and_a_reader_reads(
    lake: Lake, place: str, tmp_path: Path
) -> None:
    before = lake.snapshot_id
    lake.migrate()
    assert lake.snapshot_id == before
    with lake.transaction(message="write", run=None) as tx:
        tx.insert_new("lineage", [EDGE])
    with open_lake(place, tmp_path / "data", read_only=True) as reader:
        assert reader.rows("SELECT count(*) AS n FROM core.lineage") == [{"n": 1}]


def test_four_writers_lose_no_commit(lake: Lake, place: str, tmp_path: Path) -> None:
    writers = [start_script(WRITE, place, tmp_path / "data", i, COMMITS) for i in range(WRITERS)]
    for writer in writers:
        writer.communicate(timeout=300)
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    rows = lake.rows("SELECT child_id FROM core.lineage")
    assert len(rows) == len({row["child_id"] for row in rows}) == WRITERS * COMMITS


def test_sql_of_other_people_reads_the_lake_and_nothing_else(
    lake: Lake, place: str, tmp_path: Path
) -> None:
    with lake.transaction(message="write", run=None) as tx:
        tx.insert_new("lineage", [EDGE])
    with guarded_reader(f"ducklake:{place}", str(tmp_path / "data")) as reader:
        assert reader.query("SELECT child_id FROM core.lineage").to_pylist() == [
            {"child_id": EDGE["child_id"]}
        ]
        for sql in (
            f"SELECT * FROM postgres_scan('{place}', 'public', 'ducklake_snapshot')",
            "SELECT * FROM postgres_query('lake', 'SELECT 1')",
            "SELECT * FROM read_text('/etc/hostname')",
        ):
            with pytest.raises(InputError, match="not allowed"):
                reader.query(sql)


def test_the_lock_keeps_others_out_and_dies_with_its_holder(place: str, lake: Lake) -> None:
    holder = start_script(HOLD, place)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waiting = WriterLock(place, timeout_seconds=0.2)
        assert isinstance(waiting.holder_pid(), int)
        with pytest.raises(StoreUnavailable, match=r"written to by process \d+"), waiting.hold():
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with WriterLock(place, timeout_seconds=30.0).hold(), waiting.hold():
            pass
        assert waiting.holder_pid() is None
    finally:
        holder.kill()
        holder.communicate()


def test_what_is_deleted_leaves_the_tables_of_the_server(
    server: Postgres, database: str, place: str, tmp_path: Path
) -> None:
    edge = {**EDGE, "child_id": "dataset:quorvexil@1"}
    with open_lake(place, tmp_path / "data") as lake:
        lake.migrate()
        with lake.transaction(message="write", run=None) as tx:
            tx.insert_new("lineage", [edge])
        server.analyze(database)
        with lake.transaction(message="drop", run=None) as tx:
            tx.execute("DROP TABLE core.lineage")
        lake.forget_history()
    assert server.holds(database, b"quorvexil")
    parse_catalog(f"ducklake:{place}").vacuum()
    assert not server.holds(database, b"quorvexil")


def test_a_server_that_went_away_is_told_without_its_address(
    server: Postgres, tmp_path: Path
) -> None:
    gone = "postgres:host=127.0.0.1 port=1 dbname=rpe user=rpe"
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        open_lake(gone, tmp_path)
    assert "127.0.0.1" not in str(caught.value)
