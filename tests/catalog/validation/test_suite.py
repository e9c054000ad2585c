"""The suite of a contract, held by Great Expectations against good rows and rows with one fault."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.validation.expectations import (
    FILE_EXPECTATIONS,
    expectation_faults,
    file_check,
    measure_sql,
)
from catalog.validation.keys import KeyIndex
from catalog.validation.run import Validator
from catalog.validation.staging import scratch_columns
from catalog.validation.suite import Check, row_checks
from tests.catalog.validation.test_row_rules import TYPES, contract_with

COLUMNS: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "key": True},
    "text": {"type": "string", "min_chars": 2, "max_chars": 9},
    "label": {"type": "string", "nullable": True},
    "age": {"type": "integer", "nullable": True, "min": 0, "max": 120},
    "dose": {"type": "number", "min": 0.0},
    "is_new": {"type": "boolean", "nullable": True},
    "day": {"type": "date"},
    "at": {"type": "timestamp", "nullable": True},
    "site": {"type": "string", "values": ["a", "b"]},
    "code": {"type": "string", "pattern": "[A-Z][0-9]{2}"},
}
GOOD: dict[str, list[Any]] = {
    "id": ["1", "2"],
    "text": ["ab", "abcdefghi"],
    "label": ["yes", None],
    "age": [None, 120],
    "dose": [0.0, 1.5],
    "is_new": [True, None],
    "day": [date(2026, 1, 1), date(2026, 1, 2)],
    "at": [None, datetime(2026, 1, 1, tzinfo=UTC)],
    "site": ["a", "b"],
    "code": ["A12", "B00"],
}
CONTRACT = contract_with({"type": "string"}, columns=COLUMNS)
CHECKS = row_checks(CONTRACT)


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator()


def rows(**changes: list[Any]) -> pa.Table:
    columns = {**GOOD, **changes}
    return pa.table(
        {name: pa.array(columns[name], TYPES[rule["type"]]) for name, rule in COLUMNS.items()}
    )


def failed(validator: Validator, table: pa.Table) -> list[tuple[str, str]]:
    results = validator.check(table, CHECKS)
    return [(r.check.rule, r.check.column) for r in results if not r.is_passed]


def test_a_contract_asserts_types_nulls_lengths_ranges_sets_and_patterns():
    kinds = {(check.rule, check.column) for check in CHECKS}
    assert ("expect_column_values_to_be_in_set", "label") in kinds
    assert ("expect_column_values_to_not_be_null", "label") not in kinds
    assert ("expect_column_values_to_match_regex", "code") in kinds
    typed = "expect_column_values_to_be_in_type_list"
    assert {column for rule, column in kinds if rule == typed} == set(COLUMNS)
    assert len(kinds) == len(CHECKS)


def test_good_rows_pass_every_check(validator):
    results = validator.check(rows(), CHECKS)
    assert [r.check for r in results] == list(CHECKS)
    assert all(r.is_passed for r in results)


@pytest.mark.parametrize(
    ("changes", "rule", "column"),
    [
        ({"id": ["1", None]}, "expect_column_values_to_not_be_null", "id"),
        ({"text": ["a", "ab"]}, "expect_column_value_lengths_to_be_between", "text"),
        ({"text": ["ab", "a" * 10]}, "expect_column_value_lengths_to_be_between", "text"),
        ({"label": ["yes", "maybe"]}, "expect_column_values_to_be_in_set", "label"),
        ({"age": [None, 121]}, "expect_column_values_to_be_between", "age"),
        ({"dose": [0.0, -0.1]}, "expect_column_values_to_be_between", "dose"),
        ({"site": ["a", "c"]}, "expect_column_values_to_be_in_set", "site"),
        ({"code": ["A12", "A12\n"]}, "expect_column_values_to_match_regex", "code"),
    ],
)
def test_one_fault_fails_one_check(validator, changes, rule, column):
    assert failed(validator, rows(**changes)) == [(rule, column)]


def test_wrong_types_and_missing_columns_fail(validator):
    table = rows().set_column(3, "age", pa.array(["x", "y"]))
    assert ("expect_column_values_to_be_in_type_list", "age") in failed(validator, table)
    missing = failed(validator, rows().drop_columns(["site"]))
    assert ("expect_column_values_to_be_in_type_list", "site") in missing


def test_no_rows_and_all_nulls_pass(validator):
    assert failed(validator, rows().slice(0, 0)) == []
    assert failed(validator, rows(age=[None, None], label=[None, None])) == []


def test_nothing_is_printed_or_logged(validator, capfd, caplog):
    secret = "secret-cell-7731"
    failed(validator, rows(site=["a", secret], code=[secret, "A12"]))
    out, err = capfd.readouterr()
    assert (out, err, caplog.text) == ("", "", "")


def test_an_expectation_that_cannot_be_evaluated_has_not_passed(validator):
    broken = [Check("ExpectColumnValuesToBeBetween", "text", {"min_value": 0, "max_value": 1})]
    assert [r.is_passed for r in validator.check(rows(), broken)] == [False]


def with_expectations(*named: dict[str, Any]):
    return contract_with({"type": "string"}, columns=COLUMNS, expectations=list(named))


def test_every_fault_of_the_named_expectations_is_told_at_once():
    contract = with_expectations(
        {"name": "label_shares", "column": "label"},
        {"name": "label_share", "column": "lable", "parameters": {"max_ratio": 2}},
        {"name": "mean_between", "column": "text", "parameters": {"min": 1, "maximum": 2}},
        {"name": "null_ratio", "column": "age", "parameters": {"max_ratio": "much"}},
        {"name": "null_ratio", "column": "age", "parameters": {"max_ratio": 0.5}},
    )
    told = "\n".join(map(str, expectation_faults(contract)))
    assert "expectations[0].name: 'label_shares' is not known" in told
    assert "did you mean 'label_share'?" in told
    assert "expectations[1].column: 'lable' is no column" in told
    assert "expectations[1].parameters.max_ratio: is no ratio" in told
    assert "expectations[2].column: is of type string" in told
    assert "expectations[2].parameters: 'maximum' is not known" in told
    assert "expectations[2].parameters.max: is missing" in told
    assert "expectations[3].parameters.max_ratio: is not a number" in told
    assert told.count("is named twice") == 2


def write_scratch(contract, table, path):
    """Rows as staging leaves them: the columns named by their place."""
    places = scratch_columns(contract)
    pq.write_table(table.select(list(places)).rename_columns(list(places.values())), path)


@pytest.mark.parametrize(
    ("name", "column", "parameters", "holds"),
    [
        ("label_share", "site", {"max_ratio": 0.5}, True),
        ("label_share", "text", {"max_ratio": 0.4}, False),
        ("distinct_ratio", "text", {"min_ratio": 1.0}, True),
        ("null_ratio", "age", {"max_ratio": 0.4}, False),
        ("null_ratio", "age", {"max_ratio": 0.5}, True),
        ("mean_chars_between", "text", {"min": 5, "max": 6}, True),
        ("mean_chars_between", "text", {"min": 6, "max": 7}, False),
        ("mean_between", "dose", {"min": 0.7, "max": 0.8}, True),
        ("mean_between", "dose", {"min": 0.8, "max": 0.9}, False),
    ],
)
def test_a_named_expectation_holds_a_whole_file(
    validator, tmp_path, name, column, parameters, holds
):
    contract = with_expectations({"name": name, "column": column, "parameters": parameters})
    assert expectation_faults(contract) == []
    write_scratch(contract, rows(), tmp_path / "rows.parquet")
    with closing(KeyIndex(contract, tmp_path)) as index:
        profile = index.profile(tmp_path / "rows.parquet", contract.expectations)
    checks = [file_check(named) for named in contract.expectations]
    assert [r.is_passed for r in validator.check(profile, checks)] == [holds]


def test_a_measure_of_nothing_holds(validator, tmp_path):
    contract = with_expectations(
        *({"name": n, "column": "age", "parameters": {"max_ratio": 1}} for n in ("label_share",)),
        {"name": "mean_between", "column": "age", "parameters": {"min": 1, "max": 2}},
        {"name": "distinct_ratio", "column": "age", "parameters": {"min_ratio": 1}},
    )
    write_scratch(contract, rows(age=[None, None]), tmp_path / "rows.parquet")
    with closing(KeyIndex(contract, tmp_path)) as index:
        profile = index.profile(tmp_path / "rows.parquet", contract.expectations)
    checks = [file_check(named) for named in contract.expectations]
    assert all(r.is_passed for r in validator.check(profile, checks))


def test_the_table_of_expectations_is_documented_and_asks_for_the_column():
    assert all(known.doc and known.parameters for known in FILE_EXPECTATIONS.values())
    contract = with_expectations(
        {"name": "mean_between", "column": "age", "parameters": {"min": 0, "max": 1}}
    )
    assert '"age"' in measure_sql(contract.expectations[0], rows="t", column='"age"')
