"""Tables in many files: what writers leave beside them, and parts without rows or of bad cells."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.contracts.contract import SourceContract
from catalog.errors import ContractViolated
from catalog.intake.drafting import check_sample, draft_contract
from catalog.intake.landing import ingest, read_rows
from catalog.readers.files import list_parts
from rpe_core.errors import InputError
from tests.catalog.lakes import RUN, fresh_lake
from tests.catalog.validation.test_row_rules import contract_with

SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("label", pa.string()), ("x", pa.date32())]
)


def part(path: Path, start: int, end: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": f"k{i}",
            "text": f"a note {i}",
            "label": "yes" if i % 2 else "no",
            "x": date(2026, 1, 1),
        }
        for i in range(start, end)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path


def contract_of(path: object, **changes: Any) -> SourceContract:
    files = {"path": str(path), "format": "parquet", **changes.pop("files", {})}
    return contract_with({"type": "date"}, files=files, **changes)


def litter(folder: Path) -> None:
    """What Spark, Hadoop, Hive and macOS leave beside the parts of a table."""
    (folder / "_temporary" / "0").mkdir(parents=True)
    for name in (
        "_SUCCESS", "_committed_123", "._SUCCESS.crc", ".part-0.parquet.crc", "._part-0.parquet",
        ".DS_Store", "_temporary/0/part-9.parquet", ".hive-staging.parquet",
        "part-0.parquet.crc", "part-0.parquet.md5", "part-1.parquet.SHA256",
    ):  # fmt: skip
        (folder / name).write_bytes(b"\x00\x05\x16\x07 no table")
    pq.write_metadata(SCHEMA, folder / "_metadata")
    pq.write_metadata(SCHEMA, folder / "_common_metadata")


@pytest.mark.parametrize("pattern", ["*", "*.parquet", "**", "**/*.parquet"])
def test_what_writers_leave_beside_a_table_is_no_part_of_it(tmp_path, pattern):
    parts = [part(tmp_path / "in" / f"part-{i}.parquet", 10 * i, 10 * i + 10) for i in range(2)]
    litter(tmp_path / "in")
    contract = contract_of(f"{tmp_path}/in/{pattern}")
    assert list_parts(contract.files.path) == [str(path) for path in parts]
    assert "k0" not in draft_contract(contract.files.path)
    assert check_sample(contract) == []
    with fresh_lake(tmp_path) as lake:
        report = ingest(lake, contract, run=RUN)
        assert [batch.n_accepted for batch in report.batches] == [10, 10]


def test_a_name_that_is_asked_for_is_read_whatever_it_begins_with(tmp_path):
    for name in (
        "_cohort.parquet", "_cohort-2.parquet", ".hidden/a.parquet", "_day=1/a.parquet", "b.crc",
    ):  # fmt: skip
        part(tmp_path / name, 0, 1)
    found = {
        pattern: [
            Path(uri).relative_to(tmp_path).as_posix()
            for uri in list_parts(f"{tmp_path}/{pattern}")
        ]
        for pattern in ("_cohort.parquet", "_cohort*", ".hidden/*", "*/*.parquet")
    }
    assert found == {
        "_cohort.parquet": ["_cohort.parquet"],
        "_cohort*": ["_cohort-2.parquet", "_cohort.parquet"],
        ".hidden/*": [".hidden/a.parquet"],
        "*/*.parquet": ["_day=1/a.parquet"],
    }


def test_a_folder_above_the_glob_may_have_any_name(tmp_path):
    path = part(tmp_path / "_exports" / ".2026" / "a.parquet", 0, 1)
    assert list_parts(f"{path.parent}/*.parquet") == [str(path)]


def test_where_nothing_else_matches_their_number_is_told(tmp_path):
    litter(tmp_path)
    with pytest.raises(InputError, match="13 files that begin with"):
        list_parts(f"{tmp_path}/**")


def test_a_part_without_rows_is_nothing_beside_parts_that_have_some(tmp_path):
    part(tmp_path / "in" / "part-0.parquet", 0, 10)
    part(tmp_path / "in" / "part-1.parquet", 0, 0)
    empty = pa.table({name: pa.nulls(0) for name in SCHEMA.names})  # as pandas writes one
    pq.write_table(empty, tmp_path / "in" / "part-2.parquet")
    contract = contract_of(f"{tmp_path}/in/*.parquet")
    assert check_sample(contract) == []
    with fresh_lake(tmp_path) as lake:
        report = ingest(lake, contract, run=RUN)
        assert [(b.n_rows, b.n_accepted, b.reasons) for b in report.batches] == [
            (10, 10, ()), (0, 0, ()), (0, 0, ()),
        ]  # fmt: skip
        assert ingest(lake, contract, run=RUN).batches == ()


def test_a_csv_part_with_a_header_alone_is_nothing_too(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,text,label,x\nk1,note,yes,2026-01-01\nk2,b,no,\n")
    (tmp_path / "in" / "b.csv").write_text("id,text,label,x\n")
    contract = contract_of(f"{tmp_path}/in/*.csv", files={"format": "csv"})
    with fresh_lake(tmp_path) as lake:
        assert [b.n_rows for b in ingest(lake, contract, run=RUN).batches] == [2, 0]


def test_a_table_without_any_row_is_still_refused(tmp_path):
    part(tmp_path / "in" / "part-0.parquet", 0, 0)
    part(tmp_path / "in" / "part-1.parquet", 0, 0)
    with fresh_lake(tmp_path) as lake, pytest.raises(ContractViolated, match="empty_file"):
        ingest(lake, contract_of(f"{tmp_path}/in/*.parquet"), run=RUN)


def test_a_date_beyond_the_calendar_is_one_bad_cell_and_harms_no_sister(tmp_path):
    """Draft, check and ingest alike; a date32 of PostgreSQL's infinity among two sound files."""
    for number in (0, 2):
        part(tmp_path / "in" / f"part-{number}.parquet", 200 * number, 200 * number + 200)
    table = pq.read_table(part(tmp_path / "in" / "part-1.parquet", 200, 400))
    days = pa.array([2**31 - 1, *([20_000] * 199)], pa.int32()).cast(pa.date32())
    pq.write_table(table.set_column(3, "x", days), tmp_path / "in" / "part-1.parquet")
    contract = contract_of(f"{tmp_path}/in/*.parquet")
    assert "x: {type: date" in draft_contract(f"{tmp_path}/in/part-1.parquet")
    assert check_sample(contract) == []
    with fresh_lake(tmp_path) as lake:
        report = ingest(lake, contract, run=RUN)
        assert [b.n_accepted for b in report.batches] == [200, 199, 200]
        assert report.batches[1].failed["outside_calendar(x)"] == 1
        landed = read_rows(lake, report.dataset_version_id or "", columns=["id", "x"])
        assert "k200" not in landed.column("id").to_pylist()
