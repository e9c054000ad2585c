"""Names of rows and groups, and the split of a group: stable, even, alike in every source."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest

from catalog.contracts.contract import SplitShares
from catalog.validation.splits import (
    carved_share,
    group_sha256,
    hash_below,
    item_sha256,
    position,
    row_sha256,
    split_by_share,
    split_of_file,
)
from tests.catalog.validation.test_row_rules import contract_with

SHARES = SplitShares(train=0.8, validation=0.1, test=0.1)


def test_a_row_is_named_by_source_and_key_and_a_group_by_its_value_only():
    assert item_sha256("site_a", "k1") != item_sha256("site_b", "k1")
    assert item_sha256("site_a", 1) == item_sha256("site_a", "1")
    assert group_sha256("p1") != group_sha256("p2")
    assert len(group_sha256("p1")) == 64
    assert "p1" not in group_sha256("p1")


def test_the_hash_of_a_row_follows_content_and_type():
    row = {"a": "x", "n": 1, "d": date(2026, 1, 1), "none": None}
    assert row_sha256(row) == row_sha256(dict(reversed(row.items())))
    assert row_sha256(row) != row_sha256({**row, "n": 2})
    assert row_sha256(row) != row_sha256({**row, "none": ""})


def test_shares_are_kept_over_many_groups():
    counts = Counter(split_by_share(group_sha256(f"g{i}"), SHARES) for i in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert counts["validation"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_a_share_of_nothing_takes_no_group():
    without_test = SplitShares(train=0.9, validation=0.1, test=0.0)
    without_validation = SplitShares(train=0.9, validation=0.0, test=0.1)
    groups = [group_sha256(i) for i in range(5_000)]
    assert "test" not in {split_by_share(g, without_test) for g in groups}
    assert "validation" not in {split_by_share(g, without_validation) for g in groups}


def test_the_prefix_agrees_with_the_position():
    for i in range(2_000):
        group = group_sha256(i)
        assert (group < hash_below(0.1)) == (position(group) < 0.1)
    assert hash_below(0.0) == "0" * 13
    assert group_sha256("any") < hash_below(1.0)


def test_globs_name_the_split_of_a_file_and_test_is_asked_first():
    contract = contract_with(
        {"type": "string"}, splits={"train": "*.csv", "test": "*_test.csv", "carve_validation": 0.2}
    )
    assert split_of_file(contract, "/data/a_test.csv") == "test"
    assert split_of_file(contract, "s3://bucket/test/a.csv") == "train"
    assert split_of_file(contract, "/data/a.jsonl") is None
    assert carved_share(contract) == 0.2


def test_a_glob_with_a_folder_sees_the_path():
    contract = contract_with({"type": "string"}, splits={"train": "train/*", "test": "test/*"})
    assert split_of_file(contract, "/data/train/a.csv") == "train"
    assert split_of_file(contract, "/data/test/a.csv") == "test"


def test_validation_is_carved_only_where_nothing_names_it():
    assert carved_share(contract_with({"type": "string"})) == 0.0
    named = contract_with({"type": "string"}, splits={"train": "a*", "validation": "v*"})
    assert carved_share(named) == 0.0
    column = contract_with({"type": "string"}, splits={"column": "x", "validation": 0.25})
    assert carved_share(column) == 0.25
