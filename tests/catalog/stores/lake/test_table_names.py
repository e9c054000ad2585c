"""What people type first into SQL: lists of tables with their schemas, and names that are near."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from catalog.stores.lake.lake import guarded_reader
from catalog.stores.lake.session import extension_path
from catalog.stores.lake.table_names import nearest
from rpe_core.errors import InputError
from tests.catalog.lakes import fresh_lake, uri_of

NAMES = ("core.runs", "mart.leaderboard", "mart.head_to_head", "raw.site_a", "quarantine.site_a")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("named")
    with fresh_lake(place):
        return place


@pytest.fixture(scope="module")
def ask(home: Path) -> Iterator[Callable[[str], pa.Table]]:
    with guarded_reader(uri_of(home), f"{home}/lake/data") as reader:
        yield reader.query


@pytest.mark.parametrize(
    "sql", ["SHOW TABLES", "show tables;", " -- all\nSHOW  TABLES", "(SHOW TABLES)"]
)
def test_show_tables_lists_what_information_schema_has(
    home: Path, ask: Callable[[str], pa.Table], sql: str
) -> None:
    with duckdb.connect() as plain:
        for name in ("sqlite_scanner", "ducklake"):
            plain.execute(f"LOAD '{extension_path(name)}'")
        plain.execute(f"ATTACH '{uri_of(home)}' AS hospital (READ_ONLY)")
        wanted = plain.execute(
            "SELECT table_schema || '.' || table_name, table_type = 'VIEW'"
            " FROM information_schema.tables WHERE table_catalog = 'hospital'"
            " AND table_schema <> 'main'"
        ).fetchall()
    rows = ask(sql).to_pylist()
    assert {(row["name"], row["kind"] == "view") for row in rows} == set(wanted)
    assert {"core.runs", "mart.leaderboard"} <= {row["name"] for row in rows}
    assert all(row["about"] for row in rows if row["name"].startswith(("core.", "mart.")))


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW ALL TABLES",
        "SHOW TABLES FROM mart",
        "SHOW SCHEMAS",
        "DESCRIBE",
        "DESCRIBE mart.leaderboard",
        "DESC mart.leaderboard",
        "SHOW mart.leaderboard",
        "DESCRIBE SELECT 1",
        "SUMMARIZE mart.columns",
        "FROM mart.columns",
        "TABLE mart.columns",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "VALUES (1)",
        "SELECT * FROM (DESCRIBE mart.leaderboard)",
        "SELECT * FROM information_schema.tables",
        "PIVOT mart.columns ON table_name IN ('runs') USING count(*)",
    ],
)
def test_other_first_words_answer_with_rows(ask: Callable[[str], pa.Table], sql: str) -> None:
    assert ask(sql).num_rows > 0


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("FROM leaderboard", "did you mean 'mart.leaderboard'?"),
        ("FROM lederboard", "did you mean 'mart.leaderboard'?"),
        ("FROM mart.leaderbord", "did you mean 'mart.leaderboard'?"),
        ("DESCRIBE leaderboard", "did you mean 'mart.leaderboard'?"),
        ("SELECT * FROM core.run", "did you mean 'core.runs'?"),
        ("SELECT * FROM marts.leaderboard", "did you mean 'mart.leaderboard'?"),
        ("SHOW TABLES FROM marts", "core, mart"),
        ("SELECT * FROM other.mart.leaderboard", "another database"),
        ("SELECT * FROM (SHOW TABLES)", "stands by itself"),
        ("PIVOT mart.columns ON table_name USING count(*)", "ON column IN (values)"),
        ("PRAGMA show_tables", "SHOW TABLES lists"),
        (".tables", "SHOW TABLES lists"),
        ("", "No statement was given"),
        ("SELECT 340282366920938463463374607431768211455::UHUGEINT", "cast it to VARCHAR"),
    ],
)
def test_a_refusal_names_what_was_meant(
    ask: Callable[[str], pa.Table], sql: str, named: str
) -> None:
    with pytest.raises(InputError) as caught:
        ask(sql)
    assert named in str(caught.value)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_searched_value_in_place_of_a_table_is_not_repeated(
    ask: Callable[[str], pa.Table], quote: str
) -> None:
    with pytest.raises(InputError) as caught:
        ask(f"SELECT * FROM {quote}Jane Doe{quote}")
    assert "Jane" not in str(caught.value)
    assert "(8 characters, not shown)" in str(caught.value)


def test_the_nearest_of_two_like_names_is_the_one_for_people() -> None:
    assert nearest("site_a", NAMES) == ["raw.site_a", "quarantine.site_a"]
    assert nearest("head2head", NAMES)[0] == "mart.head_to_head"
    assert nearest("MART.LEADERBOARD", NAMES)[0] == "mart.leaderboard"
    assert nearest("weather", NAMES) == []
