"""Which of two files that disagree counts: the contract says, or both are refused with words."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from fsspec.implementations.local import LocalFileSystem

from catalog.contracts.contract import SourceContract
from catalog.contracts.files import Files
from catalog.contracts.load import load_contract
from catalog.contracts.rules import contract_faults
from catalog.errors import ContractInvalid, ContractViolated
from catalog.intake.deliveries import arrived_late, pending_files
from catalog.intake.landing import IngestReport
from catalog.readers.ordering import place_of
from catalog.retraction.erasure import erase_rows
from catalog.retraction.influence import Subject, count_disagreeing, influence_of
from rpe_core.errors import InputError
from tests.catalog.intake.test_landing import Row, World, notes
from tests.catalog.lakes import RUN, fresh_lake

ANEW = {"changed_row": "supersede"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with fresh_lake(tmp_path) as lake:
        yield World(lake, tmp_path)


def ordered(world: World, order: Any = "natural", **changes: Any) -> SourceContract:
    files = {"path": f"{world.inbox}/{changes.pop('glob', '*')}", "format": "jsonl"}
    files |= {} if order is None else {"order": order}
    return world.contract(files=files, **{"on_violation": ANEW, **changes})


def say(world: World, name: str, text: str, n: int = 4) -> Path:
    """A file of which the first row says `text` and the others are as ever."""
    (world.inbox / name).parent.mkdir(parents=True, exist_ok=True)
    return world.deliver(name, [*notes(1, text=text), *notes(n - 1, start=1)])


def standing(world: World) -> str:
    rows = world.lake.rows("SELECT text FROM raw.site_a WHERE id = 'k0' AND _superseded_by IS NULL")
    assert len(rows) == 1
    return str(rows[0]["text"])


def refusal(world: World, contract: SourceContract) -> str:
    with pytest.raises(ContractViolated) as caught:
        world.ingest(contract)
    return str(caught.value)


def shown(report: IngestReport) -> list[tuple[str, int, int, int]]:
    return [(b.file_name, b.n_accepted, b.n_unchanged, b.n_outdated) for b in report.batches]


def test_both_waiting_stand_as_they_stand_night_by_night(world):
    say(world, "seq_9.jsonl", "nine")
    say(world, "seq_10.jsonl", "ten")
    report = world.ingest(ordered(world))
    assert shown(report) == [("seq_9.jsonl", 4, 0, 0), ("seq_10.jsonl", 1, 3, 0)]
    assert standing(world) == "ten"


def test_in_no_declared_order_both_are_refused_and_told_by_name_row_and_column(world):
    say(world, "seq_9.jsonl", "nine")
    say(world, "seq_10.jsonl", "ten")
    told = refusal(world, ordered(world, None))
    assert "seq_9.jsonl" in told
    assert "files_disagree: 1 row (1) has a key (column id) that seq_10.jsonl says other" in told
    assert "that seq_9.jsonl says otherwise, and these files are in no declared order" in told
    assert "files.order" in told
    assert "k0" not in told
    assert "nine" not in told
    assert world.counts()["raw.site_a"] == 0
    aside = world.lake.rows("SELECT _row_number, _reasons FROM quarantine.site_a")
    assert aside == [{"_row_number": 1, "_reasons": "files_disagree"}] * 2
    assert world.ingest(ordered(world, None)).batches == (), "refused once, until something changes"


def test_a_third_file_that_disagrees_with_none_lands(world):
    say(world, "seq_9.jsonl", "nine")
    say(world, "seq_10.jsonl", "ten")
    world.deliver("seq_11.jsonl", notes(6, start=20))
    refusal(world, ordered(world, None))
    assert [b["outcome"] for b in world.batches()] == ["refused", "accepted", "refused"]


def test_the_one_that_is_left_lands_when_the_other_is_withdrawn(world):
    nine = say(world, "seq_9.jsonl", "nine")
    say(world, "seq_10.jsonl", "ten")
    refusal(world, ordered(world, None))
    nine.unlink()
    assert shown(world.ingest(ordered(world, None))) == [("seq_10.jsonl", 4, 0, 0)]
    assert standing(world) == "ten"
    assert world.ingest(ordered(world, None)).batches == ()
    states = world.lake.rows(
        "SELECT outcome, superseded_at IS NULL AS stands FROM core.batches"
        " WHERE ends_with(file_uri, '10.jsonl') ORDER BY outcome"
    )
    assert states == [
        {"outcome": "accepted", "stands": True},
        {"outcome": "refused", "stands": False},
    ]


def test_an_order_that_is_written_afterwards_lands_what_was_refused(world):
    say(world, "seq_9.jsonl", "nine")
    say(world, "seq_10.jsonl", "ten")
    refusal(world, ordered(world, None))
    world.ingest(ordered(world))
    assert standing(world) == "ten"


def test_an_early_file_that_comes_late_replaces_nothing(world):
    say(world, "seq_10.jsonl", "ten")
    first = world.ingest(ordered(world)).dataset_version_id
    say(world, "seq_9.jsonl", "nine")
    report = world.ingest(ordered(world))
    assert shown(report) == [("seq_9.jsonl", 0, 3, 1)]
    assert report.dataset_version_id == first
    assert standing(world) == "ten"
    (late,) = world.lake.rows("SELECT n_outdated FROM core.batches WHERE n_outdated > 0")
    assert late["n_outdated"] == 1


def test_a_row_that_a_later_file_said_again_is_as_late_as_that_file(world):
    say(world, "seq_1.jsonl", "same")
    world.ingest(ordered(world))
    say(world, "seq_3.jsonl", "same", n=5)
    world.ingest(ordered(world))
    say(world, "seq_2.jsonl", "between", n=6)
    assert shown(world.ingest(ordered(world))) == [("seq_2.jsonl", 1, 4, 1)]
    assert standing(world) == "same"
    say(world, "seq_4.jsonl", "after", n=7)
    world.ingest(ordered(world))
    assert standing(world) == "after"
    said = world.lake.rows("SELECT count(*) AS n, count(DISTINCT item_sha256) AS m"
                           " FROM core.confirmations")  # fmt: skip
    assert said[0]["n"] == said[0]["m"] == 5, "each row that was said again, once; not the new k0"


def test_content_that_returns_in_the_same_bytes_stands_again(world):
    say(world, "day_1.jsonl", "first")
    first = world.ingest(ordered(world)).dataset_version_id
    say(world, "day_2.jsonl", "second")
    second = world.ingest(ordered(world)).dataset_version_id
    say(world, "day_3.jsonl", "first")
    assert world.ingest(ordered(world)).dataset_version_id == first != second
    assert [world.texts(v)["k0"] for v in (first, second)] == ["first", "second"]
    assert world.ingest(ordered(world)).batches == ()


def test_a_copy_under_an_earlier_name_is_no_delivery(world):
    say(world, "seq_5.jsonl", "five")
    world.ingest(ordered(world))
    say(world, "seq_1.jsonl", "five")
    assert world.ingest(ordered(world)).batches == ()


def test_bytes_under_two_names_count_where_the_later_name_stands(world):
    for name, text in (("seq_1.jsonl", "a"), ("seq_2.jsonl", "b"), ("seq_3.jsonl", "a")):
        say(world, name, text)
    world.ingest(ordered(world))
    assert standing(world) == "a"
    assert len(world.batches()) == 2


def test_a_file_that_is_replaced_where_it_lies_is_the_newer(world):
    say(world, "all.jsonl", "first")
    world.ingest(ordered(world))
    say(world, "all.jsonl", "second")
    world.ingest(ordered(world))
    assert standing(world) == "second"


def test_files_of_one_place_that_disagree_are_refused(world):
    say(world, "seq_7.jsonl", "seven")
    say(world, "seq_07.jsonl", "the other seven")
    told = refusal(world, ordered(world))
    assert "have the same place in files.order" in told
    assert world.counts()["raw.site_a"] == 0


def test_a_file_of_the_place_of_a_standing_one_is_refused_if_it_disagrees(world):
    say(world, "seq_7.jsonl", "seven")
    world.ingest(ordered(world))
    path = say(world, "seq_07.jsonl", "the other seven")
    told = refusal(world, ordered(world))
    assert "(column id) that seq_7.jsonl says otherwise" in told
    assert str(world.inbox) not in told
    assert standing(world) == "seven"
    assert world.ingest(ordered(world)).batches == ()
    path.rename(world.inbox / "seq_8.jsonl")
    world.ingest(ordered(world))
    assert standing(world) == "the other seven"


def test_compression_is_no_part_of_a_place(world):
    say(world, "seq_9.jsonl", "nine")
    with gzip.open(world.inbox / "seq_10.jsonl.gz", "wt") as packed:
        packed.writelines(json.dumps(row) + "\n" for row in notes(1, text="ten"))
    world.ingest(ordered(world))
    assert standing(world) == "ten"
    with gzip.open(world.inbox / "seq_9.jsonl.gz", "wt") as packed:
        packed.writelines(json.dumps(row) + "\n" for row in notes(1, text="packed"))
    world.ingest(ordered(world))
    assert standing(world) == "ten"


def test_folders_of_partitions_come_before_names(world):
    say(world, "day=2026-01-09/part-1.jsonl", "ninth")
    say(world, "day=2026-01-10/part-0.jsonl", "tenth")
    world.ingest(ordered(world, glob="*/*"))
    assert standing(world) == "tenth"


def test_names_that_are_alike_are_told_with_their_folders(world):
    say(world, "a/part-0.jsonl", "one")
    say(world, "b/part-0.jsonl", "two")
    told = refusal(world, ordered(world, None, glob="*/*"))
    assert "that b/part-0.jsonl says otherwise" in told
    assert str(world.inbox) not in told


@pytest.mark.parametrize(
    ("order", "late"),
    [
        ({"from": "name", "pattern": r"(\d+)\.(\d+)\.(\d+)"}, "x_10.01.2026.jsonl"),
        (
            {"from": "name", "pattern": r"(?P<day>\d+)\.(?P<month>\d+)\.(?P<year>\d+)"},
            "x_09.02.2026.jsonl",
        ),
        ({"from": "name", "pattern": r"_(\d+)"}, "x_10.01.2026.jsonl"),
        ("name", "x_10.01.2026.jsonl"),
    ],
)
def test_a_pattern_orders_by_its_groups(world, order, late):
    for name in ("x_09.02.2026.jsonl", "x_10.01.2026.jsonl"):
        say(world, name, name)
    world.ingest(ordered(world, order))
    assert standing(world) == late


def test_the_order_of_names_is_that_of_text(world):
    say(world, "seq_9.jsonl", "nine")
    say(world, "seq_10.jsonl", "ten")
    world.ingest(ordered(world, "name"))
    assert standing(world) == "nine"


def test_a_name_that_the_pattern_does_not_fit_is_refused_until_it_is_renamed(world):
    path = say(world, "correction.jsonl", "corrected")
    say(world, "seq_1.jsonl", "one")
    order = {"from": "name", "pattern": r"seq_(\d+)"}
    told = refusal(world, ordered(world, order))
    assert "no_place: the pattern of files.order does not fit its name" in told
    assert "rename the file" in told
    assert standing(world) == "one"
    assert world.ingest(ordered(world, order)).batches == ()
    path.rename(world.inbox / "seq_2.jsonl")
    world.ingest(ordered(world, order))
    assert standing(world) == "corrected"


def test_modified_orders_by_the_moment_that_the_store_tells(world):
    contract = ordered(world, "modified")
    moments = {"b.jsonl": 1_700_000_000, "a.jsonl": 1_700_000_100}
    for name, moment in moments.items():
        os.utime(say(world, name, name), (moment, moment))
    world.ingest(contract)
    assert standing(world) == "a.jsonl"
    stored = world.lake.rows("SELECT max(file_modified_at) AS at FROM core.batches")
    assert stored == [{"at": datetime.fromtimestamp(1_700_000_100, tz=UTC)}]
    os.utime(say(world, "c.jsonl", "between"), (1_700_000_050, 1_700_000_050))
    assert shown(world.ingest(contract)) == [("c.jsonl", 0, 3, 1)]
    # touched, b is delivered again at the later moment: as a rebuilt workspace would see it
    os.utime(world.inbox / "b.jsonl", (1_700_000_200, 1_700_000_200))
    world.ingest(contract)
    assert standing(world) == "b.jsonl"
    assert world.ingest(contract).batches == ()


def test_a_store_that_tells_no_moment_is_told(world, monkeypatch):
    say(world, "a.jsonl", "a")
    monkeypatch.delattr(LocalFileSystem, "modified")
    assert pending_files(world.lake, [ordered(world, "modified")])["site_a"] != []
    with pytest.raises(InputError, match="does not say when it was modified"):
        world.ingest(ordered(world, "modified"))


def test_another_order_is_told_anew_by_the_files_that_lie_there(world):
    for moment, name in enumerate(("seq_10.jsonl", "seq_9.jsonl")):
        os.utime(say(world, name, name), (1_700_000_000 + moment, 1_700_000_000 + moment))
    world.ingest(ordered(world))
    assert standing(world) == "seq_10.jsonl"
    world.ingest(ordered(world, "modified"))
    assert standing(world) == "seq_9.jsonl"
    world.ingest(ordered(world))
    assert standing(world) == "seq_10.jsonl", "a contract that returns orders them again"
    assert world.ingest(ordered(world)).batches == ()


def test_what_came_night_by_night_in_no_order_takes_the_one_that_is_written(world):
    say(world, "z.jsonl", "first")
    world.ingest(ordered(world, None))
    say(world, "a.jsonl", "corrected")
    world.ingest(ordered(world, None))
    assert standing(world) == "corrected", "in no order the later to arrive replaces"
    world.ingest(ordered(world))
    assert standing(world) == "first", "the order of names says that z is the later"


def test_who_arrives_after_a_later_name_is_told_where_nothing_is_declared(world):
    contract = ordered(world, None)
    say(world, "seq_10.jsonl", "ten")
    world.ingest(contract)
    say(world, "seq_9.jsonl", "nine")
    ids = [batch.batch_id for batch in world.ingest(contract).batches]
    assert arrived_late(world.lake, contract, ids) == {"seq_9.jsonl": 1}
    assert arrived_late(world.lake, ordered(world), ids) == {}
    say(world, "seq_11.jsonl", "eleven")
    ids = [batch.batch_id for batch in world.ingest(contract).batches]
    assert arrived_late(world.lake, contract, ids) == {}


def test_deliveries_that_stay_after_a_retraction_need_an_order_if_they_disagree(world):
    contract = ordered(world, None)
    world.deliver("a.jsonl", notes(6, start=40))
    version = world.ingest(contract).dataset_version_id
    say(world, "b.jsonl", "b")
    world.ingest(contract)
    say(world, "c.jsonl", "c")
    world.ingest(contract)
    influence = influence_of(world.lake, Subject("site_a", version or ""))
    assert len(influence.staying) == 2
    assert count_disagreeing(world.lake, influence) == 1
    erase_rows(world.lake, influence, run=RUN)
    (world.inbox / "a.jsonl").unlink()
    world.ingest(ordered(world))
    assert standing(world) == "c"
    assert world.lake.rows("SELECT count(*) AS n FROM core.confirmations")[0]["n"] == 3


def test_rows_that_came_too_late_go_with_what_was_later(world):
    """A file that brought nothing but what a withdrawn one says otherwise is withdrawn with it."""
    world.deliver("seq_10.jsonl", [*notes(1, text="ten"), *notes(1, start=1, text="one of ten")])
    version = world.ingest(ordered(world)).dataset_version_id
    world.deliver("seq_9.jsonl", [*notes(1, text="nine"), *notes(1, start=1, text="one of nine")])
    assert shown(world.ingest(ordered(world))) == [("seq_9.jsonl", 0, 0, 2)]
    influence = influence_of(world.lake, Subject("site_a", version or ""))
    assert len(influence.deliveries) == 2
    assert influence.staying == {}


@pytest.mark.parametrize("order", [None, "natural"])
def test_files_parted_by_label_land_together_though_they_come_one_by_one(world, order):
    """At once they land (each by itself is refused), so they do when the second has come."""
    contract = ordered(world, order)
    world.deliver("a.jsonl", notes(25, label="yes"))
    assert "one_class_only" in refusal(world, contract)
    assert world.ingest(contract).batches == ()
    world.deliver("b.jsonl", notes(25, start=30, label="no"))
    assert shown(world.ingest(contract)) == [("a.jsonl", 25, 0, 0), ("b.jsonl", 25, 0, 0)]
    world.deliver("c.jsonl", notes(25, start=60, text="same"))
    assert "identical_inputs" in refusal(world, contract)
    world.deliver("d.jsonl", notes(3, start=90))
    assert shown(world.ingest(contract)) == [("d.jsonl", 3, 0, 0)], "c is alike in itself"


def test_single_rows_land_once_there_are_two(world):
    world.deliver("a.jsonl", notes(1))
    assert "one_class_only" in refusal(world, ordered(world))
    world.deliver("b.jsonl", notes(1, start=1))
    assert len(world.ingest(ordered(world)).batches) == 2
    assert world.counts()["raw.site_a"] == 2


def test_refuse_refuses_whichever_way_the_files_are_ordered(world):
    strict = {"changed_row": "refuse"}
    say(world, "seq_10.jsonl", "ten")
    world.ingest(ordered(world, on_violation=strict))
    say(world, "seq_9.jsonl", "nine")
    assert "changed_row: 1 row (1)" in refusal(world, ordered(world, on_violation=strict))
    assert standing(world) == "ten"


def test_splits_by_name_of_the_file_are_part_of_what_it_says(world):
    splits = {"train": "*train*", "test": "*test*", "carve_validation": 0.0}
    say(world, "1_train.jsonl", "same")
    world.deliver("2_test.jsonl", notes(1, text="same"))
    told = refusal(world, ordered(world, None, splits=splits))
    assert told.count("files_disagree") == 2


def test_an_order_that_nobody_wrote_leaves_the_hash_as_it_was(world):
    contract = ordered(world, None)
    assert "order" not in contract.model_dump(mode="json")["files"]
    assert contract.sha256 != ordered(world).sha256
    assert contract.shape_sha256 == ordered(world).shape_sha256


@pytest.mark.parametrize(
    ("files", "path", "what"),
    [
        ({"order": "date"}, "files.order", "is no valid choice"),
        ({"order": {"from": "name", "pattern": "x"}}, "files.order.pattern", "has no group"),
        ({"order": {"from": "name", "pattern": "(("}}, "files.order.pattern", "is no pattern"),
        ({"order": {"from": "name"}}, "files.order.pattern", "is missing"),
        ({"order": {"pattern": "(x)"}}, "files.order.from", "is missing"),
        ({"order": {"from": "row", "pattern": "(x)"}}, "files.order.from", "is no valid choice"),
        ({"order": "name", "format": "image"}, "files.order", "does not apply to images"),
    ],
)
def test_faults_of_an_order_are_told_with_their_path(world, tmp_path, files, path, what):
    data = world.contract().model_dump(mode="json", by_alias=True)
    data["files"] |= files
    file = tmp_path / "site_a.yaml"
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ContractInvalid) as caught:
        load_contract(file)
    told = [fault for fault in caught.value.faults if fault.path == path]
    assert [fault for fault in told if what in fault.what], caught.value.faults


def test_an_order_in_a_file_is_read(world, tmp_path):
    data = ordered(world, {"from": "path", "pattern": r"day=(\d+)"}).model_dump(
        mode="json", by_alias=True
    )
    file = tmp_path / "site_a.yaml"
    file.write_text(yaml.safe_dump(data))
    assert (
        load_contract(file).files.order
        == ordered(world, {"from": "path", "pattern": r"day=(\d+)"}).files.order
    )
    assert contract_faults(data) == []


# As natsort 8.4 sorts them with its option PATH
NATURAL = (
    "9.csv",
    "10.csv",
    "2026-01-09.csv",
    "2026-01-10.csv.gz",
    "seq_1.csv",
    "seq_1-fix.csv",
    "seq_2.csv",
    "seq_10.csv",
    "v1.2/seq_1.csv",
    "v1.10/seq_0.csv",
)


def test_places_agree_with_what_others_call_natural():
    files = Files(path="/data/**", format="csv", order="natural")
    places = [place_of(files, f"/data/{name}") for name in NATURAL]
    assert all(first < second for first, second in pairwise(places))


def test_rows_of_the_same_content_clash_with_nothing(world):
    rows: list[Row] = notes(5)
    world.deliver("a.jsonl", rows)
    world.deliver("b.jsonl", [*rows, *notes(2, start=8)])
    assert shown(world.ingest(ordered(world, None))) == [
        ("a.jsonl", 5, 0, 0),
        ("b.jsonl", 2, 5, 0),
    ]


def test_a_file_that_is_refused_for_itself_refuses_no_other(world):
    world.deliver("a.jsonl", [*notes(4), *notes(1, text="twice")])
    world.deliver("b.jsonl", notes(4, text="other", x="g1")[:1] + notes(3, start=1))
    told = refusal(world, ordered(world, None))
    assert "files_disagree" not in told
    assert {b["outcome"] for b in world.batches()} == {"accepted", "refused"}
