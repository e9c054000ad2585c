"""Lineage: edges are complete and plain, licences bind strictly, what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.lineage import ancestors, edges, require_same_base
from catalog.records.licenses import LICENSE_ORDER, license_rank, strictest_license
from catalog.stores.lake.lake import Lake
from rpe_core.errors import InputError, UnknownName

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = [name for names in LICENSE_ORDER for name in names] + ["internal", "agreement 4"]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with Lake.open(
        uri=f"ducklake:sqlite:{tmp_path}/lake/catalog.sqlite",
        data_uri=f"{tmp_path}/lake/data",
        lock_path=tmp_path / "writer.lock",
        clock=lambda: NOON,
    ) as lake:
        lake.migrate()
        yield lake


def test_ancestors_of_an_ensemble_reach_its_files(lake: Lake) -> None:
    rows = [
        *edges("ensemble:t@1", [("member", "adapter:a@1"), ("member", "adapter:b@1")]),
        *edges("adapter:a@1", [("dataset", "dataset:a@1"), ("base", "pico@1")]),
        *edges("adapter:b@1", [("dataset", "dataset:a@1"), ("base", "pico@1")]),
        *edges("dataset:a@1", [("batch", "batch:a@1")]),
        *edges("dataset:elsewhere@1", [("batch", "batch:elsewhere@1")]),
    ]
    with lake.transaction(message="test", run=None) as commit:
        commit.insert_new("lineage", rows)
    found = ancestors(lake.rows, "ensemble:t@1")
    assert [(row["depth"], row["parent_id"]) for row in found] == [
        (1, "adapter:a@1"),
        (1, "adapter:b@1"),
        (2, "pico@1"),
        (2, "dataset:a@1"),
        (2, "pico@1"),
        (2, "dataset:a@1"),
        (3, "batch:a@1"),
    ]
    assert ancestors(lake.rows, "batch:a@1") == []


def test_edges_take_known_roles_only() -> None:
    with pytest.raises(UnknownName) as caught:
        edges("adapter:a@1", [("datset", "dataset:a@1")])
    assert "did you mean 'dataset'" in str(caught.value)


@given(st.lists(st.sampled_from(NAMES), min_size=1))
def test_the_strictest_licence_is_one_of_them_and_none_is_stricter(names: list[str]) -> None:
    bound = strictest_license(names).split(" AND ")
    assert set(bound) <= set(names)
    assert {license_rank(name) for name in bound} == {max(map(license_rank, names))}


@given(st.lists(st.sampled_from(NAMES)), st.randoms())
def test_the_strictest_licence_knows_no_order_or_repeats(names: list[str], random: object) -> None:
    shuffled = [*names, *names[:1]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert strictest_license(shuffled) == strictest_license(names)


def test_a_private_licence_is_stricter_than_any_public_one() -> None:
    public = max(license_rank(name) for names in LICENSE_ORDER for name in names)
    assert public < license_rank("agreement 4") < license_rank("internal")
    assert license_rank("internal") < license_rank("restricted")


def test_members_of_another_base_are_refused_by_name() -> None:
    require_same_base("pico@1", {"adapter:a@1": "pico@1"})
    with pytest.raises(InputError, match="1 of 2 members belong to another base") as caught:
        require_same_base("pico@1", {"adapter:a@1": "pico@1", "adapter:b@1": "nano@1"})
    assert "adapter:b@1" in str(caught.value)
    assert "adapter:a@1" not in str(caught.value)
