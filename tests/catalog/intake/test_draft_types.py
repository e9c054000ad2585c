"""A draft's types lose no digit: ids are never floats, and what is left out is told."""

from __future__ import annotations

from datetime import time, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.contracts.contract import ColumnRule
from catalog.contracts.load import parse_contract, parse_yaml
from catalog.intake.drafting import check_sample, draft_contract
from catalog.intake.landing import ingest
from catalog.readers.formats import open_batches
from catalog.validation.splits import group_sha256
from rpe_core.errors import InputError
from tests.catalog.contracts.test_contract import faults_of, with_column
from tests.catalog.intake.test_drafting import deliver, signed
from tests.catalog.lakes import RUN, fresh_lake

N = 40


def with_ids(cells):
    """Rows with these cells as the ids of patients."""
    return [
        {
            "report_id": f"r{n}",
            "patient_id": cell,
            "text": f"There is a small shadow of {n} millimetres in the left part, no change.",
            "label": "ab"[n % 2],
        }
        for n, cell in enumerate(cells)
    ]


def in_parquet(folder: Path, name: str, array: pa.Array) -> str:
    """A table with a key, a text, a label and this column."""
    rows = with_ids(range(len(array)))
    table = pa.Table.from_pylist(rows).drop(["patient_id"]).append_column(name, array)
    path = folder / "reports.parquet"
    pq.write_table(table, path)
    return str(path)


def columns_of(draft: str):
    return parse_yaml(draft, file="x.yaml")["columns"]


SPELLINGS = {
    "twenty digits": [f"{12345678901234567890 + n // 3}" for n in range(N)],
    "seventeen digits with a point": [f"1234567890123456.{n // 3:03d}1" for n in range(N)],
    "leading zeros": [f"{n // 3:08d}" for n in range(N)],
    "plus": [f"+{n // 3}" for n in range(N)],
    "exponents": [f"{n // 3}e5" for n in range(N)],
    "underscores": [f"1_00{n // 3}" for n in range(N)],
    "hex": [f"0x{n // 3:02x}" for n in range(N)],
    "phones": [f"617-555-{n // 3:04d}" for n in range(N)],
    "versions": [f"1.{n // 3}0" for n in range(N)],
    "past 64 bits": [str(2**63 - 5 + n // 3) for n in range(N)],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_ids_that_a_float_cannot_hold_are_text_and_groups(tmp_path, name):
    cells = SPELLINGS[name]
    path = deliver(tmp_path, with_ids(cells), name="reports")
    contract = parse_contract(signed(draft_contract(path)), file="reports.yaml")
    assert contract.columns["patient_id"].type == "string"
    assert contract.group_column == "patient_id"
    loose = contract.on_violation.model_copy(update={"max_phi_ratio": 1.0})
    contract = contract.model_copy(update={"on_violation": loose})
    if contract.columns["patient_id"].phi_scan:  # digits look identifying; here all are invented
        plain = contract.columns["patient_id"].model_copy(update={"phi_scan": False})
        columns = {**contract.columns, "patient_id": plain}
        contract = contract.model_copy(update={"columns": columns})
    assert check_sample(contract) == []
    with fresh_lake(tmp_path) as lake:
        ingest(lake, contract, run=RUN, scratch=tmp_path)
        (found,) = lake.rows(
            "SELECT count(DISTINCT _group_sha256) AS n, list(patient_id ORDER BY CAST("
            " substr(report_id, 2) AS INT)) AS ids FROM raw.reports"
        )
    assert found == {"n": len(set(cells)), "ids": cells}


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["7", "12", "-3"], "integer"),
        ([str(2**63 - 1), "0"], "integer"),
        (["0.5", "-2", "1.0e-05", "1e-05", "1e+20", ".5"], "number"),
        (["0.30000000000000004", "1.50000000000000000000"], "number"),
        (["1.5", "NaN", "nan"], "number"),
        (["1.5", "12345678901234567890"], "string"),
        (["0.123456789012345678901", "1.5"], "string"),
        (["1e5", "1.5"], "string"),
        (["007", "8.5"], "string"),
    ],
)
def test_numbers_of_a_csv_file(tmp_path, cells, kind):
    rows = [{"row": f"r{n}", "text": f"words {n}", "dose": cell} for n, cell in enumerate(cells)]
    assert columns_of(draft_contract(deliver(tmp_path, rows)))["dose"]["type"] == kind


def test_whole_floats_as_ids_are_integers(tmp_path):
    cells = [f"{n // 3}.0" for n in range(N)]  # as pandas writes a column that had a gap once
    path = deliver(tmp_path, with_ids(cells), name="reports")
    contract = parse_contract(signed(draft_contract(path)), file="reports.yaml")
    assert (contract.group_column, contract.columns["patient_id"].type) == ("patient_id", "integer")
    assert check_sample(contract) == []
    (batch,) = open_batches(path, "csv", columns=contract.columns)
    assert batch.table.column("patient_id").to_pylist() == [n // 3 for n in range(N)]


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_whole_numbers_past_64_bits_name_groups_by_their_digits(tmp_path, file_format):
    cells = [2**63 - 5 + n // 3 for n in range(N)]
    if file_format == "parquet":
        path = in_parquet(tmp_path, "patient_id", pa.array(cells, pa.uint64()))
    else:
        path = deliver(tmp_path, with_ids(cells), "jsonl", name="reports")
    contract = parse_contract(signed(draft_contract(path)), file="reports.yaml")
    assert (contract.group_column, contract.columns["patient_id"].type) == ("patient_id", "string")
    assert check_sample(contract) == []
    (batch,) = open_batches(path, file_format, columns=contract.columns)
    assert batch.table.column("patient_id").to_pylist() == [*map(str, cells)]


def test_floats_name_neither_rows_nor_groups(tmp_path):
    path = in_parquet(tmp_path, "patient_id", pa.array([1e17 + 64 * (n // 3) for n in range(N)]))
    draft = draft_contract(path)
    assert columns_of(draft)["patient_id"] == {"type": "number"}
    assert "floats, which name neither rows nor groups" in draft
    for name in ("id", "patient"):  # the key and the group
        data = with_column(name, type="number")
        what, expected = faults_of(data)[f"columns.{name}.type"]
        assert "never of type number" in what
        assert expected == "string, or integer for whole numbers"
    with pytest.raises(InputError, match="is a float"):
        group_sha256(1.0)


def test_a_float_past_its_digits_is_no_integer(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in ("9007199254740993.0", "1e17", "3.0", "7")))
    (batch,) = open_batches(str(path), "jsonl", columns={"n": ColumnRule(type="integer")})
    assert batch.table.column("n").to_pylist() == [None, None, 3, 7]
    assert [cell.reason for cell in batch.bad_cells] == ["wrong_type", "wrong_type"]


TYPED = {
    "NaN": (pa.array([0.5, float("nan")] * 20), "number", [0.5, None]),
    "float16": (pa.array([0.5, 2.0] * 20, pa.float16()), "number", [0.5, 2.0]),
    "uuid": (
        pa.ExtensionArray.from_storage(
            pa.uuid(),
            pa.array([uuid5(NAMESPACE_URL, str(n)).bytes for n in range(N)], pa.binary(16)),
        ),
        "string",
        [str(uuid5(NAMESPACE_URL, "0")), str(uuid5(NAMESPACE_URL, "1"))],
    ),
    "time": (pa.array([time(1, 2, 3, 4), None] * 20), "string", ["01:02:03.000004", None]),
    "time of seconds": (
        pa.array([60, 61] * 20, pa.time32("s")),
        "string",
        ["00:01:00", "00:01:01"],
    ),
    "duration": (
        pa.array([timedelta(days=1, microseconds=5), None] * 20),
        "number",
        [86400.000005, None],
    ),
    "json": (
        pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', "[]"] * 20)),
        "string",
        ['{"a": 1}', "[]"],
    ),
    "bool8": (
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0] * 20, pa.int8())),
        "boolean",
        [True, False],
    ),
    "fixed bytes": (pa.array([b"abc", b"abd"] * 20, pa.binary(3)), "string", ["abc", "abd"]),
    "small uint64": (pa.array([1, 2] * 20, pa.uint64()), "integer", [1, 2]),
    "decimal": (pa.array([Decimal("1.10"), Decimal("2.00")] * 20), "number", [1.1, 2.0]),
    "long decimal": (
        pa.array([Decimal("12345678901234567.891"), Decimal("2.000")] * 20),
        "string",
        ["12345678901234567.891", "2.000"],
    ),
    "whole decimal": (
        pa.array([Decimal(7), Decimal(2**60)] * 20, pa.decimal128(38, 0)),
        "integer",
        [7, 2**60],
    ),
    "dictionary of times": (
        pa.array([time(1), time(2)] * 20).dictionary_encode(),
        "string",
        ["01:00:00", "02:00:00"],
    ),
    "empty": (pa.nulls(N), "string", [None, None]),
}


@pytest.mark.parametrize("name", TYPED)
def test_parquet_types_have_a_type_of_the_contract(tmp_path, name):
    array, kind, cells = TYPED[name]
    path = in_parquet(tmp_path, "extra", array)
    contract = parse_contract(signed(draft_contract(path)), file="reports.yaml")
    assert contract.columns["extra"].type == kind
    assert contract.on_violation.unknown_column == "refuse"
    faults = [f for f in check_sample(contract) if not f.what.startswith("looks_identifying")]
    assert faults == []
    (batch,) = open_batches(path, "parquet", columns=contract.columns)
    assert batch.table.column("extra").to_pylist()[:2] == cells


HASHES = [sha256(str(n).encode()).hexdigest() for n in range(N)]
CODES = {
    "uuid": [str(uuid5(NAMESPACE_URL, str(n))) for n in range(N)],
    "uuid in capitals": [str(uuid5(NAMESPACE_URL, str(n // 2))).upper() for n in range(N)],
    "urn": [uuid5(NAMESPACE_URL, str(n)).urn for n in range(N)],
    "md5": [text[:32] for text in HASHES],
    "sha256": HASHES,
}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("column", ["ref", "study_id", "report_id"])
def test_codes_of_programs_are_told_and_not_set_aside(tmp_path, name, column):
    rows = [
        {**row, column: code} for row, code in zip(with_ids(range(N)), CODES[name], strict=True)
    ]
    path = deliver(tmp_path, rows, name="reports")
    draft = draft_contract(path)
    contract = parse_contract(signed(draft), file="reports.yaml")
    (line,) = (line for line in draft.splitlines() if line.startswith(f"  {column}:"))
    assert not contract.columns[column].phi_scan
    assert f"suspicious: {N} of {N} cells look identifying; codes, which are not scanned" in line
    assert check_sample(contract) == []


def test_long_codes_are_scanned_but_as_names_of_rows_and_groups(tmp_path):
    long = [text[:24] for text in HASHES]
    rows = [
        {**row, "case_id": long[n // 2], "token": code, "mixed": f"{code} by phone"}
        for n, (row, code) in enumerate(zip(with_ids(range(N)), long, strict=True))
    ]
    draft = draft_contract(deliver(tmp_path, [{**row, "patient_id": 1} for row in rows], name="a"))
    columns = parse_contract(signed(draft), file="a.yaml").columns
    assert [name for name, rule in columns.items() if rule.phi_scan] == ["text", "token", "mixed"]
    assert columns["case_id"].group


def test_a_text_of_codes_is_scanned_where_the_task_reads_it(tmp_path):
    rows = [{"id": n, "text": code, "label": "ab"[n % 2]} for n, code in enumerate(HASHES)]
    draft = draft_contract(deliver(tmp_path, rows, name="a"))
    assert parse_contract(signed(draft), file="a.yaml").columns["text"].phi_scan
    assert "not scanned" not in draft


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (
            pa.array([[("k", 1)], None] * 20, pa.map_(pa.string(), pa.int8())),
            "nested values: write the path of a field into `from:`",
        ),
        (pa.array([b"\xff", b"a"] * 20), "20 of 40 cells are bytes that are no text"),
        (pa.array([1.5, float("inf")] * 20), "too many of its numbers are infinite"),
    ],
)
def test_a_column_that_is_left_out_says_why(tmp_path, array, why):
    path = in_parquet(tmp_path, "extra", array)
    draft = draft_contract(path)
    assert f"  # extra: left out: {why}" in draft
    assert "unknown_column: ignore   # refuse or ignore; 1 columns are left out above" in draft
    assert check_sample(parse_contract(signed(draft), file="reports.yaml")) == []


def test_cells_of_several_types_are_left_out_and_told(tmp_path):
    rows = [{**row, "mixed": [1, "a", 2.5][n % 3]} for n, row in enumerate(with_ids(range(N)))]
    draft = draft_contract(deliver(tmp_path, rows, "jsonl", name="reports"))
    assert "# mixed: left out: of several types: 27 of 40 cells are no text" in draft
    assert check_sample(parse_contract(signed(draft), file="reports.yaml")) == []


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_nan_is_no_number_where_there_may_be_none(tmp_path, file_format):
    rows = [{**row, "dose": [0.5, float("nan")][n % 2]} for n, row in enumerate(with_ids(range(N)))]
    path = deliver(tmp_path, rows, file_format, name="reports")
    contract = parse_contract(signed(draft_contract(path)), file="reports.yaml")
    rule = contract.columns["dose"]
    assert (rule.type, rule.nullable) == ("number", True)
    assert check_sample(contract) == []
    strict = {"dose": rule.model_copy(update={"nullable": False})}
    (batch,) = open_batches(path, file_format, columns=strict)
    assert {cell.reason for cell in batch.bad_cells} == {"not_finite"}
    assert len(batch.bad_cells) == N // 2


def test_a_whole_sample_of_floats_stays_a_number(tmp_path):
    path = in_parquet(tmp_path, "dose", pa.array([float(n % 3) for n in range(N)]))
    assert columns_of(draft_contract(path))["dose"]["type"] == "number"
