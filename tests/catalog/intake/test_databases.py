"""Databases as sources: what an extract holds, what is asked again, which words refuse."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import parse_contract
from catalog.errors import ContractInvalid, ContractViolated, StoreUnavailable
from catalog.intake import extracts
from catalog.intake.databases import write_rows
from catalog.intake.deliveries import refused_bytes
from catalog.intake.drafting_queries import draft_query
from catalog.intake.landing import ingest
from catalog.stores.lake.lake import Lake
from rpe_core.errors import DeclarationError, InputError, RpeError
from tests.catalog.database_world import QUERY, contract_of, label_of, row, text_of
from tests.catalog.lakes import RUN, SECRET, fresh_lake

TABLE = (
    "CREATE TABLE reports (report_id BIGINT, patient VARCHAR, findings VARCHAR, verdict VARCHAR,"
    " changed_at TIMESTAMP)"
)


class Hospital:
    """A database in a file of SQLite or DuckDB, written as its owner would."""

    def __init__(self, kind: str, file: Path) -> None:
        self.kind, self.file = kind, file
        self.uri = f"{kind}:///{file}"
        self.do(TABLE)

    def do(self, sql: str, *rows: tuple[Any, ...]) -> None:
        open_it = sqlite3.connect if self.kind == "sqlite" else duckdb.connect
        with closing(open_it(str(self.file))) as connection:
            for values in rows or ((),):
                connection.execute(sql, values)
            connection.commit()

    def write(self, *rows: tuple[Any, ...]) -> None:
        self.do("INSERT INTO reports VALUES (?, ?, ?, ?, ?)", *rows)


@pytest.fixture(params=["sqlite", "duckdb"])
def hospital(request: pytest.FixtureRequest, tmp_path: Path) -> Hospital:
    made = Hospital(request.param, tmp_path / "reports.db")
    made.write(*map(row, range(20)))
    return made


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


def held(contract: SourceContract) -> list[Path]:
    return sorted(Path(contract.files.path).parent.glob("*.parquet"))


def land(lake: Lake, contract: SourceContract, tmp_path: Path) -> list[dict[str, Any]]:
    extracts.refresh(contract, refused=refused_bytes(lake, contract))
    ingest(lake, contract, run=RUN, scratch=tmp_path)
    return lake.rows(
        "SELECT report_id, verdict, changed_at FROM raw.reports WHERE _superseded_by IS NULL"
        " ORDER BY report_id"
    )


def test_the_rows_of_a_query_land_with_the_values_that_the_database_tells(
    hospital: Hospital, lake: Lake, tmp_path: Path
) -> None:
    found = land(lake, contract_of(hospital.uri, tmp_path / "x"), tmp_path)
    assert [(r["report_id"], r["verdict"]) for r in found] == [(i, label_of(i)) for i in range(20)]
    assert {str(r["changed_at"]) for r in found} == {"2026-01-02 03:00:00+00:00"}


def test_an_unchanged_database_gives_no_second_extract(hospital: Hospital, tmp_path: Path) -> None:
    for more in ({}, {"cursor": "changed_at"}, {"cursor": "report_id"}):
        contract = contract_of(hospital.uri, tmp_path / "x", **more)
        assert extracts.refresh(contract)
        assert not extracts.refresh(contract)
        assert len(held(contract)) == 1


def test_order_of_rows_in_the_database_is_no_news(hospital: Hospital, tmp_path: Path) -> None:
    contract = contract_of(hospital.uri, tmp_path / "x", query=f"{QUERY} ORDER BY report_id")
    other = contract_of(hospital.uri, tmp_path / "y", query=f"{QUERY} ORDER BY report_id DESC")
    assert extracts.refresh(contract)
    assert extracts.refresh(other)
    assert held(contract)[0].read_bytes() == held(other)[0].read_bytes()


def test_with_a_cursor_only_news_are_written_and_ties_are_not_lost(
    hospital: Hospital, lake: Lake, tmp_path: Path
) -> None:
    contract = contract_of(hospital.uri, tmp_path / "x", cursor="changed_at")
    land(lake, contract, tmp_path)
    # One row is written late at the very moment that was the highest, one is changed, one is new
    hospital.write(row(20), row(21, minute=5))
    hospital.do("UPDATE reports SET verdict = 'abnormal', changed_at = '2026-01-02 03:07:00'"
                " WHERE report_id = 4")  # fmt: skip
    found = land(lake, contract, tmp_path)
    assert [file.name for file in held(contract)] == ["000001.parquet", "000002.parquet"]
    assert sorted(pq.read_table(held(contract)[1])["report_id"].to_pylist()) == [4, 20, 21]
    assert len(found) == 22
    assert found[4]["verdict"] == "abnormal"
    assert not extracts.refresh(contract)


def test_rows_without_a_cursor_land_once(hospital: Hospital, tmp_path: Path) -> None:
    contract = contract_of(hospital.uri, tmp_path / "x", cursor="changed_at")
    hospital.write((90, "p", "late", "normal", None))
    assert extracts.refresh(contract)
    assert not extracts.refresh(contract)
    hospital.write((91, "p", "later", "normal", None))
    assert extracts.refresh(contract)
    assert pq.read_table(held(contract)[1])["report_id"].to_pylist() == [91]


def test_another_query_begins_anew(hospital: Hospital, tmp_path: Path) -> None:
    contract = contract_of(hospital.uri, tmp_path / "x", cursor="report_id")
    extracts.refresh(contract)
    narrow = contract_of(hospital.uri, tmp_path / "x", query=f"{QUERY} WHERE report_id < 5")
    assert extracts.refresh(narrow)
    assert pq.read_metadata(held(narrow)[0]).num_rows == 5


def test_what_another_query_gave_came_earlier_so_that_a_cursor_may_be_declared_later(
    hospital: Hospital, lake: Lake, tmp_path: Path
) -> None:
    whole = contract_of(hospital.uri, tmp_path / "x")
    land(lake, whole, tmp_path)
    by_cursor = contract_of(hospital.uri, tmp_path / "x", cursor="report_id")
    for contract, changed in ((by_cursor, 4), (whole, 6)):
        hospital.do(f"UPDATE reports SET verdict = 'abnormal' WHERE report_id = {changed}")
        with extracts.apart(contract) as other:
            extracts.refresh(other)
            assert [file.name for file in held(other)][-1] > held(whole)[-1].name
        assert land(lake, contract, tmp_path)[changed]["verdict"] == "abnormal"
    assert [file.name for file in held(by_cursor)] == ["000002.parquet"]
    assert [file.name for file in held(whole)] == ["000001.parquet", "000003.parquet"]


def test_neither_place_nor_order_of_extracts_is_part_of_the_contract(tmp_path: Path) -> None:
    one, other = (contract_of("sqlite:////a.db", tmp_path / name) for name in ("x", "y"))
    assert one.sha256 == other.sha256
    assert one.files.path != other.files.path


def test_types_that_parquet_has_not_are_text_and_no_digit_is_lost(tmp_path: Path) -> None:
    made = Hospital("duckdb", tmp_path / "a.db")
    made.do("CREATE TABLE t AS SELECT '0b6bf5d4-7d1c-4a2e-8f0e-0123456789ab'::UUID AS u,"
            " 12345678901234567890123456789::HUGEINT AS h, '12:00'::TIME AS t,"
            " 'a'::ENUM ('a', 'b') AS e, INTERVAL 3 DAY AS i, 1.1::DECIMAL(9, 2) AS d")  # fmt: skip
    files = contract_of(made.uri, tmp_path, query="SELECT * FROM t").files
    write_rows(files, tmp_path / "t.parquet")
    told = pq.read_table(tmp_path / "t.parquet").to_pylist()[0]
    assert (told["u"], told["h"], told["e"]) == (
        "0b6bf5d4-7d1c-4a2e-8f0e-0123456789ab",
        "12345678901234567890123456789",
        "a",
    )
    assert (told["t"], told["i"], str(told["d"])) == ("12:00:00", "3 days", "1.10")


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM reports", "SELECT 1; DELETE FROM reports", "COPY reports TO 'x'", "ATTACH 'x'",
     "SELECT 1) AS a; DELETE FROM reports; SELECT * FROM (SELECT 1"],
)  # fmt: skip
def test_what_would_write_is_refused_and_nothing_is_written(
    hospital: Hospital, tmp_path: Path, query: str
) -> None:
    with pytest.raises((ContractInvalid, InputError)):
        extracts.refresh(contract_of(hospital.uri, tmp_path / "x", query=query))
    extracts.refresh(contract := contract_of(hospital.uri, tmp_path / "y"))
    assert pq.read_metadata(held(contract)[0]).num_rows == 20


@pytest.mark.parametrize(
    ("query", "kind", "word"),
    [
        ("SELECT * FROM nowhere", InputError, "no table"),
        ("SELECT absent FROM reports", InputError, "query"),
        ("SELEKT 1", InputError, "query"),
        ("SELECT CAST(findings AS INTEGER) AS n FROM reports", RpeError, "query"),
    ],
)
def test_what_the_database_says_is_told_without_a_cell(
    hospital: Hospital, tmp_path: Path, query: str, kind: type[RpeError], word: str
) -> None:
    hospital.write((99, "p", SECRET, "normal", "2026-01-02 03:00:00"))
    if hospital.kind == "sqlite" and "CAST" in query:
        query = "SELECT CAST(CAST(findings AS VARCHAR) AS DATE) AS n FROM reports"
    with pytest.raises(kind) as caught:
        extracts.refresh(contract_of(hospital.uri, tmp_path / "x", query=query))
    assert word in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_cell_that_is_not_of_its_column_is_told(tmp_path: Path) -> None:
    made = Hospital("sqlite", tmp_path / "a.db")
    made.write(row(1))
    made.do(f"INSERT INTO reports VALUES ('{SECRET}', 'p', 'a', 'normal', '2026-01-02')")
    with pytest.raises(ContractViolated) as caught:
        extracts.refresh(contract_of(made.uri, tmp_path / "x"))
    assert "cast that column" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_database_that_is_not_there_may_be_there_later(tmp_path: Path) -> None:
    contract = contract_of(f"sqlite:///{tmp_path}/none.db", tmp_path / "x")
    with pytest.raises(StoreUnavailable, match="not there"):
        extracts.refresh(contract)
    away = contract_of("postgresql://127.0.0.1:1/reports", tmp_path / "x")
    with pytest.raises(RpeError) as caught:
        extracts.refresh(away)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "path", "what"),
    [
        ("{query: SELECT 1}", "files.uri", "is missing"),
        ("{uri: 'sqlite:////a.db'}", "files.query", "is missing"),
        ("{query: SELECT 1, uri: 'oracle://h/d'}", "files.uri", "no database that is read"),
        ("{query: SELECT 1, uri: 'postgresql://u:p@h/d'}", "files.uri", "holds a password"),
        ("{query: SELECT 1, uri: 'postgresql://h'}", "files.uri", "lacks a host"),
        ("{query: SELECT 1, uri: 'sqlite:///a.db'}", "files.uri", "absolute path"),
        ("{query: SELECT 1, uri: 'sqlite:////a.db', path: '/x'}", "files.path", "a database"),
        ("{query: SELECT 1, uri: 'sqlite:////a.db', format: csv}", "files.format", "given twice"),
        ("{query: SELECT 1, uri: 'sqlite:////a.db', cursor: gone}", "files.cursor", "no declared"),
        ("{query: SELECT 1, uri: 'sqlite:////a.db', cursor: patient}", "files.cursor", "of type"),
        ("{query: SELECT 1, uri: 'postgresql://h/d', credentials: a}", "files.credentials", "abs"),
        ("{query: SELECT 1, uri: 'sqlite:////a.db', credentials: /a}", "files.credentials", "file"),
        ("{query: DROP TABLE a, uri: 'sqlite:////a.db'}", "files.query", "would write"),
        ("{path: '/x/*.csv', format: csv, cursor: report_id}", "files.cursor", "is of a database"),
        ("{format: database, path: '/x'}", "files.query", "is missing"),
    ],
)
def test_faults_of_a_contract_are_told_by_key(files: str, path: str, what: str) -> None:
    text = text_of("x").replace('{query: "' + QUERY + '", uri: "x"}', files)
    with pytest.raises(ContractInvalid) as caught:
        parse_contract(text, file="reports.yaml")
    assert [f for f in caught.value.faults if f.path == path and what in f.what], caught.value


def test_a_draft_of_a_query_is_a_contract_once_it_is_filled_in(
    hospital: Hospital, lake: Lake, tmp_path: Path
) -> None:
    hospital.write(*map(row, range(20, 40)))
    text = draft_query(hospital.uri, QUERY)
    assert "scan 1" not in text
    filled = text.replace("owner: TO-FILL", "owner: me@example.org")
    filled = filled.replace("method: TO-FILL", "method: synthetic")
    filled = filled.replace("attested_by: TO-FILL", "attested_by: me")
    filled = filled.replace("attested_on: TO-FILL", "attested_on: 2026-01-15")
    contract = extracts.with_extracts_below(
        parse_contract(filled, file="reports.yaml"), tmp_path / "x"
    )
    assert contract.files.query == QUERY
    found = land(lake, contract.model_copy(update={"source": "reports"}), tmp_path)
    assert len(found) == 40


def test_a_semicolon_in_a_text_or_a_comment_is_none_between_statements(
    hospital: Hospital, tmp_path: Path
) -> None:
    query = f"{QUERY} WHERE findings <> 'a; b' -- not this; nor that"
    contract = contract_of(hospital.uri, tmp_path / "x", query=query.replace(chr(10), " "))
    assert extracts.refresh(contract)
    assert pq.read_metadata(held(contract)[0]).num_rows == 20


def test_a_draft_of_a_faulty_uri_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="no database that is read"):
        draft_query("mysql://h/d", QUERY)


def test_credentials_are_read_from_their_file_alone(tmp_path: Path) -> None:
    place = tmp_path / "login"
    place.write_text("user: me\npassword: word\nhost: other\n")
    contract = contract_of("postgresql://127.0.0.1:1/d", tmp_path / "x", credentials=place)
    with pytest.raises(InputError, match="other keys") as caught:
        extracts.refresh(contract)
    assert "word" not in str(caught.value).replace("password: WORD", "")


def test_extracts_are_erased_by_hash_or_with_their_source(
    hospital: Hospital, tmp_path: Path
) -> None:
    contract = contract_of(hospital.uri, tmp_path / "x", cursor="report_id")
    extracts.refresh(contract)
    hospital.write(row(50))
    extracts.refresh(contract)
    one, other = held(contract)
    gone = {extracts.file_sha256(str(one))}
    extracts.erase(tmp_path / "x", "reports", gone)
    assert held(contract) == [other]
    with pytest.raises(InputError, match="withdrawn"):  # it would give those rows again
        extracts.refresh(contract)
    with extracts.apart(contract) as checked, pytest.raises(InputError, match="withdrawn"):
        extracts.refresh(checked)
    without = contract_of(hospital.uri, tmp_path / "x", query=f"{QUERY} WHERE report_id > 19")
    assert extracts.refresh(without)
    extracts.erase(tmp_path / "x", "reports", gone)  # again, as after a kill
    assert not extracts.refresh(without)
    extracts.erase(tmp_path / "x", "reports")
    assert not (tmp_path / "x" / "reports").exists()


@pytest.mark.parametrize("more", [{}, {"cursor": "changed_at"}])
def test_a_refused_extract_is_asked_for_again_until_the_database_is_mended(
    hospital: Hospital, lake: Lake, tmp_path: Path, more: dict[str, str]
) -> None:
    contract = contract_of(hospital.uri, tmp_path / "x", **more)
    hospital.do("UPDATE reports SET verdict = 'unsure' WHERE report_id < 15")
    with pytest.raises(ContractViolated, match="max_quarantined_ratio"):
        land(lake, contract, tmp_path)
    refused = held(contract)[0].read_bytes()
    assert not extracts.refresh(contract, refused=refused_bytes(lake, contract))
    assert held(contract)[0].read_bytes() == refused
    hospital.do("UPDATE reports SET verdict = 'normal', changed_at = '2026-01-03 00:00:00'"
                " WHERE verdict = 'unsure'")  # fmt: skip
    assert len(land(lake, contract, tmp_path)) == 20
    assert [file.name for file in held(contract)] == ["000002.parquet"]
    held(contract)[0].with_stem("000001").write_bytes(refused)  # as a kill between the two leaves
    assert not extracts.refresh(contract, refused=refused_bytes(lake, contract))
    assert [file.name for file in held(contract)] == ["000002.parquet"]


@pytest.mark.parametrize("more", [{}, {"cursor": "changed_at"}])
def test_a_refused_extract_is_gone_when_the_database_says_again_what_landed(
    hospital: Hospital, lake: Lake, tmp_path: Path, more: dict[str, str]
) -> None:
    contract = contract_of(hospital.uri, tmp_path / "x", **more)
    land(lake, contract, tmp_path)
    (landed,) = held(contract)
    hospital.do("UPDATE reports SET verdict = 'unsure'")
    with pytest.raises(ContractViolated, match="max_quarantined_ratio"):
        land(lake, contract, tmp_path)
    hospital.do("UPDATE reports SET verdict = CASE WHEN report_id % 2 = 1 THEN 'abnormal'"
                " ELSE 'normal' END")  # fmt: skip
    land(lake, contract, tmp_path)
    assert held(contract) == [landed]


def test_a_query_without_rows_is_refused_until_there_are_some(lake: Lake, tmp_path: Path) -> None:
    made = Hospital("sqlite", tmp_path / "a.db")
    contract = contract_of(made.uri, tmp_path / "x", cursor="changed_at")
    with pytest.raises(ContractViolated, match="empty_file"):
        land(lake, contract, tmp_path)
    made.write(*map(row, range(20)))
    assert len(land(lake, contract, tmp_path)) == 20
    assert [file.name for file in held(contract)] == ["000002.parquet"]


@pytest.mark.parametrize("more", [{}, {"cursor": "changed_at"}])
def test_a_row_that_becomes_again_what_it_was_is_news(
    hospital: Hospital, lake: Lake, tmp_path: Path, more: dict[str, str]
) -> None:
    contract = contract_of(hospital.uri, tmp_path / "x", **more)
    for verdict in ("abnormal", "normal", "abnormal", "normal"):  # at one and the same moment
        hospital.do(f"UPDATE reports SET verdict = '{verdict}' WHERE report_id = 3")
        assert land(lake, contract, tmp_path)[3]["verdict"] == verdict


def test_an_infinite_cursor_hides_no_later_row(lake: Lake, tmp_path: Path) -> None:
    made = Hospital("duckdb", tmp_path / "a.db")
    made.write(*map(row, range(20)), (30, "p", "never ends", "normal", "infinity"))
    contract = contract_of(made.uri, tmp_path / "x", cursor="changed_at")
    land(lake, contract, tmp_path)
    made.write(row(21, minute=5))
    assert land(lake, contract, tmp_path)[-1]["report_id"] == 21


def test_no_number_is_no_news(tmp_path: Path) -> None:
    made = Hospital("duckdb", tmp_path / "a.db")
    made.write(row(1))
    query = f"{QUERY}".replace("changed_at", "changed_at, 'nan'::DOUBLE AS dose")
    contract = contract_of(made.uri, tmp_path / "x", query=query)
    assert [extracts.refresh(contract) for _ in range(3)] == [True, False, False]


def test_a_cursor_that_comes_as_text_is_refused_at_once(tmp_path: Path) -> None:
    made = Hospital("duckdb", tmp_path / "a.db")
    made.write(row(1))
    query = QUERY.replace("changed_at", "changed_at::VARCHAR AS changed_at")
    with pytest.raises(InputError, match="comes as text"):
        extracts.refresh(contract_of(made.uri, tmp_path / "x", query=query, cursor="changed_at"))


def test_a_cursor_under_another_name_is_asked_by_the_name_of_the_query(tmp_path: Path) -> None:
    made = Hospital("duckdb", tmp_path / "a.db")
    made.write(row(1))
    for key in ("in_file", "from"):
        text = text_of(made.uri, cursor="written").replace(
            "changed_at: {type: timestamp}", f"written: {{type: timestamp, {key}: changed_at}}"
        )
        contract = extracts.with_extracts_below(
            parse_contract(text, file="reports.yaml"), tmp_path / key
        )
        assert [extracts.refresh(contract) for _ in range(2)] == [True, False]
        made.write(row(2, minute=1))
        assert extracts.refresh(contract)


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("SELECT role FROM reports", "no table, column"),
        ("SELECT timeout FROM reports", "no table, column"),
        ("SELECT 'no password supplied' FROM nowhere", "no table, column"),
        ("SELECT ? FROM reports", "does not understand"),
    ],
)
def test_words_of_the_query_are_no_words_of_the_database(
    hospital: Hospital, tmp_path: Path, query: str, what: str
) -> None:
    with pytest.raises(InputError, match=what):
        extracts.refresh(contract_of(hospital.uri, tmp_path / "x", query=query))


def test_a_file_that_is_locked_or_no_database_is_told_so(tmp_path: Path) -> None:
    made = Hospital("duckdb", tmp_path / "a.db")
    write = f"import duckdb; c = duckdb.connect({str(made.file)!r}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", write], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(StoreUnavailable, match="is locked"):
            extracts.refresh(contract_of(made.uri, tmp_path / "x"))
        writer.communicate(b"\n")
    for scheme in ("sqlite", "duckdb"):
        (tmp_path / "junk").write_bytes(b"junk" * 5000)
        with pytest.raises(InputError, match="scheme"):
            extracts.refresh(contract_of(f"{scheme}:///{tmp_path}/junk", tmp_path / "x"))


def test_lists_of_what_is_told_as_text_stay_lists(tmp_path: Path) -> None:
    made = Hospital("duckdb", tmp_path / "a.db")
    files = contract_of(made.uri, tmp_path, query="SELECT ['12:00'::TIME, NULL] AS t").files
    write_rows(files, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet")["t"].to_pylist() == [["12:00:00", None]]


def test_a_semicolon_at_the_end_may_stand_before_a_comment(
    hospital: Hospital, tmp_path: Path
) -> None:
    query = f"{QUERY} ; -- that is all; /* really */"
    contract = contract_of(hospital.uri, tmp_path / "x", query=query)
    assert extracts.refresh(contract)
