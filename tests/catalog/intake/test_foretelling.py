"""What `source check` foretells is what `ingest` then does, file by file and count by count."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.contracts.contract import SourceContract
from catalog.errors import ContractViolated
from catalog.intake.preview import COUNTS, Forecast, foretell
from catalog.stores.rows import NothingYet
from tests.catalog.intake.test_landing import Row, World, notes
from tests.catalog.intake.test_order import ordered, say
from tests.catalog.lakes import SECRET, fresh_lake, n_files, open_lake


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with fresh_lake(tmp_path) as lake:
        yield World(lake, tmp_path)


def told(world: World, contract: SourceContract) -> Forecast:
    forecast = foretell(world.lake, contract, scratch=world.scratch)
    assert not list(world.scratch.iterdir())
    return forecast


def verdicts(forecast: Forecast) -> dict[str, str]:
    return {row["file"]: row["verdict"] for row in forecast.files}


def done(world: World, contract: SourceContract) -> list[tuple[Any, ...]]:
    """What an ingest put on record about the files that it held against the contract."""
    before = {row["batch_id"] for row in world.batches()}
    with suppress(ContractViolated):
        world.ingest(contract)
    return sorted(
        (Path(row["file_uri"]).name, row["outcome"] == "refused", row["reason"] or "",
         *(row[name] for name in COUNTS))
        for row in world.batches() if row["batch_id"] not in before
    )  # fmt: skip


def foretold(forecast: Forecast) -> list[tuple[Any, ...]]:
    return sorted(
        (row["file"], row["verdict"] == "refuse", row["reason"], *(row[name] for name in COUNTS))
        for row in forecast.files
        if row["verdict"] in ("land", "refuse", "nothing new")
    )


def agree(world: World, contract: SourceContract) -> Forecast:
    """The forecast, after an ingest has done just that."""
    forecast = told(world, contract)
    counts = world.lake.snapshot_id
    assert told(world, contract) == forecast, "nothing was changed"
    assert world.lake.snapshot_id == counts
    assert foretold(forecast) == done(world, contract)
    return forecast


def test_changed_duplicate_unchanged_and_unknown_are_told_against_what_stands(world):
    contract = ordered(world, None, on_violation={"changed_row": "refuse"})
    say(world, "a.jsonl", "first")
    agree(world, contract)
    say(world, "b.jsonl", "changed")
    world.deliver("c.jsonl", [*notes(4, start=10), *notes(1, start=10, text="twice")])
    world.deliver("d.jsonl", [*notes(4, start=20), *notes(2, start=20)])
    world.deliver("e.jsonl", notes(3, start=30, scanner="s1"))
    forecast = agree(world, contract)
    assert verdicts(forecast) == {
        "a.jsonl": "landed before",
        "b.jsonl": "refuse",
        "c.jsonl": "refuse",
        "d.jsonl": "land",
        "e.jsonl": "refuse",
    }
    told_faults = [str(fault) for fault in forecast.faults]
    assert any("b.jsonl: changed_row: 1 row (1)" in text for text in told_faults)
    assert any("c.jsonl: duplicate_key: 2 rows (1, 5)" in text for text in told_faults)
    assert any("has a column 'scanner' that is not declared" in text for text in told_faults)
    aside = [(r["file"], r["rule"], r["n_rows"], r["first_rows"]) for r in forecast.set_aside]
    assert aside == [
        ("b.jsonl", "changed_row", 1, [1]),
        ("c.jsonl", "duplicate_key", 2, [1, 5]),
    ], "the rows that `findings` shows afterwards"
    again = agree(world, contract)
    assert verdicts(again)["b.jsonl"] == "refused before"
    assert "changed_row" in next(row["reason"] for row in again.files if row["file"] == "b.jsonl")


def test_an_unknown_column_that_is_ignored_is_no_fault(world):
    loose = {"unknown_column": "ignore", "changed_row": "supersede"}
    world.deliver("a.jsonl", notes(4, scanner="s1"))
    forecast = agree(world, ordered(world, None, on_violation=loose))
    assert (verdicts(forecast), forecast.faults) == ({"a.jsonl": "land"}, ())


def test_files_that_disagree_and_late_files_are_told(world):
    say(world, "seq_9.jsonl", "nine")
    say(world, "seq_10.jsonl", "ten")
    forecast = agree(world, ordered(world, None))
    assert set(verdicts(forecast).values()) == {"refuse"}
    assert "files.order" in forecast.faults[0].expected
    agree(world, ordered(world))
    say(world, "seq_8.jsonl", "eight")
    forecast = agree(world, ordered(world))
    (late,) = [row for row in forecast.files if row["file"] == "seq_8.jsonl"]
    assert (late["verdict"], late["n_outdated"], late["n_unchanged"]) == ("nothing new", 1, 3)


def test_files_of_one_name_are_told_apart_by_their_folders(world):
    files = {"path": f"{world.inbox}/*/*.jsonl", "format": "jsonl"}
    contract = world.contract(files=files)
    for number, folder in enumerate(("june", "july")):
        (world.inbox / folder).mkdir()
        world.deliver(f"{folder}/a.jsonl", notes(4, start=10 * number))
    assert verdicts(told(world, contract)) == {"june/a.jsonl": "land", "july/a.jsonl": "land"}
    world.ingest(contract)
    (world.inbox / "may").mkdir()
    world.deliver("may/a.jsonl", notes(4, start=30))
    assert verdicts(told(world, contract)) == {
        "june/a.jsonl": "landed before",
        "july/a.jsonl": "landed before",
        "may/a.jsonl": "land",
    }


def test_rows_set_aside_are_told_with_rule_and_place_though_the_file_lands(world):
    contract = ordered(world, None, columns={
        **ordered(world).model_dump(mode="json")["columns"],
        "x": {"type": "string", "pattern": "g[0-9]+"},
    })  # fmt: skip
    world.deliver("a.jsonl", [*notes(4), *notes(1, start=7, x=SECRET)])
    forecast = agree(world, contract)
    assert verdicts(forecast) == {"a.jsonl": "land"}
    assert forecast.faults == ()
    (aside,) = forecast.set_aside
    assert (aside["rule"], aside["n_rows"], aside["first_rows"]) == ("pattern(x)", 1, [5])
    assert SECRET not in str(forecast)


def test_an_empty_file_is_refused_alone_and_no_matter_beside_others(world):
    contract = ordered(world, None)
    world.deliver("a.csv", [])
    (world.inbox / "a.csv").write_text("id,text,label,x\n")
    files = {"path": f"{world.inbox}/*.csv", "format": "csv"}
    contract = world.contract(files=files)
    assert verdicts(agree(world, contract)) == {"a.csv": "refuse"}
    (world.inbox / "a.csv").write_text("id,text,label,x\n\n")
    rows = "".join(f"{r['id']},{r['text']},yes\n".replace("\n", ",g1\n") for r in notes(1))
    (world.inbox / "b.csv").write_text("id,text,label,x\n" + rows + "k9,another,no,g2\n")
    assert set(verdicts(agree(world, contract)).values()) == {"nothing new", "land"}


def test_a_shape_that_changed_is_told_and_nothing_is_read(world):
    say(world, "a.jsonl", "a")
    world.ingest(ordered(world))
    columns = {**ordered(world).model_dump(mode="json")["columns"], "y": {"type": "string"}}
    forecast = told(world, ordered(world, columns=columns))
    assert forecast.files == ()
    assert forecast.faults[0].path == "columns.y"


def test_before_there_is_a_lake_everything_is_new(tmp_path):
    inbox = tmp_path / "in"
    inbox.mkdir()
    (inbox / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in notes(4)))
    with fresh_lake(tmp_path / "other") as lake:
        (tmp_path / "other" / "x").mkdir()
        world = World(lake, tmp_path / "other" / "x")
        contract = world.contract(files={"path": f"{inbox}/*", "format": "jsonl"})
    forecast = foretell(NothingYet(), contract)
    assert [(row["verdict"], row["n_accepted"]) for row in forecast.files] == [("land", 4)]
    without = foretell(NothingYet(), world.contract())
    assert (without.files, without.faults[0].path) == ((), "files.path")


def test_a_reader_foretells_and_leaves_no_file(tmp_path):
    with fresh_lake(tmp_path) as lake:
        world = World(lake, tmp_path)
        say(world, "seq_1.jsonl", "one")
        world.ingest(ordered(world))
    say(world, "seq_2.jsonl", "two")
    before = n_files(tmp_path)
    with open_lake(tmp_path, read_only=True) as reader:
        forecast = foretell(reader, ordered(world))
    assert verdicts(forecast) == {"seq_1.jsonl": "landed before", "seq_2.jsonl": "land"}
    assert n_files(tmp_path) == before


ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", "c"]), st.sampled_from(["g1", "bad"])),
    max_size=6,
)


def rows_of(drawn: list[tuple[int, str, str]], number: int) -> list[Row]:
    said = [
        {"id": f"k{key}", "text": f"{text} of {key}", "label": "yes", "x": x}
        for key, text, x in drawn
    ]
    own = [{"id": f"o{number}-{i}", "text": f"own {number} {i}", "label": label, "x": "g1"}
           for i, label in enumerate(("yes", "no"))]  # fmt: skip
    return [*own, *said]


@settings(max_examples=2, deadline=None)
@given(
    st.lists(st.lists(ROWS, min_size=1, max_size=3), min_size=2, max_size=3),
    st.sampled_from(["refuse", "supersede"]),
    st.sampled_from([None, "natural"]),
    st.sampled_from([0.0, 0.5]),
    st.randoms(use_true_random=False),
)
def test_whatever_comes_is_foretold(nights, changed_row, order, ratio, chance):
    numbers = list(range(1, 30))
    chance.shuffle(numbers)
    with tempfile.TemporaryDirectory() as home, fresh_lake(Path(home)) as lake:
        world = World(lake, Path(home))
        contract = world.contract(
            column={"type": "string", "pattern": "g[0-9]+"},
            files={"path": f"{world.inbox}/*", "format": "jsonl"}
            | ({"order": order} if order else {}),
            on_violation={"changed_row": changed_row, "max_quarantined_ratio": ratio},
        )
        for night in nights:
            for drawn in night:
                number = numbers.pop()
                world.deliver(f"seq_{number}.jsonl", rows_of(drawn, number))
            agree(world, contract)
