"""`rpe sql`: CSV that other readers take back, columns of one name told apart, exact numbers."""

import csv
import io
import json
from collections.abc import Callable

import duckdb
import pandas as pd
import pytest

from flows.workspace.settings import Settings

EXACT = """SELECT 9007199254740993::BIGINT AS big, -170141183460469231731687303715884105727::HUGEINT
 AS huge, sum(9007199254740993::BIGINT) AS added, 1.10::DECIMAL(10, 2) AS price, 0.1::DOUBLE AS d,
 1e300 AS far, NULL::INTEGER AS nothing, '' AS empty, NULL::VARCHAR AS no_text,
 'a "b", c' || chr(10) || 'é' AS text, true AS yes, DATE '2026-01-31' AS day,
 TIMESTAMP '2026-01-31 01:02:03.456789' AS at, TIMESTAMPTZ '2026-01-31 01:02:03+01' AS at_utc,
 [1, NULL] AS list, {'k': 'v', 'n': 1} AS struct, 'ab'::BLOB AS bytes, 5 AS "odd "" name, too"
"""


@pytest.fixture
def ask(
    finished_night: Settings,
    rpe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    monkeypatch.setenv("RPE_HOME", str(finished_night.root))

    def answer(*arguments: str) -> str:
        assert rpe("sql", *arguments) == 0
        out, err = capfd.readouterr()
        assert err == ""
        return out

    return answer


def test_csv_holds_every_value_exactly(ask: Callable[..., str]) -> None:
    (row,) = csv.DictReader(io.StringIO(ask("--csv", EXACT), newline=""))
    assert row == {
        "big": "9007199254740993",
        "huge": "-170141183460469231731687303715884105727",
        "added": "9007199254740993",
        "price": "1.10",
        "d": "0.1",
        "far": "1e+300",
        "nothing": "",
        "empty": "",
        "no_text": "",
        "text": 'a "b", c\né',
        "yes": "true",
        "day": "2026-01-31",
        "at": "2026-01-31T01:02:03.456789",
        "at_utc": "2026-01-31T00:02:03+00:00",
        "list": "[1, null]",
        "struct": '{"k": "v", "n": 1}',
        "bytes": "6162",
        'odd " name, too': "5",
    }


def test_other_readers_tell_null_from_empty_text(ask: Callable[..., str], tmp_path) -> None:
    text = ask("--csv", "FROM (VALUES (1, ''), (2, NULL), (3, 'x')) t(n, v) ORDER BY n")
    file = tmp_path / "answer.csv"
    file.write_text(text)
    rows = duckdb.sql(f"FROM read_csv('{file}', header = true, allow_quoted_nulls = false)")
    assert rows.fetchall() == [(1, ""), (2, None), (3, "x")]


def test_csv_of_a_view_is_what_json_says(ask: Callable[..., str]) -> None:
    query = "SELECT * FROM mart.leaderboard ORDER BY ALL"
    frame = pd.read_csv(io.StringIO(ask("--csv", query)))
    rows = json.loads(ask("--json", query))
    assert list(frame.columns) == list(rows[0])
    assert len(frame) == len(rows) > 1
    assert frame["value"].tolist() == pytest.approx([row["value"] for row in rows], rel=1e-15)
    assert frame["recorded_at"].tolist() == [row["recorded_at"] for row in rows]


def test_an_empty_answer_has_its_header(ask: Callable[..., str]) -> None:
    assert ask("--csv", "SELECT 1 AS a, 'x' AS b WHERE false") == '"a","b"\n'


def test_columns_of_one_name_are_all_there(ask: Callable[..., str]) -> None:
    query = "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a"
    assert list(json.loads(ask("--json", query))[0].values()) == [1, 2, 3, 4]
    assert ask("--csv", query).splitlines()[1] == "1,2,3,4"
    assert ask(query).split()[-4:] == ["1", "2", "3", "4"]


def test_whole_numbers_are_numbers_in_json(ask: Callable[..., str]) -> None:
    (row,) = json.loads(ask("--json", EXACT))
    assert row["added"] == 9007199254740993
    assert row["huge"] == -170141183460469231731687303715884105727


def test_show_tables_through_the_command(ask: Callable[..., str]) -> None:
    names = {row["name"] for row in json.loads(ask("--json", "SHOW TABLES"))}
    assert {"core.runs", "mart.leaderboard", "raw.site_a", "quarantine.site_a"} <= names
