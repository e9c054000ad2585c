"""The lake's tables, migrations and transactions: atomic, idempotent, commented."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.errors import RecordConflict, StoreError
from catalog.stores.lake.lake import Lake
from catalog.tables import migrate as migrations
from catalog.tables.run_tables import LINEAGE, RUNS
from catalog.tables.schema import TABLES
from catalog.tables.score_tables import SCORES
from catalog.tables.spec import Column
from rpe_core.errors import InputError, UnknownName
from tests.catalog.lakes import (
    EDGE,
    NOON,
    RUN,
    SECRET,
    contract,
    fresh_lake,
    n_files,
    open_lake,
)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


def test_every_table_and_column_is_commented(lake: Lake) -> None:
    tables = lake.rows(
        "SELECT table_name, comment FROM duckdb_tables()"
        " WHERE database_name = 'lake' AND schema_name = 'core'"
    )
    assert {row["table_name"] for row in tables} == {t.name for t in TABLES} | {"migrations"}
    assert all(row["comment"] for row in tables)
    columns = lake.rows(
        "SELECT table_name, column_name, comment FROM duckdb_columns() c"
        " SEMI JOIN duckdb_tables() t USING (database_name, schema_name, table_name)"
        " WHERE database_name = 'lake' AND schema_name = 'core'"
    )
    found = {(row["table_name"], row["column_name"]): row["comment"] for row in columns}
    for table in TABLES:
        for column in table.columns:
            assert column.doc in found[table.name, column.name]
            assert column.unit in found[table.name, column.name]


def test_migrate_writes_nothing_when_current(lake: Lake, tmp_path: Path) -> None:
    before, files = lake.snapshot_id, n_files(tmp_path)
    lake.migrate()
    with open_lake(tmp_path) as second:
        second.migrate()
    assert (lake.snapshot_id, n_files(tmp_path)) == (before, files)


def test_migrate_is_one_snapshot(lake: Lake) -> None:
    assert lake.snapshot_id == 1


def apply(lake: Lake, declaration: migrations.Declaration) -> None:
    with lake._begun(message="migrate", run=None) as cursor:
        if not migrations.is_current(cursor, declaration):
            migrations.apply(cursor, declaration, now=NOON + timedelta(days=1))


def test_an_older_lake_runs_the_migrations_it_has_not_seen(lake: Lake) -> None:
    with lake.transaction(message="edge", run=None) as tx:
        tx.insert_new(LINEAGE, [EDGE])
    now = migrations.declared_schema()
    wider = replace(LINEAGE, columns=(*LINEAGE.columns, Column("weight", "DOUBLE", "w", "ratio")))
    tables = tuple(wider if t.name == "lineage" else t for t in now.tables)
    step = (now.version + 1, "ALTER TABLE core.lineage ADD COLUMN weight DOUBLE;")
    newer = replace(now, tables=tables, migrations=(*now.migrations, step))
    apply(lake, newer)
    assert lake.rows("SELECT child_id, weight FROM core.lineage") == [
        {"child_id": "dataset:a@1", "weight": None}
    ]
    at = lake.snapshot_id
    apply(lake, newer)
    assert lake.snapshot_id == at
    with pytest.raises(StoreError, match="forward only"):
        lake.migrate()


def test_a_changed_table_without_migration_is_refused_and_changes_nothing(lake: Lake) -> None:
    now, at = migrations.declared_schema(), lake.snapshot_id
    wider = replace(LINEAGE, columns=(*LINEAGE.columns, Column("weight", "DOUBLE", "w")))
    tables = tuple(wider if t.name == "lineage" else t for t in now.tables)
    with pytest.raises(StoreError, match="differs from its declaration: weight"):
        apply(lake, replace(now, tables=tables))
    assert lake.snapshot_id == at


def test_a_new_table_needs_no_migration(lake: Lake) -> None:
    now = migrations.declared_schema()
    apply(lake, replace(now, tables=(*now.tables, replace(LINEAGE, name="edges"))))
    assert lake.rows("SELECT count(*) AS n FROM core.edges") == [{"n": 0}]


def test_nothing_is_inlined_into_the_catalog(lake: Lake, tmp_path: Path) -> None:
    with lake.transaction(message="edge", run=None) as tx:
        tx.insert_new(LINEAGE, [EDGE])
    assert list((tmp_path / "lake/data/core/lineage").glob("*.parquet"))


def test_the_commit_names_message_run_and_files_by_hash(lake: Lake) -> None:
    with lake.transaction(message="it's a batch", run=RUN) as tx:
        tx.insert_new("lineage", [EDGE])
    last = lake.rows("FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1")[0]
    assert last["commit_message"] == "it's a batch"
    told = json.loads(last["commit_extra_info"])
    (written,) = Path(lake.data_uri, "core", "lineage").iterdir()
    hashed = hashlib.sha256(written.read_bytes()).hexdigest()
    assert told.pop("files")[written.name] == hashed
    assert told == {"flow": "night", "run_id": RUN.run_id}


def test_recorded_at_is_the_clock(lake: Lake) -> None:
    with lake.transaction(message="edge", run=None) as tx:
        tx.insert_new("lineage", [EDGE])
    found = lake.rows("SELECT recorded_at FROM core.lineage")[0]["recorded_at"]
    assert found == NOON
    assert found.utcoffset() == timedelta(0)


def test_several_tables_commit_together_or_not_at_all(lake: Lake, tmp_path: Path) -> None:
    at = lake.snapshot_id
    with pytest.raises(ZeroDivisionError), lake.transaction(message="half", run=None) as tx:  # noqa: PT012
        tx.insert_new("lineage", [EDGE])
        tx.ensure_source_tables(contract())
        tx.execute("INSERT INTO core.runs (run_id) VALUES ('r')")
        raise ZeroDivisionError
    assert lake.snapshot_id == at
    assert lake.rows("SELECT * FROM core.lineage") == []
    assert lake.rows("SELECT * FROM core.runs") == []
    with lake.transaction(message="whole", run=None) as tx:
        tx.insert_new("lineage", [EDGE])
        tx.execute("INSERT INTO core.runs (run_id) VALUES (?)", ["r"])
        assert tx.next_snapshot_id == at + 1
        assert tx.rows("SELECT run_id FROM core.runs") == [{"run_id": "r"}]
        assert lake.rows("SELECT run_id FROM core.runs") == []  # readers see what is committed
    assert lake.snapshot_id == at + 1


def test_a_transaction_that_changes_nothing_makes_no_snapshot(lake: Lake, tmp_path: Path) -> None:
    with lake.transaction(message="edge", run=None) as tx:
        tx.insert_new("lineage", [EDGE])
    at, files = lake.snapshot_id, n_files(tmp_path)
    with lake.transaction(message="again", run=RUN) as tx:
        assert tx.insert_new("lineage", [EDGE, EDGE]) == 0
        assert tx.insert_new("lineage", []) == 0
        assert tx.execute("UPDATE core.runs SET outcome = 'ok' WHERE run_id = 'none'") == 0
    assert (lake.snapshot_id, n_files(tmp_path)) == (at, files)


def test_many_small_files_become_one_and_every_snapshot_reads_as_before(
    lake: Lake, tmp_path: Path
) -> None:
    for number in range(33):
        with lake.transaction(message="edge", run=RUN) as commit:
            commit.insert_new("lineage", [{**EDGE, "child_id": f"dataset:a@{number:03d}"}])
        if number == 9:
            tenth = lake.snapshot_id
    query = f"SELECT child_id FROM core.lineage AT (VERSION => {tenth}) ORDER BY child_id"
    assert [row["child_id"] for row in lake.rows(query)] == [
        f"dataset:a@{i:03d}" for i in range(10)
    ]
    assert lake.rows("SELECT count(*) AS n FROM core.lineage")[0]["n"] == 33
    files = lake.rows("FROM ducklake_list_files('lake', 'lineage', schema => 'core')")
    assert len(files) == 2  # one of 32, and the last
    on_disk = n_files(tmp_path)
    assert (lake.merge_files(), lake.merge_files(many=3)) == (0, 0)
    assert lake.remove_replaced_files() == 0
    assert n_files(tmp_path) == on_disk
    with open_lake(tmp_path, clock=lambda: datetime.now(UTC) + timedelta(days=2)) as later:
        assert later.remove_replaced_files() == 32
        assert len(later.rows(query)) == 10
    assert n_files(tmp_path) == on_disk - 32
    n_snapshots = len(lake.rows("SELECT snapshot_id FROM lake.snapshots()"))
    assert lake.expire_snapshots(before=NOON) == 0
    assert lake.expire_snapshots(before=datetime.now(UTC) + timedelta(days=1)) == n_snapshots - 1
    with pytest.raises(StoreError):
        lake.rows(query)
    assert lake.rows("SELECT count(*) AS n FROM core.lineage")[0]["n"] == 33


def test_insert_new_adds_only_new_keys(lake: Lake) -> None:
    other = EDGE | {"parent_id": "batch:a@2"}
    with lake.transaction(message="one", run=None) as tx:
        assert tx.insert_new("lineage", [EDGE]) == 1
    with lake.transaction(message="two", run=None) as tx:
        assert tx.insert_new("lineage", [EDGE, other]) == 1
    assert lake.rows("SELECT count(*) AS n FROM core.lineage") == [{"n": 2}]


SCORE = {
    "run_id": "r1", "evaluation_id": "e1", "target_name": "t", "dataset_version_id": "d",
    "split": "test", "slice": "", "arm": "base", "ensemble_id": "", "metric": "accuracy",
    "metric_version": "1", "value": 0.1 + 0.2,
}  # fmt: skip


def test_a_known_key_with_other_content_is_a_conflict_whatever_its_run(lake: Lake) -> None:
    with lake.transaction(message="one", run=None) as tx:
        tx.insert_new(SCORES, [SCORE])
    with lake.transaction(message="two", run=None) as tx:
        assert tx.insert_new(SCORES, [SCORE | {"run_id": "r2"}]) == 0
    with (
        pytest.raises(RecordConflict, match="value") as caught,
        lake.transaction(message="three", run=None) as tx,
    ):
        tx.insert_new(SCORES, [SCORE | {"value": 0.3}])
    assert "0.3" not in str(caught.value)
    with pytest.raises(RecordConflict), lake.transaction(message="four", run=None) as tx:
        tx.insert_new(SCORES, [SCORE | {"arm": "sft"}, SCORE | {"arm": "sft", "n_items": 3}])
    assert lake.rows("SELECT arm, value FROM core.scores") == [{"arm": "base", "value": 0.1 + 0.2}]


def test_costs_of_a_run_are_no_conflict(lake: Lake) -> None:
    row = {"run_id": "r", "flow": "night", "started_at": NOON, "wall_seconds": 1.5}
    with lake.transaction(message="run", run=None) as tx:
        assert tx.insert_new(RUNS, [row]) == 1
        assert tx.insert_new(RUNS, [row | {"wall_seconds": 2.5, "peak_memory_bytes": 7}]) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": float("nan")}, "not finite in row 1"),
        ({"value": float("-inf")}, "not finite in row 1"),
        ({"value": SECRET}, "another type"),
        ({"n_items": 2.5}, "another type"),
        ({"recorded_at": datetime(2026, 1, 1)}, "without a zone"),  # noqa: DTZ001
        ({"arm": None}, "no key"),
        ({"surname": SECRET}, "no column 'surname'"),
    ],
)
def test_what_may_not_reach_a_table(lake: Lake, change: dict[str, object], words: str) -> None:
    at = lake.snapshot_id
    with (
        pytest.raises(InputError, match=words) as caught,
        lake.transaction(message="bad", run=None) as tx,
    ):
        tx.insert_new(SCORES, [SCORE | change])
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert lake.snapshot_id == at


def test_unknown_tables_are_named(lake: Lake) -> None:
    with pytest.raises(UnknownName, match="lineage"), lake.transaction(message="x", run=None) as tx:
        tx.insert_new("linage", [EDGE])
    with pytest.raises(UnknownName), lake.transaction(message="x", run=None) as tx:
        tx.insert_arrow("core.runs; DROP TABLE core.runs", pa.table({"a": [1]}))


def test_rows_of_a_source_land_from_table_stream_and_file(lake: Lake, tmp_path: Path) -> None:
    table = pa.table({"_item_sha256": ["i"], "note_id": ["n"], "text": ["hello"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    with lake.transaction(message="land", run=RUN) as tx:
        tx.ensure_source_tables(contract())
        assert tx.insert_arrow("raw.site_a", table) == 1
        stream = pa.RecordBatchReader.from_batches(table.schema, iter(table.to_batches() * 3))
        assert tx.insert_arrow("raw.site_a", stream) == 3
        assert tx.insert_arrow("raw.site_a", tmp_path / "rows.parquet") == 1
    found = lake.table("SELECT DISTINCT note_id, text, label, recorded_at FROM raw.site_a")
    assert found.to_pylist() == [
        {"note_id": "n", "text": "hello", "label": None, "recorded_at": NOON}
    ]
    comments = lake.rows(
        "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'raw'"
    )
    assert all(row["comment"] for row in comments)
    at = lake.snapshot_id
    with lake.transaction(message="again", run=None) as tx:
        tx.ensure_source_tables(contract())
    assert lake.snapshot_id == at


def test_a_newer_contract_adds_columns_and_keeps_rows(lake: Lake) -> None:
    with lake.transaction(message="land", run=None) as tx:
        tx.ensure_source_tables(contract())
        tx.insert_arrow("raw.site_a", pa.table({"note_id": ["n"]}))
    with lake.transaction(message="widen", run=None) as tx:
        tx.ensure_source_tables(contract(seen_at="timestamp", age="integer"))
    assert lake.rows("SELECT note_id, seen_at, age FROM raw.site_a") == [
        {"note_id": "n", "seen_at": None, "age": None}
    ]
    with pytest.raises(RecordConflict, match="age"), lake.transaction(message="x", run=None) as tx:
        tx.ensure_source_tables(contract(seen_at="timestamp", age="string"))


def test_a_contract_may_not_name_a_system_column(lake: Lake) -> None:
    with pytest.raises(InputError, match="system"), lake.transaction(message="x", run=None) as tx:
        tx.ensure_source_tables(contract(_batch_id="string"))


def test_an_unknown_column_never_lands(lake: Lake) -> None:
    with lake.transaction(message="land", run=None) as tx:
        tx.ensure_source_tables(contract())
    with pytest.raises(InputError, match="surname"), lake.transaction(message="x", run=None) as tx:
        tx.insert_arrow("raw.site_a", pa.table({"surname": [SECRET]}))
