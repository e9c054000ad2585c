"""PostgreSQL as a source: rows of a query, read only, a login in a file, news by a cursor."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest

from catalog.contracts.load import parse_contract
from catalog.errors import StoreUnavailable
from catalog.intake import extracts
from catalog.intake.databases import write_rows
from catalog.intake.drafting_queries import draft_query
from catalog.intake.landing import ingest
from rpe_core.errors import InputError
from tests.catalog.database_world import QUERY, contract_of
from tests.catalog.intake.test_drafting import signed
from tests.catalog.lakes import RUN, SECRET, fresh_lake
from tests.cluster.postgres import Postgres, postgres

pytestmark = pytest.mark.cluster
TABLE = (
    "CREATE TABLE reports (report_id bigint PRIMARY KEY, patient text, findings text, verdict text,"
    " changed_at timestamptz);"
    " INSERT INTO reports SELECT i, 'p' || i % 7, 'scan ' || i || ' is clear',"
    " CASE i % 2 WHEN 0 THEN 'normal' ELSE 'abnormal' END,"
    " timestamptz '2026-01-02 03:00:00+00' + i / 10 * interval '1 minute'"
    " FROM generate_series(0, 99) AS i"
)


class Hospital:
    """A database of a hospital, and the file with the login of a user who may read it."""

    def __init__(self, server: Postgres, name: str, folder: Path) -> None:
        self.server, self.name = server, name
        self.uri = f"postgresql://127.0.0.1:{server.port}/{name}"
        password = server.passfile.read_text().strip().split(":")[-1]
        self.login = folder / "login"
        self.login.write_text(f"user: rpe\npassword: {password}\n")
        self.do(TABLE)

    def do(self, sql: str) -> str:
        return self.server._client("psql", "-d", self.name, "-qAtc", sql)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A real PostgreSQL; pytest's own folders are closed to the user that it runs as."""
    with TemporaryDirectory(prefix="rpe-postgres-") as folder, postgres(Path(folder)) as running:
        yield running


@pytest.fixture
def hospital(server: Postgres, tmp_path: Path) -> Hospital:
    name = f"hospital_{secrets.token_hex(4)}"
    server.make_database(name)
    return Hospital(server, name, tmp_path)


def test_a_table_lands_and_a_second_extract_holds_its_news(
    hospital: Hospital, tmp_path: Path
) -> None:
    more = {"credentials": hospital.login, "cursor": "changed_at"}
    contract = contract_of(hospital.uri, tmp_path / "x", **more)
    with fresh_lake(tmp_path) as lake:
        assert extracts.refresh(contract)
        ingest(lake, contract, run=RUN, scratch=tmp_path)
        assert not extracts.refresh(contract)
        hospital.do("INSERT INTO reports VALUES (100, 'p', 'late', 'normal',"
                    " (SELECT max(changed_at) FROM reports));"
                    " UPDATE reports SET findings = 'seen again', changed_at = now()"
                    " WHERE report_id = 5")  # fmt: skip
        assert extracts.refresh(contract)
        ingest(lake, contract, run=RUN, scratch=tmp_path)
        found = lake.rows(
            "SELECT report_id, patient, findings, verdict FROM raw.reports"
            " WHERE _superseded_by IS NULL ORDER BY report_id"
        )
    told = hospital.do(
        f"SELECT report_id, patient, findings, verdict FROM ({QUERY}) AS q ORDER BY 1"
    )
    assert ["|".join(map(str, row.values())) for row in found] == told.splitlines()
    held = sorted(Path(contract.files.path).parent.glob("*.parquet"))
    assert sorted(pq.read_table(held[1])["report_id"].to_pylist()) == [5, 100]


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("WITH gone AS (DELETE FROM reports RETURNING *) SELECT * FROM gone", InputError),
        ("SELECT * FROM nowhere", InputError),
        ("SELECT nextval('numbers') AS report_id", InputError),
    ],
)
def test_nothing_is_written_and_nothing_is_quoted(
    hospital: Hospital, tmp_path: Path, query: str, kind: type[Exception]
) -> None:
    hospital.do("CREATE SEQUENCE numbers")
    files = contract_of(hospital.uri, tmp_path, query=query, credentials=hospital.login).files
    with pytest.raises(kind) as caught:
        write_rows(files, tmp_path / "a.parquet")
    assert "scan" not in str(caught.value)
    assert str(hospital.server.port) not in str(caught.value)
    assert hospital.do("SELECT count(*), (SELECT is_called FROM numbers) FROM reports") == "100|f"


def test_what_a_cast_says_of_a_cell_is_not_told(hospital: Hospital, tmp_path: Path) -> None:
    hospital.do(f"UPDATE reports SET findings = '{SECRET}'")
    query = "SELECT findings::integer AS report_id FROM reports"
    files = contract_of(hospital.uri, tmp_path, query=query, credentials=hospital.login).files
    with pytest.raises(Exception, match=r"files\.query") as caught:
        write_rows(files, tmp_path / "a.parquet")
    assert SECRET not in str(caught.value)


def test_a_wrong_password_and_an_absent_server_are_told_apart(
    hospital: Hospital, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("user: rpe\npassword: no\n")
    refused = contract_of(hospital.uri, tmp_path, credentials=wrong).files
    with pytest.raises(InputError, match="credentials"):
        write_rows(refused, tmp_path / "a.parquet")
    absent = contract_of("postgresql://127.0.0.1:1/reports", tmp_path, credentials=wrong).files
    with pytest.raises(StoreUnavailable, match="does not answer"):
        write_rows(absent, tmp_path / "a.parquet")


def test_a_table_lands_by_its_own_draft(hospital: Hospital, tmp_path: Path) -> None:
    query = "SELECT report_id, patient, findings, verdict, changed_at FROM reports"
    draft = draft_query(hospital.uri, query, hospital.login)
    assert "is clear" not in draft
    contract = extracts.with_extracts_below(
        parse_contract(signed(draft), file=f"{hospital.name}.yaml"), tmp_path / "x"
    )
    with fresh_lake(tmp_path) as lake:
        extracts.refresh(contract)
        ingest(lake, contract, run=RUN, scratch=tmp_path)
        found = lake.rows(
            f"SELECT report_id, patient, findings, verdict, changed_at FROM raw.{hospital.name}"
            " ORDER BY report_id"
        )
    told = hospital.do(
        "SELECT report_id, patient, findings, verdict, to_char(changed_at AT TIME ZONE 'UTC',"
        " 'YYYY-MM-DD HH24:MI:SS+00:00') FROM reports ORDER BY report_id"
    )
    assert ["|".join(map(str, row.values())) for row in found] == told.splitlines()
