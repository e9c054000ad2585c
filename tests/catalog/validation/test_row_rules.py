"""Every row rule finds exactly its failing rows, and no message or code holds a value."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from catalog.contracts.contract import ColumnRule, SourceContract
from catalog.validation.row_rules import ROW_RULES, RowFaults, check_rows, rules_of

TYPES = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def contract_with(column: dict[str, Any], **changes: Any) -> SourceContract:
    """A contract of four columns, `x` being the one under test."""
    return SourceContract.model_validate(
        {
            "source": "site_a",
            "title": "t",
            "owner": "o",
            "license": "internal",
            "files": {"path": "/nowhere/*.csv", "format": "csv"},
            "task": {
                "type": "text-classification",
                "input": "text",
                "target": "label",
                "labels": {"yes": "It is so.", "no": "It is not so."},
            },
            "deidentified": {
                "method": "synthetic",
                "attested_by": "tests",
                "attested_on": "2026-01-01",
            },
            "columns": {
                "id": {"type": "string", "key": True},
                "text": {"type": "string"},
                "label": {"type": "string", "nullable": True},
                "x": {"nullable": True, **column},
            },
            **changes,
        }
    )


def batch(contract: SourceContract, **columns: list[Any]) -> pa.Table:
    n_rows = len(next(iter(columns.values())))
    filled = {
        "id": [f"k{i}" for i in range(n_rows)],
        "text": ["a text"] * n_rows,
        "label": ["yes"] * n_rows,
        "x": [None] * n_rows,
        **columns,
    }
    return pa.table(
        {name: pa.array(filled[name], TYPES[rule.type]) for name, rule in contract.columns.items()}
    )


def failing(faults: RowFaults, code: str) -> list[int]:
    return sorted(row for row, reasons in faults.reasons.items() if code in reasons)


@pytest.mark.parametrize(
    ("column", "values", "code", "rows"),
    [
        ({"type": "string", "nullable": False}, ["a", None], "null_not_allowed(x)", [1]),
        ({"type": "number"}, [1.0, math.nan, math.inf, None], "not_finite(x)", [1, 2]),
        ({"type": "string", "min_chars": 2}, ["a", "ab", "é", None], "too_short(x)", [0, 2]),
        ({"type": "string", "max_chars": 2}, ["ab", "abc", "éé", None], "too_long(x)", [1]),
        ({"type": "integer", "min": 0, "max": 9}, [-1, 0, 9, 10, None], "out_of_range(x)", [0, 3]),
        ({"type": "number", "min": 0.5}, [0.4, 0.5, None], "out_of_range(x)", [0]),
        ({"type": "number", "max": 0.5}, [0.4, 0.6, None], "out_of_range(x)", [1]),
        ({"type": "string", "values": ["a", "b"]}, ["a", "c", None], "not_in_values(x)", [1]),
        ({"type": "string", "pattern": "[0-9]+"}, ["12", "12a", "1\n", None], "pattern(x)", [1, 2]),
        ({"type": "string", "pattern": "a|bc"}, ["a", "bc", "abc"], "pattern(x)", [2]),
        ({"type": "string", "group": True}, ["g", "", " \t"], "blank_key(x)", [1, 2]),
    ],
)
def test_a_rule_finds_its_rows_and_no_others(column, values, code, rows):
    contract = contract_with(column)
    faults = check_rows(batch(contract, x=values), contract)
    assert failing(faults, code) == rows
    assert sorted(faults.reasons) == rows


def test_a_row_without_label_is_legal_and_an_unknown_label_is_not():
    contract = contract_with({"type": "string"})
    faults = check_rows(batch(contract, label=["yes", None, "maybe"]), contract)
    assert dict(faults.reasons) == {2: ["unknown_label(label)"]}


def test_the_split_column_says_a_split():
    contract = contract_with({"type": "string"}, splits={"column": "x"})
    faults = check_rows(batch(contract, x=["train", "test", "validation", "dev", None]), contract)
    assert failing(faults, "unknown_split(x)") == [3, 4]


def test_a_cell_that_could_not_be_typed_fails_with_the_reader_code_only():
    contract = contract_with({"type": "integer", "nullable": False})
    faults = check_rows(
        batch(contract, x=[None, None, 3], id=["a", None, "c"]),
        contract,
        unread=[(0, "wrong_type", "x"), (1, "ragged_row", "")],
    )
    assert dict(faults.reasons) == {0: ["wrong_type(x)"], 1: ["ragged_row"]}
    assert faults.counts == {("wrong_type", "x"): 1, ("ragged_row", ""): 1}


def test_a_row_may_fail_several_rules_and_is_set_aside_once():
    contract = contract_with({"type": "string", "min_chars": 3, "pattern": "[a-z]+"})
    faults = check_rows(batch(contract, x=["1", "abc"]), contract)
    assert faults.reasons[0] == ["too_short(x)", "pattern(x)"]
    assert faults.mask(2).to_pylist() == [False, True]


def test_an_empty_batch_fails_nothing():
    contract = contract_with({"type": "timestamp", "nullable": False})
    assert not check_rows(batch(contract, x=[]), contract).reasons
    one = batch(contract, x=[datetime(2026, 1, 1, tzinfo=UTC)])
    assert not check_rows(one, contract).reasons


def test_the_table_of_rules_is_documented_and_without_doubles():
    assert len({rule.rule_id for rule in ROW_RULES}) == len(ROW_RULES)
    assert all(rule.doc for rule in ROW_RULES)


def test_rules_apply_by_what_the_contract_declares():
    contract = contract_with({"type": "string", "values": ["a"]})
    asked = {(rule.rule_id, place.name) for rule, place in rules_of(contract)}
    assert ("not_in_values", "x") in asked
    assert ("null_not_allowed", "x") not in asked
    assert ("unknown_label", "label") in asked
    assert ColumnRule.model_validate({"type": "string"}).nullable is False
