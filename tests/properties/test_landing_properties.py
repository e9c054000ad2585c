"""Landing, whatever the rows: order and parcels do not matter, nothing identifying lands."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.contracts.contract import SplitShares
from catalog.errors import ContractViolated
from catalog.validation.row_rules import check_rows
from catalog.validation.splits import group_sha256, row_sha256, split_by_share
from tests.catalog.intake.test_landing import World, notes, scanning
from tests.catalog.lakes import fresh_lake
from tests.catalog.validation.test_row_rules import batch, contract_with

FEW = settings(max_examples=2, deadline=None)
IDENTIFIERS = (
    "SSN 536-90-4399",
    "call (617) 555-0173",
    "write to john.doe@clinic.org",
    "MRN 00417736",
)


def in_new_world(act: Any) -> Any:
    with tempfile.TemporaryDirectory() as home, fresh_lake(Path(home)) as lake:
        return act(World(lake, Path(home)))


@FEW
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_order_and_parcels_of_a_delivery_do_not_matter(seed, n_files):
    rows = notes(24)
    shuffled = random.Random(seed).sample(rows, k=len(rows))
    size = -(-len(rows) // n_files)

    def whole(world: World) -> str | None:
        world.deliver("a.jsonl", rows)
        return world.ingest().dataset_version_id

    def in_parcels(world: World) -> str | None:
        for start in range(0, len(shuffled), size):
            world.deliver(f"{start}.jsonl", shuffled[start : start + size])
        first = world.ingest()
        counts = world.counts()
        assert world.ingest().dataset_version_id == first.dataset_version_id
        assert world.counts() == counts
        return first.dataset_version_id

    assert in_new_world(whole) == in_new_world(in_parcels)


@FEW
@given(st.sets(st.integers(0, 29), min_size=1, max_size=14), st.sampled_from(IDENTIFIERS))
def test_a_planted_identifier_is_set_aside_wherever_it_stands_and_never_told(places, identifier):
    def act(world: World) -> None:
        rows = notes(30)
        for place in places:
            rows[place]["text"] = f"Stable since then, {identifier}, no fever."
        world.deliver("a.jsonl", rows)
        told = [str(world.ingest(scanning(world)))]
        aside = world.lake.rows("SELECT _row_number, _reasons FROM quarantine.site_a")
        assert {row["_row_number"] - 1 for row in aside} == places
        assert all("phi:" in row["_reasons"] for row in aside)
        assert world.counts()["raw.site_a"] == 30 - len(places)
        with pytest.raises(ContractViolated) as caught:
            world.ingest(scanning(world, max_phi_ratio=0.01))
        told += [str(caught.value), str(world.lake.rows("SELECT * FROM core.batches"))]
        assert not [text for text in told if identifier.split(" ")[-1] in text]

    in_new_world(act)


@given(st.lists(st.one_of(st.none(), st.text(max_size=6)), max_size=20))
def test_rows_fail_exactly_where_a_plain_loop_says(values):
    contract = contract_with(
        {"type": "string", "min_chars": 1, "max_chars": 3, "values": ["a", "b"]}
    )
    faults = check_rows(batch(contract, x=values), contract)
    expected = {i for i, v in enumerate(values) if v is not None and v not in ("a", "b")}
    assert set(faults.reasons) == expected
    assert faults.mask(len(values)).to_pylist() == [i not in expected for i in range(len(values))]


@given(st.text(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_every_group_has_one_split_with_a_share(group, first, second):
    low, high = sorted((first, second))
    shares = SplitShares(train=low, validation=high - low, test=1.0 - high)
    split = split_by_share(group_sha256(group), shares)
    assert split == split_by_share(group_sha256(group), shares)
    assert split in ("train", "validation", "test")


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text())))
def test_the_hash_of_a_row_does_not_follow_the_order_of_its_columns(row):
    turned = dict(reversed(row.items()))
    assert row_sha256(row) == row_sha256(turned)
    assert pa.scalar(row_sha256(row)).type == pa.string()
