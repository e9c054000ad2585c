"""SQL of other people sees the lake alone: no metadata of its files, no setting, no place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from catalog.stores.lake.lake import guarded_reader
from catalog.stores.lake.reading_rules import closed_functions
from catalog.stores.lake.session import extension_path
from rpe_core.errors import InputError
from tests.catalog.lakes import EDGE, fresh_lake, uri_of

Ask = Callable[[str], pa.Table]
META = "__ducklake_metadata_lake"
# Of the functions of this DuckDB outside FROM: what tells of the machine, of the session or of
# column extremes, runs or plans SQL that it is given as text, sleeps, or keeps state.
CLOSED_FUNCTIONS = {
    "current_connection_id", "current_query_id", "current_setting", "current_transaction_id",
    "currval", "get_block_size", "getvariable", "inet_client_addr", "inet_client_port",
    "inet_server_addr", "inet_server_port", "json_deserialize_sql", "json_serialize_plan",
    "json_serialize_sql", "nextval", "parse_duckdb_log_message", "pg_conf_load_time",
    "pg_get_constraintdef", "pg_postmaster_start_time", "pg_sleep", "setseed", "sleep_ms", "stats",
    "txid_current", "vector_type", "write_log",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("closed")
    with fresh_lake(place) as lake, lake.transaction(message="edge", run=None) as tx:
        tx.insert_new("lineage", [EDGE])
    return place


@pytest.fixture(scope="module")
def ask(home: Path) -> Iterator[Ask]:
    with guarded_reader(uri_of(home), f"{home}/lake/data") as reader:
        yield reader.query


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT min_value, max_value FROM {META}.ducklake_file_column_stats",
        f"FROM {META}.main.ducklake_table",
        f'FROM "{META.upper()}" . /* */ "Ducklake_Table"',
        f"SELECT (SELECT count(*) FROM {META}.ducklake_table)",
        f"WITH a AS (FROM {META}.ducklake_table) FROM a",
        f"FROM core.lineage JOIN {META}.ducklake_data_file ON true",
        f"VALUES ((SELECT max(path) FROM {META}.ducklake_data_file))",
        f"DESCRIBE {META}.ducklake_table",
        f"SUMMARIZE {META}.ducklake_file_column_stats",
        f"EXPLAIN ANALYZE FROM {META}.ducklake_file_column_stats",
        f"SHOW TABLES FROM {META}",
        f"SHOW TABLES FROM {META}.main",
        f"FROM pragma_table_info('{META}.ducklake_table')",
        f"FROM pragma_table_info('{META}' || '.ducklake_table')",
        f"PIVOT {META}.ducklake_table ON table_id IN (1) USING count(*)",
        f"FROM {META}.core.snapshots()",
        f"FROM query_table('{META}.ducklake_table')",
        "FROM ducklake_table",
        "FROM main.ducklake_table",
        "FROM pragma_database_list",
        "WITH pragma_database_list AS (FROM pragma_database_list) FROM pragma_database_list",
        "SELECT 1 WHERE EXISTS (WITH pg_settings AS (SELECT 1) FROM pg_settings)",
        "FROM main.pragma_database_list",
        "FROM system.main.pragma_database_list",
        "SUMMARIZE pragma_database_list",
        "FROM duckdb_databases",
        "FROM duckdb_databases()",
        "FROM duckdb_settings()",
        "FROM duckdb_secrets()",
        "FROM duckdb_extensions()",
        "FROM duckdb_temporary_files()",
        "FROM duckdb_logs()",
        "FROM which_secret('s3://bucket', 's3')",
        "FROM pg_catalog.pg_settings",
        "FROM pg_settings",
        "FROM system.main.duckdb_tables()",
        "FROM lake.options()",
        "FROM options()",
        "FROM ducklake_list_files('lake', 'lineage', schema => 'core')",
        "FROM ducklake_settings('lake')",
        "FROM ducklake_options('lake')",
        "FROM parquet_metadata('lake/data/core/lineage/*.parquet')",
        "FROM histogram('pragma_database_list', name)",
        "SELECT current_setting('secret_directory')",
        "SELECT system.main.current_setting('allowed_directories')",
        "SELECT CURRENT_SETTING('temp' || '_directory')",
        "SELECT list_transform(['home_directory'], x -> current_setting(x))",
        "SELECT child_id FROM core.lineage ORDER BY current_setting('home_directory')",
        "SELECT getenv('HOME')",
        "SELECT stats(role) FROM core.lineage",
        "SELECT json_serialize_plan('FROM core.lineage')",
        "SELECT filename FROM core.lineage",
        'SELECT l."FileName" FROM lake.core.lineage l',
        "SELECT count(*) FROM core.lineage GROUP BY filename",
        "SELECT (SELECT filename) FROM core.lineage",
        "FROM core.lineage a SEMI JOIN core.lineage b USING (filename)",
        "SELECT 1 AS filename FROM core.lineage WHERE filename LIKE '/%'",
        "EXPLAIN (ANALYZE, FORMAT html) FROM core.lineage",
        "FROM 'catalog.sqlite'",
        "PIVOT core.lineage ON role IN ('batch') USING count(*) GROUP BY filename",
        "SELECT 1 AS filename FROM core.lineage ORDER BY filename, lineage.filename",
        f"EXPLAIN (ANALYZE /*) SELECT 1 --*/ ) FROM {META}.ducklake_table",
        f"/* EXPLAIN (FORMAT */ EXPLAIN ANALYZE FROM {META}.ducklake_table UNION ALL /* ) */"
        " SELECT 1",
        "/* x */ EXPLAIN ANALYZE FROM duckdb_settings()",
        "EXPLAIN ANALYSE FROM duckdb_settings()",
        "EXPLAIN ANALYZE /*) SELECT 1 --*/ DELETE FROM core.lineage",
    ],
)
def test_what_is_no_table_of_the_lake_is_closed(ask: Ask, home: Path, sql: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(sql)
    assert str(home) not in str(caught.value)
    assert EDGE["parent_id"] not in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'core'",
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'core'",
        "SELECT view_name FROM duckdb_views WHERE database_name = 'lake'",
        "SELECT tablename FROM pg_catalog.pg_tables",
        "SELECT name FROM sqlite_master",
        "SELECT name FROM (SHOW ALL TABLES)",
        "SHOW TABLES",
        "SHOW SCHEMAS",
        "SHOW DATABASES",
        "SHOW TABLES FROM lake.core",
        "FROM pragma_table_info('core.lineage')",
        "FROM pragma_table_info('lake.mart.leaderboard')",
        "FROM core.table_changes('lineage', 0, 2)",
        "SELECT child_id AS filename FROM core.lineage ORDER BY filename",
        "SELECT filename FROM (SELECT child_id AS filename FROM core.lineage)",
        "WITH t AS (SELECT child_id AS filename FROM core.lineage) FROM t WHERE filename LIKE 'd%'",
        "WITH pragma_x AS (SELECT 1 AS one) FROM pragma_x",
        "SELECT upper(role).lower(), role || 'x', [x + 1 for x in [1, 2]], current_date, user"
        " FROM core.lineage WHERE role NOT SIMILAR TO 'x.*' AND recorded_at < now()",
        "SELECT unnest(['a']) AS one, unnest({'b': 1}), 1 = ANY([1]), 2 > ALL([1])",
        "SELECT row_number() OVER (ORDER BY role), stddev_pop(1) OVER () FROM core.lineage",
        "SELECT role, arg_max(role, recorded_at), count(*) FROM core.lineage GROUP BY ALL",
        "PIVOT core.lineage ON role IN ('batch') USING count(*) GROUP BY child_id",
        "SELECT '/etc/passwd' AS text, 'current_setting(1)' AS other",
    ],
)
def test_what_reads_the_lake_goes_on(ask: Ask, home: Path, sql: str) -> None:
    found = ask(sql)
    assert found.num_rows > 0
    text = str(found.to_pylist())
    assert str(home) not in text
    assert "ducklake_metadata" not in text


@pytest.mark.parametrize(
    "how",
    [
        "EXPLAIN ANALYZE",
        "EXPLAIN (ANALYZE, FORMAT json)",
        "EXPLAIN (analyze, format 'text' /* ) */)",
        "/* EXPLAIN */ explain /* é ( */ ANALYZE",
        "-- x\nEXPLAIN (ANALYSE)",
    ],
)
def test_a_plan_of_a_run_tells_no_place_and_what_it_did(ask: Ask, home: Path, how: str) -> None:
    [row] = ask(f"{how} FROM core.lineage a JOIN core.lineage b USING (role)").to_pylist()
    assert "Total Files Read" in row["explain_value"]
    assert "ducklake-" not in row["explain_value"].replace("\n", "")
    assert home.name not in row["explain_value"]


def test_a_column_that_a_source_calls_filename_is_its_own(tmp_path: Path) -> None:
    with fresh_lake(tmp_path) as lake, lake.transaction(message="site", run=None) as tx:
        tx.execute("CREATE TABLE raw.site (filename VARCHAR, n INTEGER)")
        tx.execute("INSERT INTO raw.site VALUES ('a', 1)")
    with guarded_reader(uri_of(tmp_path), f"{tmp_path}/lake/data") as reader:
        assert reader.query("SELECT filename FROM raw.site").to_pylist() == [{"filename": "a"}]
        with pytest.raises(InputError, match="filename"):
            reader.query("SELECT b.filename FROM raw.site a, core.migrations b")


def test_each_function_of_this_duckdb_is_open_or_closed_on_purpose() -> None:
    with duckdb.connect() as plain:
        for name in ("sqlite_scanner", "ducklake"):
            plain.execute(f"LOAD '{extension_path(name)}'")
        found = plain.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
            " WHERE function_type IN ('scalar', 'aggregate', 'macro')"
        ).fetchall()
    named = [{"function_name": name} for (name,) in found]
    closed = {name for name in closed_functions(named) if not name.startswith("__")}
    assert closed == CLOSED_FUNCTIONS
