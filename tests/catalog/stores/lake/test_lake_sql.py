"""SQL of other people: reading statements run, everything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from catalog.errors import StoreError
from catalog.stores.lake.lake import guarded_reader
from catalog.stores.lake.session import extension_path
from rpe_core.errors import InputError
from tests.catalog.lakes import (
    EDGE,
    SECRET,
    fresh_lake,
    n_files,
    open_lake,
    uri_of,
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("asked")
    with fresh_lake(home) as lake, lake.transaction(message="edge", run=None) as tx:
        tx.insert_new("lineage", [EDGE])
    return home


@pytest.fixture(scope="module")
def ask(asked: Path) -> Iterator[Callable[[str], pa.Table]]:
    with guarded_reader(uri_of(asked), f"{asked}/lake/data") as reader:
        yield reader.query


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM core.lineage",
        "SELECT * FROM core.lineage;",
        "-- the edges\nSELECT child_id FROM lake.core.lineage",
        "WITH edges AS (FROM core.lineage) SELECT count(*) FROM edges",
        "FROM core.lineage",
        "DESCRIBE core.lineage",
        "SUMMARIZE core.lineage",
        "SHOW ALL TABLES",
        "EXPLAIN SELECT * FROM core.lineage",
        "EXPLAIN ANALYZE SELECT * FROM core.lineage",
        "EXPLAIN (FORMAT json) SELECT 1",
        "explain (SELECT 1)",
        "SELECT * FROM lake.snapshots()",
        "SELECT * FROM range(3)",
        "SELECT * FROM core.lineage AT (VERSION => 2)",
        "SELECT * FROM mart.leaderboard",
        "SELECT ';' AS separator",
    ],
)
def test_reading_statements_are_run(ask: Callable[[str], pa.Table], sql: str) -> None:
    assert ask(sql).num_columns > 0


def refused(home: Path) -> list[str]:
    inside = f"{home}/lake/data/stolen.csv"
    return [
        f"COPY core.lineage TO '{inside}'",
        f"COPY (SELECT 1) TO '{inside}'",
        f"EXPLAIN ANALYZE COPY core.lineage TO '{inside}'",
        f"EXPLAIN /* */ ANALYZE COPY core.lineage TO '{inside}'",
        f"ATTACH '{home}/other.sqlite' AS other (TYPE sqlite)",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        f"SELECT * FROM '{home}/lake/data/../../other.parquet'",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT * FROM glob('/etc/*')",
        f"SELECT * FROM sqlite_scan('{home}/lake/catalog.sqlite', 'ducklake_snapshot')",
        "SELECT * FROM sqlite_query('__ducklake_metadata_lake', 'SELECT 1')",
        f"SELECT * FROM sqlite_attach('{home}/other.sqlite')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM ducklake_expire_snapshots('lake', older_than => now())",
        "SELECT * FROM ducklake_cleanup_old_files('lake', cleanup_all => true)",
        "WITH a AS (FROM ducklake_set_option('lake', 'encrypted', true)) SELECT * FROM a",
        "SET threads = 1",
        "RESET threads",
        "PRAGMA version",
        "PRAGMA table_info('core.lineage')",
        "CALL lake.snapshots()",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE core.lineage",
        "INSERT INTO core.lineage VALUES (1)",
        "WITH a AS (SELECT 1) INSERT INTO core.lineage SELECT * FROM a",
        "UPDATE core.lineage SET role = ''",
        "DELETE FROM core.lineage",
        "CREATE TEMP TABLE x AS SELECT 1",
        "DROP TABLE core.lineage",
        "PREPARE p AS SELECT 1",
        "LOAD httpfs",
        "INSTALL httpfs",
        "USE lake",
        "BEGIN",
        "CHECKPOINT",
        "",
        ";",
        "hello",
    ]


@pytest.mark.parametrize("number", range(len(refused(Path()))))
def test_everything_else_is_refused(
    ask: Callable[[str], pa.Table], asked: Path, number: int
) -> None:
    files = n_files(asked)
    with pytest.raises((InputError, StoreError)) as caught:
        ask(refused(asked)[number])
    assert caught.value.__cause__ is None
    assert "root:" not in str(caught.value)
    assert n_files(asked) == files
    assert ask("SELECT count(*) AS n FROM core.lineage").to_pylist() == [{"n": 1}]


def test_mistakes_are_answered_with_names_and_never_with_values(
    ask: Callable[[str], pa.Table],
) -> None:
    with pytest.raises(InputError, match=r"did you mean 'core.lineage'"):
        ask("SELECT * FROM core.linage")
    with pytest.raises(InputError, match="child_id"):
        ask("SELECT chil_id FROM core.lineage")
    for sql in (
        f'SELECT * FROM core.lineage WHERE role = "{SECRET}"',
        f"SELECT CAST('{SECRET}' AS BIGINT)",
        f"SELEC '{SECRET}'",
    ):
        with pytest.raises(InputError) as caught:
            ask(sql)
        assert SECRET not in str(caught.value)


def test_a_plain_duckdb_reads_the_lake_under_any_name(tmp_path: Path) -> None:
    with open_lake(tmp_path) as lake:
        lake.migrate()
        with lake.transaction(message="edge", run=None) as tx:
            tx.insert_new("lineage", [EDGE])
    with duckdb.connect() as plain:
        for name in ("sqlite_scanner", "ducklake"):
            plain.execute(f"LOAD '{extension_path(name)}'")
        plain.execute(f"ATTACH '{uri_of(tmp_path)}' AS hospital (READ_ONLY)")
        assert plain.execute("SELECT role FROM hospital.core.lineage").fetchall() == [("batch",)]
        assert plain.execute("SELECT * FROM hospital.mart.leaderboard").fetchall() == []
