"""Drafting: a contract from data that loads once it is signed, and data held against it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.contracts.contract import DeclaredExpectation
from catalog.contracts.load import TO_FILL, load_contract, parse_contract, parse_yaml
from catalog.errors import ContractInvalid
from catalog.intake.drafting import check_sample, draft_contract
from rpe_core.errors import InputError

SECRET = "Hildegunst Geheim"
SECTIONS = ("chest_findings", "no", "advice: rest")


def rows_of(n_rows=120):
    """Rows of an invented report table; every value but the section's is not to be shown."""
    return [
        {
            "report_id": f"r{n:04d}",
            "patientId": f"p{n // 3}",
            "referrer_name": f"{SECRET} {n}",
            "scanner": f"tomograph {n % 2}",
            "dose": 0.5 + n % 7,
            "text": f"There is a small shadow of {n % 60} millimetres in the left part, no change.",
            "contact": f"geheim{n}@example.com" if n % 10 == 0 else None,
            "section": SECTIONS[n % 3],
        }
        for n in range(n_rows)
    ]


def deliver(folder, rows, file_format="csv", name="ct_reports"):
    path = folder / f"{name}.{file_format}"
    if file_format == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif file_format == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def signed(draft):
    """The draft as a person would fill it in."""
    for key, value in {
        "owner": "data@example.org",
        "method": "synthetic",
        "attested_by": "jane.roe",
        "attested_on": "2026-01-15",
    }.items():
        draft = draft.replace(f"{key}: {TO_FILL}", f"{key}: {value}")
    return draft


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_a_draft_tells_types_and_roles(tmp_path, file_format):
    draft = draft_contract(deliver(tmp_path, rows_of(), file_format))
    contract = parse_contract(signed(draft), file="ct_reports.yaml")
    columns = contract.columns
    assert contract.source == "ct_reports"
    assert contract.files.format == file_format
    assert (contract.key_column, contract.group_column) == ("report_id", "patientId")
    assert (contract.task.input, contract.task.target) == ("text", "section")
    assert set(contract.task.labels) == set(SECTIONS)
    assert contract.task.labels["chest_findings"] == "Chest findings"
    assert columns["dose"].type == "number"
    assert [name for name, rule in columns.items() if rule.slice] == ["scanner"]
    assert [name for name, rule in columns.items() if rule.nullable] == ["contact"]
    assert [n for n, rule in columns.items() if rule.phi_scan] == [
        "referrer_name",
        "text",
        "contact",
    ]


def test_a_draft_flags_what_may_identify_by_name_and_count_only(tmp_path):
    draft = draft_contract(deliver(tmp_path, rows_of()))
    lines = {line.split(":")[0].strip(): line for line in draft.splitlines()}
    assert "12 of 12 cells look identifying" in lines["contact"]
    assert "the name says" in draft_contract(
        deliver(tmp_path, [{"dob": f"{n}", "text": "a"} for n in range(9)], name="b")
    )
    for value in ("Geheim", "geheim", "shadow", "tomograph", "r0001"):
        assert value not in draft


def test_an_unsigned_draft_says_what_to_fill_in(tmp_path):
    path = tmp_path / "ct_reports.yaml"
    path.write_text(draft_contract(deliver(tmp_path, rows_of())))
    with pytest.raises(ContractInvalid) as caught:
        load_contract(path)
    faults = {fault.path: fault for fault in caught.value.faults}
    assert set(faults) == {
        "owner", "deidentified.method", "deidentified.attested_by", "deidentified.attested_on",
    }  # fmt: skip
    assert all(fault.expected for fault in faults.values())
    path.write_text(signed(path.read_text()))
    assert check_sample(load_contract(path))[0].what.startswith("looks_identifying(contact) in 12")


def test_a_draft_of_data_without_roles_still_loads_as_yaml(tmp_path):
    rows = [{"a b": 1, 'c"d': None, "nested": {"x": 1}} for _ in range(4)]
    draft = draft_contract(deliver(tmp_path, rows, "jsonl"))
    data = parse_yaml(draft, file="x.yaml")
    assert set(data["columns"]) == {"a b", "c_d", "nested_x"}
    assert data["columns"]["c_d"]["in_file"] == 'c"d'
    assert data["on_violation"]["unknown_column"] == "refuse"
    with pytest.raises(ContractInvalid) as caught:
        parse_contract(draft, file="x.yaml")
    told = {fault.path for fault in caught.value.faults}
    assert {"columns", "task.target", "task.labels"} <= told


def test_leading_zeros_stay_text(tmp_path):
    rows = [{"id": f"{n:03d}", "text": "words", "label": "ab"[n % 2]} for n in range(20)]
    data = parse_yaml(draft_contract(deliver(tmp_path, rows)), file="x.yaml")
    assert data["columns"]["id"] == {"type": "string", "key": True}


def test_a_file_without_a_header_is_drafted_by_places(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{SECRET},1970-01-01,41\n" * 3)
    draft = draft_contract(str(path))
    data = parse_yaml(draft, file="x.yaml")
    assert data["files"]["header"] is False
    assert [rule["type"] for rule in data["columns"].values()] == ["string", "date", "integer"]
    assert "Geheim" not in draft


def test_what_cannot_be_drafted_is_told(tmp_path):
    with pytest.raises(InputError, match="matches no file"):
        draft_contract(str(tmp_path / "*.csv"))
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(InputError, match="no known format"):
        draft_contract(str(tmp_path / "a.docx"))


@pytest.fixture
def contract(tmp_path):
    """A signed contract over clean data in `tmp_path`."""
    rows = [{**row, "contact": None} for row in rows_of()]
    return parse_contract(signed(draft_contract(deliver(tmp_path, rows))), file="ct_reports.yaml")


def harmed(n_bad, **changes):
    rows = [{**row, "contact": None} for row in rows_of()]
    return [{**row, **changes} if n < n_bad else row for n, row in enumerate(rows)]


def test_clean_data_have_no_fault(contract):
    assert check_sample(contract) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"dose": SECRET}, "wrong_type(dose)"),
        ({"section": SECRET}, "unknown_label(section)"),
        ({"text": None}, "null_not_allowed(text)"),
        ({"text": "Please write to geheim@example.com"}, "looks_identifying(text)"),
        ({"text": "\u0436\u0430\u043b\u0443\u0435\u0442\u0441\u044f"}, "script_not_judged(text)"),
    ],
)
def test_bad_cells_are_counted_with_row_numbers(tmp_path, contract, changes, code):
    deliver(tmp_path, harmed(7, **changes))
    faults = check_sample(contract)
    assert [fault.what for fault in faults] == [
        f"{code} in 7 of 120 sampled rows, first ct_reports.csv row 1, 2, 3, 4, 5"
    ]
    assert "eheim" not in str(faults)


def test_what_the_contract_tolerates_is_no_fault(tmp_path, contract):
    deliver(tmp_path, harmed(1, section=SECRET))
    assert check_sample(contract) == []
    strict = contract.model_copy(
        update={"on_violation": contract.on_violation.model_copy(update={"bad_row": "refuse"})}
    )
    assert len(check_sample(strict)) == 1


def test_an_expectation_that_is_not_known_is_told(contract):
    named = DeclaredExpectation(name="balanced", column="section")
    (fault,) = check_sample(contract.model_copy(update={"expectations": (named,)}))
    assert fault.path == "expectations[0].name"


def test_no_row_at_all_is_told(tmp_path, contract):
    path = tmp_path / "ct_reports.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    (fault,) = check_sample(contract)
    assert fault.what == "no row was found"


def test_keys_and_columns_are_held_against_the_contract(tmp_path, contract):
    rows = [
        {**{k: v for k, v in row.items() if k not in ("dose", "contact")}, "extra": 1}
        for row in harmed(3, report_id="r0119")
    ]
    deliver(tmp_path, rows)
    faults = {fault.path: fault.what for fault in check_sample(contract) if fault.path != "data"}
    assert faults == {
        "columns": "ct_reports.csv has a column 'extra' that is not declared",
        "columns.dose": "is missing from ct_reports.csv",
        "columns.report_id": "3 of 120 sampled rows of ct_reports.csv repeat a key",
    }


def test_every_file_that_cannot_be_read_is_told(tmp_path, contract):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_bytes(b"")
    pattern = contract.model_copy(
        update={"files": contract.files.model_copy(update={"path": f"{tmp_path}/*.csv"})}
    )
    whats = [fault.what for fault in check_sample(pattern)]
    assert whats == [f"{name}.csv cannot be read: it is empty." for name in ("a", "b")]
    for path in Path(tmp_path).glob("*.csv"):
        path.unlink()
    (fault,) = check_sample(pattern)
    assert fault.path == "files.path"
