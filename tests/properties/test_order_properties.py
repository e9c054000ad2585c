"""What stands is told by the files alone: not by the night of each, nor by how many came."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.contracts.contract import SourceContract
from catalog.errors import ContractViolated
from tests.catalog.intake.test_landing import Row, World
from tests.catalog.lakes import fresh_lake

SOME = settings(max_examples=2, deadline=None)
BAD = "not a group"  # breaks the pattern of column x
PLAIN = {"type": "string", "pattern": "g[0-9]+"}


@dataclass(frozen=True)
class Told:
    """A file: its number in the order, and for each shared key which text it says, or a bad row."""

    number: int
    says: tuple[tuple[int, int], ...]  # key, text; text 0 is a row that is set aside

    def rows(self) -> list[Row]:
        own = [
            {"id": f"own{self.number}-{i}", "text": f"own {self.number} {i}", "label": label,
             "x": "g1"}
            for i, label in enumerate(("yes", "no"))
        ]  # fmt: skip
        said = [
            {"id": f"k{key}", "text": f"key {key} text {text}", "label": "yes",
             "x": "g1" if text else BAD}
            for key, text in self.says
        ]  # fmt: skip
        return [*own, *said]


@st.composite
def told_files(draw: st.DrawFn) -> list[Told]:
    numbers = draw(st.lists(st.integers(1, 120), min_size=2, max_size=5, unique=True))
    says = st.dictionaries(st.integers(0, 3), st.integers(0, 2), max_size=4)
    return [Told(number, tuple(sorted(draw(says).items()))) for number in numbers]


@st.composite
def nights_of(draw: st.DrawFn) -> list[list[Told]]:
    """Files in some order of arrival, parted into nights."""
    files = draw(st.permutations(draw(told_files())))
    cuts = draw(st.lists(st.integers(1, len(files)), max_size=4))
    ends = sorted({*cuts, len(files)})
    return [files[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def expected(files: Sequence[Told]) -> dict[str, str]:
    """By hand: the last file by number that says a key, rows that are set aside left out."""
    standing: dict[str, str] = {}
    for file in sorted(files, key=lambda one: one.number):
        standing |= {row["id"]: row["text"] for row in file.rows() if row["x"] != BAD}
    return standing


def ordered(world: World, order: Any) -> SourceContract:
    return world.contract(
        column=PLAIN,
        files={"path": f"{world.inbox}/*", "format": "jsonl", "order": order},
        on_violation={"changed_row": "supersede", "max_quarantined_ratio": 0.9},
    )


def grown(nights: Sequence[Sequence[Told]], order: Any) -> tuple[dict[str, str], str | None]:
    """What stands after these nights, and the version that it is."""
    with tempfile.TemporaryDirectory() as home, fresh_lake(Path(home)) as lake:
        world = World(lake, Path(home))
        contract, version = ordered(world, order), None
        for night in nights:
            for file in night:
                world.deliver(f"seq_{file.number}.jsonl", file.rows())
            version = world.ingest(contract).dataset_version_id
            assert world.ingest(contract).batches == (), "an ingest again finds nothing to do"
        return world.texts(version), version


def stand_alike(nights: Sequence[Sequence[Told]]) -> None:
    files = [file for night in nights for file in night]
    by_nights, version = grown(nights, "natural")
    assert by_nights == expected(files)
    assert grown([files], {"from": "name", "pattern": r"_(\d+)"}) == (by_nights, version)


@SOME
@given(nights_of())
def test_nights_and_orders_of_arrival_do_not_matter(nights):
    stand_alike(nights)


@pytest.mark.slow
@pytest.mark.ci_slow
@settings(max_examples=40, deadline=None)
@given(nights_of())
def test_many_nights_and_orders_of_arrival_do_not_matter(nights):
    stand_alike(nights)


@pytest.mark.slow
@pytest.mark.ci_slow
@settings(max_examples=4, deadline=None)
@given(nights_of(), st.integers(0, 2**16))
def test_a_file_that_comes_again_says_again_what_it_said(nights, seed):
    """The bytes of an early file under a later name are its rows once more, and the last."""
    files = [file for night in nights for file in night]
    first = random.Random(seed).choice(files)
    again = Told(200, ())
    with tempfile.TemporaryDirectory() as home, fresh_lake(Path(home)) as lake:
        world = World(lake, Path(home))
        contract = ordered(world, "natural")
        for night in nights:
            for file in night:
                world.deliver(f"seq_{file.number}.jsonl", file.rows())
            world.ingest(contract)
        world.deliver(f"seq_{again.number}.jsonl", first.rows())
        version = world.ingest(contract).dataset_version_id
        standing = expected(files) | expected([first])
        assert world.texts(version) == standing
    with tempfile.TemporaryDirectory() as home, fresh_lake(Path(home)) as lake:
        world = World(lake, Path(home))
        for file in files:
            world.deliver(f"seq_{file.number}.jsonl", file.rows())
        world.deliver(f"seq_{again.number}.jsonl", first.rows())
        assert world.ingest(ordered(world, "natural")).dataset_version_id == version


@SOME
@given(nights_of())
def test_without_an_order_nothing_that_disagrees_lands_unasked(nights):
    """At once: a key stands only where all files that say it agree; the others are refused."""
    files = [file for night in nights for file in night]
    said: dict[str, set[str]] = {}
    for file in files:
        for row in file.rows():
            if row["x"] != BAD:
                said.setdefault(row["id"], set()).add(row["text"])
    clashing = {key for key, texts in said.items() if len(texts) > 1}
    refused = {
        f"seq_{file.number}.jsonl"
        for file in files
        if any(row["id"] in clashing and row["x"] != BAD for row in file.rows())
    }
    with tempfile.TemporaryDirectory() as home, fresh_lake(Path(home)) as lake:
        world = World(lake, Path(home))
        for file in files:
            world.deliver(f"seq_{file.number}.jsonl", file.rows())
        with suppress(ContractViolated):
            world.ingest(ordered(world, None))
        found = {Path(b["file_uri"]).name: b for b in world.batches()}
        assert {name for name, b in found.items() if b["outcome"] == "refused"} == refused
        assert all("files_disagree" in found[name]["reason"] for name in refused)
        rows = lake.rows("SELECT id, text FROM raw.site_a")
        landed = [file for file in files if f"seq_{file.number}.jsonl" not in refused]
        assert {row["id"]: row["text"] for row in rows} == expected(landed)
