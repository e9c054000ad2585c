"""Ingest on a real lake: what lands, is set aside or is refused, and what a version holds."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.contracts.contract import SourceContract
from catalog.errors import (
    ContractInvalid,
    ContractViolated,
    PhiFound,
    RecordNotFound,
    StoreUnavailable,
)
from catalog.intake import landing
from catalog.intake.deliveries import pending_files
from catalog.intake.landing import IngestReport, ingest, read_rows
from catalog.stores.lake.lake import Lake
from catalog.validation import staging
from rpe_core.errors import InputError, UnknownName
from tests.catalog.lakes import RUN, SECRET, fresh_lake
from tests.catalog.validation.test_row_rules import contract_with

Row = dict[str, Any]
COUNTED = ["sources", "batches", "dataset_versions", "validations", "lineage"]


class World:
    """A lake, a folder of deliveries and the contract that reads it."""

    def __init__(self, lake: Lake, home: Path) -> None:
        self.lake, self.inbox, self.scratch = lake, home / "in", home / "scratch"
        self.inbox.mkdir()
        self.scratch.mkdir()

    def contract(self, *, column: Row | None = None, **changes: Any) -> SourceContract:
        loose = {"max_quarantined_ratio": 0.5, "max_phi_ratio": 0.5}
        loose |= changes.pop("on_violation", {})
        files = {"path": f"{self.inbox}/*", "format": "jsonl"}
        column = column or {"type": "string"}
        return contract_with(column, **{"files": files, "on_violation": loose, **changes})

    def deliver(self, name: str, rows: list[Row]) -> Path:
        path = self.inbox / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def ingest(self, contract: SourceContract | None = None) -> IngestReport:
        report = ingest(self.lake, contract or self.contract(), run=RUN, scratch=self.scratch)
        assert not list(self.scratch.iterdir())
        return report

    def counts(self) -> dict[str, int]:
        tables = [*(f"core.{name}" for name in COUNTED), "raw.site_a", "quarantine.site_a"]
        return {t: self.lake.rows(f"SELECT count(*) AS n FROM {t}")[0]["n"] for t in tables}

    def batches(self) -> list[Row]:
        return self.lake.rows("SELECT * FROM core.batches ORDER BY file_uri, contract_sha256")

    def texts(self, version: str | None, **options: Any) -> dict[str, str]:
        assert version is not None
        found = read_rows(self.lake, version, columns=["id", "text"], **options)
        return {row["id"]: row["text"] for row in found.to_pylist()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with fresh_lake(tmp_path) as lake:
        yield World(lake, tmp_path)


def notes(n: int, *, start: int = 0, **changes: Any) -> list[Row]:
    labels = ["yes", "no", None]
    return [
        {"id": f"k{i}", "text": f"note number {i}", "label": labels[i % 3], "x": f"g{i}", **changes}
        for i in range(start, start + n)
    ]


def test_good_rows_land_with_hashes_splits_and_a_version(world):
    path = world.deliver("a.jsonl", notes(30))
    report = world.ingest()
    (batch,) = world.batches()
    assert report.dataset_version_id
    assert [b.n_accepted for b in report.batches] == [30]
    assert (batch["outcome"], batch["n_rows"], batch["n_accepted"]) == ("accepted", 30, 30)
    assert batch["file_uri"] == str(path)
    assert (batch["attested_method"], batch["attested_by"]) == ("synthetic", "tests")
    rows = world.lake.rows("SELECT * FROM raw.site_a")
    assert all(len(row["_item_sha256"]) == len(row["_row_sha256"]) == 64 for row in rows)
    assert {row["_batch_id"] for row in rows} == {batch["batch_id"]}
    version = world.lake.rows("SELECT * FROM core.dataset_versions")[0]
    assert (version["n_rows"], version["n_labelled"], version["n_groups"]) == (30, 20, 30)
    assert version["n_train"] + version["n_validation"] + version["n_test"] == 30
    lineage = world.lake.rows("SELECT parent_id, role FROM core.lineage")
    assert lineage == [{"parent_id": batch["batch_id"], "role": "batch"}]


def test_the_snapshot_on_record_holds_the_version(world):
    world.deliver("a.jsonl", notes(6))
    world.ingest()
    snapshot = world.lake.rows("SELECT snapshot_id FROM core.dataset_versions")[0]["snapshot_id"]
    assert snapshot == world.lake.snapshot_id
    held = world.lake.rows(f"SELECT count(*) AS n FROM raw.site_a AT (VERSION => {snapshot})")
    assert held == [{"n": 6}]


def test_landing_twice_commits_nothing(world):
    world.deliver("a.jsonl", notes(6))
    first = world.ingest()
    counts, snapshot = world.counts(), world.lake.snapshot_id
    assert pending_files(world.lake, [world.contract()])[world.contract().source] == []
    second = world.ingest()
    assert (world.counts(), world.lake.snapshot_id) == (counts, snapshot)
    assert second == IngestReport("site_a", (), first.dataset_version_id)


def test_a_file_under_another_name_is_recognised_by_its_content(world):
    world.deliver("a.jsonl", notes(6))
    world.ingest()
    world.deliver("b.jsonl", notes(6))
    assert pending_files(world.lake, [world.contract()])[world.contract().source] == []
    (world.inbox / "a.jsonl").unlink()
    (world.inbox / "b.jsonl").unlink()
    assert pending_files(world.lake, [world.contract()])[world.contract().source] == []
    assert world.ingest().batches == ()


def test_a_second_delivery_makes_a_second_version_and_the_first_stays_readable(world):
    world.deliver("a.jsonl", notes(6))
    first = world.ingest().dataset_version_id
    world.deliver("b.jsonl", notes(3, start=4))
    report = world.ingest()
    assert [(b.n_rows, b.n_accepted, b.n_unchanged) for b in report.batches] == [(3, 1, 2)]
    assert report.dataset_version_id != first
    assert len(world.texts(first)) == 6
    assert len(world.texts(report.dataset_version_id)) == 7
    standing = (
        "SELECT dataset_version_id AS v FROM core.dataset_versions WHERE superseded_at IS NULL"
    )
    assert world.lake.rows(standing) == [{"v": report.dataset_version_id}]


def test_one_ingest_of_two_files_is_one_commit(world):
    world.deliver("warm.jsonl", notes(3))
    world.ingest()
    before = world.lake.snapshot_id
    world.deliver("a.jsonl", notes(6, start=10))
    world.deliver("b.jsonl", notes(6, start=20))
    world.ingest()
    assert world.lake.snapshot_id == before + 1


def test_bad_rows_are_set_aside_with_reasons_and_counted(world):
    rows = notes(10)
    rows[2]["label"] = "maybe"
    rows[5]["text"] = None
    rows[6] |= {"x": 7}
    world.deliver("a.jsonl", rows)
    (batch,) = world.ingest().batches
    assert (batch.n_rows, batch.n_accepted, batch.n_quarantined, batch.n_phi) == (10, 7, 3, 0)
    aside = world.lake.rows(
        "SELECT _row_number, _reasons, _row_json FROM quarantine.site_a ORDER BY ALL"
    )
    assert [(row["_row_number"], row["_reasons"]) for row in aside] == [
        (3, "unknown_label(label)"),
        (6, "null_not_allowed(text)"),
        (7, "wrong_type(x)"),
    ]
    assert json.loads(aside[0]["_row_json"])["label"] == "maybe"
    found = world.lake.rows(
        "SELECT engine, rule, column_name, n_checked, n_failed FROM core.validations"
        " WHERE NOT is_passed ORDER BY ALL"
    )
    assert [tuple(row.values()) for row in found] == [
        ("rows", "null_not_allowed", "text", 10, 1),
        ("rows", "unknown_label", "label", 10, 1),
        ("rows", "wrong_type", "x", 10, 1),
    ]
    engines = world.lake.rows("SELECT DISTINCT engine FROM core.validations ORDER BY 1")
    assert [row["engine"] for row in engines] == ["expectations", "keys", "rows"]


def refused(world: World, contract: SourceContract | None = None) -> ContractViolated:
    with pytest.raises(ContractViolated) as caught:
        world.ingest(contract)
    return caught.value


def test_too_many_bad_rows_refuse_the_batch_which_stays_on_record(world):
    world.deliver("a.jsonl", [*notes(8), *notes(2, start=8, label=SECRET)])
    contract = world.contract(on_violation={"max_quarantined_ratio": 0.1})
    error = refused(world, contract)
    assert not isinstance(error, PhiFound)
    assert "max_quarantined_ratio: 2 of 10 rows, limit 0.1" in str(error)
    assert "unknown_label(label) in 2 rows (9, 10)" in str(error)
    assert SECRET not in str(error)
    (batch,) = world.batches()
    assert (batch["outcome"], batch["n_accepted"], batch["n_quarantined"]) == ("refused", 0, 2)
    assert batch["reason"].startswith("max_quarantined_ratio")
    assert world.counts()["quarantine.site_a"] == 2
    assert world.counts()["raw.site_a"] == world.counts()["core.dataset_versions"] == 0
    assert world.ingest(contract).batches == ()


def test_bad_row_refuse_takes_no_bad_row(world):
    world.deliver("a.jsonl", [*notes(8), *notes(1, start=8, label="maybe")])
    error = refused(world, world.contract(on_violation={"bad_row": "refuse"}))
    assert "bad_row: 1 of 9 rows" in str(error)


PHI_ROW = {"text": "Patient called back from (617) 555-0173.", "label": "yes"}
SCANNED = {"text": {"type": "string", "phi_scan": True}}


def scanning(world: World, **on_violation: Any) -> SourceContract:
    columns = world.contract().model_dump(mode="json")["columns"]
    return world.contract(columns={**columns, **SCANNED}, on_violation=on_violation)


def test_phi_hits_are_set_aside_and_count_against_their_own_limit(world):
    world.deliver("a.jsonl", [*notes(9), *notes(1, start=9, **PHI_ROW)])
    contract = scanning(world, max_quarantined_ratio=0.0, max_phi_ratio=0.1)
    (batch,) = world.ingest(contract).batches
    assert (batch.n_accepted, batch.n_quarantined, batch.n_phi) == (9, 1, 1)
    (row,) = world.lake.rows("SELECT _reasons FROM quarantine.site_a")
    assert row["_reasons"].startswith("phi:")
    found = world.lake.rows(
        "SELECT rule, n_failed FROM core.validations WHERE engine = 'phi' AND is_passed"
    )
    assert found == [{"rule": "canary", "n_failed": 0}]


def test_text_in_other_letters_is_set_aside_unless_another_gate_has_read_it(world):
    other = {"text": "\u0436\u0430\u043b\u0443\u0435\u0442\u0441\u044f", "label": "yes"}
    world.deliver("a.jsonl", [*notes(9), *notes(1, start=9, **other)])
    contract = scanning(world, max_quarantined_ratio=0.1, max_phi_ratio=0.0)
    (batch,) = world.ingest(contract).batches
    assert (batch.n_accepted, batch.n_quarantined, batch.n_phi) == (9, 1, 0)
    (row,) = world.lake.rows("SELECT _reasons FROM quarantine.site_a")
    assert row["_reasons"] == "script_not_judged(text)"
    read = contract.model_dump(mode="json", by_alias=True)
    read["deidentified"]["other_scripts_read"] = True
    (batch,) = world.ingest(SourceContract.model_validate(read)).batches
    assert (batch.n_quarantined, batch.n_phi) == (0, 0)


def test_too_much_text_in_other_letters_is_refused_and_not_called_identifying(world):
    other = {"text": "\u60a3\u8005\u4e3b\u8bc9\u80f8\u75db", "label": "yes"}
    world.deliver("a.jsonl", [*notes(9), *notes(1, start=9, **other)])
    error = refused(world, scanning(world, max_quarantined_ratio=0.0))
    assert isinstance(error, ContractViolated)
    assert not isinstance(error, PhiFound)
    assert "max_quarantined_ratio: 1 of 10 rows" in str(error)
    assert "script_not_judged(text) in 1 row (10)" in str(error)


def test_too_many_phi_hits_refuse_the_batch(world):
    world.deliver("a.jsonl", [*notes(9), *notes(1, start=9, **PHI_ROW)])
    error = refused(world, scanning(world, max_phi_ratio=0.05))
    assert isinstance(error, PhiFound)
    assert "max_phi_ratio: 1 of 10 rows" in str(error)
    assert "555" not in str(error)
    assert world.counts()["raw.site_a"] == 0


def test_a_gate_that_misses_its_canary_refuses_everything(world, monkeypatch):
    monkeypatch.setattr(staging, "CANARIES", ("The lungs are clear.",))
    world.deliver("a.jsonl", notes(6))
    error = refused(world, scanning(world))
    assert isinstance(error, PhiFound)
    assert "phi_gate_broken" in str(error)


def test_every_canary_is_caught():
    found = staging.scan_column(pa.array([*staging.CANARIES, "The lungs are clear."]))
    assert set(found) == set(range(len(staging.CANARIES)))


def test_a_refused_file_does_not_stop_the_others(world):
    world.deliver("a.jsonl", notes(6))
    world.deliver("b.jsonl", notes(6, start=10, label="maybe"))
    world.deliver("c.jsonl", notes(6, start=20))
    error = refused(world)
    assert "1 of 3 new files" in str(error)
    assert "b.jsonl" in str(error)
    assert [b["outcome"] for b in world.batches()] == ["accepted", "refused", "accepted"]
    assert world.counts()["raw.site_a"] == 12
    assert world.counts()["core.dataset_versions"] == 1


def test_a_changed_row_is_refused_by_default(world):
    world.deliver("a.jsonl", notes(6))
    first = world.ingest().dataset_version_id
    world.deliver("b.jsonl", notes(2, start=5, text="other"))
    error = refused(world)
    assert "changed_row: 1 row (1)" in str(error)
    assert world.texts(first)["k5"] == "note number 5"
    aside = world.lake.rows("SELECT _row_number, _reasons FROM quarantine.site_a")
    assert aside == [{"_row_number": 1, "_reasons": "changed_row"}]
    assert world.counts()["raw.site_a"] == 6


def test_a_changed_row_may_supersede_and_old_versions_keep_theirs(world):
    contract = world.contract(on_violation={"changed_row": "supersede"})
    world.deliver("a.jsonl", notes(6))
    first = world.ingest(contract).dataset_version_id
    world.deliver("b.jsonl", notes(2, start=5, text="second"))
    report = world.ingest(contract)
    second = report.dataset_version_id
    (batch,) = report.batches
    assert (batch.n_accepted, batch.n_superseding) == (2, 1)
    world.deliver("c.jsonl", notes(2, start=5, text="third"))
    third = world.ingest(contract).dataset_version_id
    assert [world.texts(v)["k5"] for v in (first, second, third)] == [
        "note number 5",
        "second",
        "third",
    ]
    assert [len(world.texts(v)) for v in (first, second, third)] == [6, 7, 7]
    old = world.lake.rows("SELECT * FROM raw.site_a WHERE _superseded_by IS NOT NULL")
    assert len(old) == 3
    assert all(row["superseded_at"] is not None for row in old)
    texts = [world.texts(v) for v in (first, second, third)]
    world.deliver("d.jsonl", notes(3, start=20))
    world.ingest(contract)
    assert world.lake.merge_files(many=2) >= 4, "the files of the batches too"
    assert [world.texts(v) for v in (first, second, third)] == texts
    world.deliver("e.jsonl", notes(1, start=5, text="fourth"))
    fourth = world.ingest(contract).dataset_version_id
    assert world.texts(fourth)["k5"] == "fourth"
    assert world.texts(third) == texts[2]


def test_content_that_returns_is_the_version_that_it_was(world):
    contract = world.contract(on_violation={"changed_row": "supersede"})
    world.deliver("a.jsonl", notes(6))
    first = world.ingest(contract).dataset_version_id
    world.deliver("b.jsonl", notes(1, start=5, text="other"))
    other = world.ingest(contract).dataset_version_id
    world.deliver("c.jsonl", [*notes(1, start=5)])
    assert world.ingest(contract).dataset_version_id == first != other
    assert world.texts(first)["k5"] == "note number 5"
    assert world.texts(other)["k5"] == "other"
    assert world.counts()["core.dataset_versions"] == 2


def test_two_files_of_one_ingest_supersede_in_the_order_of_the_contract(world):
    files = {"path": f"{world.inbox}/*", "format": "jsonl", "order": "natural"}
    contract = world.contract(on_violation={"changed_row": "supersede"}, files=files)
    world.deliver("a.jsonl", notes(6))
    world.deliver("b.jsonl", notes(1, start=5, text="other"))
    report = world.ingest(contract)
    assert world.texts(report.dataset_version_id)["k5"] == "other"
    assert world.counts()["raw.site_a"] == 7
    (row,) = world.lake.rows(
        "SELECT superseded_at FROM raw.site_a WHERE _superseded_by IS NOT NULL"
    )
    assert row["superseded_at"] is not None


def test_a_known_file_under_a_new_contract_never_undoes_what_came_later(world):
    world.deliver("z.jsonl", notes(6))
    loose = {"changed_row": "supersede"}
    world.ingest(world.contract(on_violation=loose))
    world.deliver("a.jsonl", notes(1, start=5, text="newer"))
    version = world.ingest(world.contract(on_violation=loose)).dataset_version_id
    report = world.ingest(world.contract(title="another title", on_violation=loose))
    assert [(b.file_name, b.n_accepted, b.n_unchanged) for b in report.batches] == [
        ("a.jsonl", 0, 1),
        ("z.jsonl", 0, 6),
    ]
    assert report.dataset_version_id == version
    assert world.texts(version)["k5"] == "newer"
    titles = world.lake.rows("SELECT title FROM core.sources WHERE superseded_at IS NULL")
    assert titles == [{"title": "another title"}]
    assert world.ingest(world.contract(title="another title", on_violation=loose)).batches == ()


def test_a_contract_that_returns_is_in_force_again(world):
    world.deliver("a.jsonl", notes(6))
    world.ingest()
    world.ingest(world.contract(title="another title"))
    assert world.ingest().batches == ()
    titles = world.lake.rows("SELECT title FROM core.sources WHERE superseded_at IS NULL")
    assert titles == [{"title": "t"}]


def test_duplicate_keys_with_other_content_refuse_the_file(world):
    world.deliver("a.jsonl", [*notes(6), *notes(1, start=2, text="other")])
    error = refused(world)
    assert "duplicate_key: 2 rows (3, 7)" in str(error)
    aside = world.lake.rows("SELECT _row_number, _reasons, _row_json FROM quarantine.site_a")
    assert {row["_row_number"] for row in aside} == {3, 7}
    assert {json.loads(row["_row_json"])["id"] for row in aside} == {"k2"}
    assert world.batches()[0]["n_quarantined"] == 2


def test_identical_duplicates_keep_the_first_and_are_counted(world):
    world.deliver("a.jsonl", [*notes(6), *notes(6)])
    (batch,) = world.ingest().batches
    assert (batch.n_rows, batch.n_accepted, batch.n_unchanged) == (12, 6, 6)
    found = world.lake.rows(
        "SELECT n_failed, is_passed FROM core.validations WHERE rule = 'identical_duplicate'"
    )
    assert found == [{"n_failed": 6, "is_passed": True}]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (notes(25, label="yes"), "one_class_only: all 25 labelled rows"),
        (notes(3, label="yes"), "one_class_only: all 3 labelled rows"),
        (notes(25, text="same"), "identical_inputs: all 25 rows"),
        (notes(3, text="same"), "identical_inputs: all 3 rows"),
        ([], "unreadable_file"),
    ],
)
def test_rows_that_teach_nothing_are_refused(world, rows, code):
    world.deliver("a.jsonl", rows)
    assert code in str(refused(world))
    assert world.counts()["raw.site_a"] == 0


def test_a_small_delivery_of_one_class_is_judged_with_what_stands(world):
    world.deliver("a.jsonl", notes(6))
    world.ingest()
    world.deliver("b.jsonl", notes(2, start=10, label="yes"))
    assert world.ingest().batches[0].n_accepted == 2
    world.deliver("c.jsonl", notes(25, start=20, label="yes"))
    assert "one_class_only" in str(refused(world))


def test_files_parted_by_label_are_judged_together(world):
    world.deliver("a.jsonl", notes(25, label="yes"))
    world.deliver("b.jsonl", notes(25, start=30, label="no"))
    assert sum(b.n_accepted for b in world.ingest().batches) == 50


def test_no_labels_at_all_are_legal(world):
    world.deliver("a.jsonl", notes(25, label=None))
    assert world.ingest().batches[0].n_accepted == 25


def test_columns_that_the_contract_does_not_name(world):
    world.deliver("a.jsonl", notes(6, **{SECRET: 1}))
    error = refused(world)
    assert "unknown_column: 1 that the contract does not name" in str(error)
    assert SECRET not in str(error)
    ignoring = world.contract(on_violation={"unknown_column": "ignore"})
    assert world.ingest(ignoring).batches[0].n_accepted == 6


def test_missing_columns_refuse_unless_they_may_be_null(world):
    rows = notes(6)
    world.deliver("a.jsonl", [{k: v for k, v in row.items() if k != "label"} for row in rows])
    assert world.ingest().batches[0].n_accepted == 6
    world.deliver("b.jsonl", [{k: v for k, v in row.items() if k != "text"} for row in rows])
    error = refused(world)
    assert "missing_column: text" in str(error)


def test_an_expectation_of_the_contract_refuses_a_file(world):
    named = {"name": "label_share", "column": "label", "parameters": {"max_ratio": 0.6}}
    world.deliver("a.jsonl", [*notes(9), *notes(9, start=9, label="yes")])
    error = refused(world, world.contract(expectations=[named]))
    assert "expectation: label_share(label)" in str(error)
    assert world.lake.rows("SELECT rule, n_failed FROM core.validations WHERE NOT is_passed") == [
        {"rule": "label_share", "n_failed": None}
    ]


def test_an_unknown_expectation_is_a_fault_of_the_contract(world):
    world.deliver("a.jsonl", notes(6))
    contract = world.contract(expectations=[{"name": "label_shares", "column": "label"}])
    with pytest.raises(ContractInvalid, match="did you mean 'label_share'"):
        world.ingest(contract)


def test_a_changed_shape_is_refused_once_rows_have_landed(world):
    world.deliver("a.jsonl", notes(6))
    world.ingest()
    changed = world.contract(column={"type": "integer"})
    with pytest.raises(ContractInvalid) as caught:
        world.ingest(changed)
    assert "columns.x.type: has changed" in str(caught.value)
    assert "new source" in str(caught.value)


def test_a_shape_may_change_while_nothing_has_landed(world):
    world.deliver("a.jsonl", notes(6, x=3))
    refused(world)
    report = world.ingest(world.contract(column={"type": "integer"}))
    assert report.batches[0].n_accepted == 6
    assert world.lake.rows("SELECT DISTINCT x FROM raw.site_a") == [{"x": 3}]


def test_a_group_in_two_splits_is_refused_where_the_file_says_so(world):
    splits = {"column": "x", "validation": 0.0}
    columns = world.contract().model_dump(mode="json")["columns"]
    columns = {**columns, "who": {"type": "string", "group": True}}
    contract = world.contract(splits=splits, columns=columns)
    rows = notes(6, x="train")
    for number, row in enumerate(rows):
        row["who"] = f"p{number}"
    rows[5] |= {"x": "test", "who": "p0"}
    world.deliver("a.jsonl", rows)
    error = refused(world, contract)
    assert "split_leakage: 2 rows (1, 6)" in str(error)


def test_a_group_in_two_splits_over_two_files_refuses_the_later(world):
    contract = world.contract(
        splits={"train": "*train*", "test": "*test*", "carve_validation": 0.0},
        columns={
            **world.contract().model_dump(mode="json")["columns"],
            "x": {"type": "string", "group": True},
        },
    )
    world.deliver("1_train.jsonl", notes(6))
    world.deliver("2_test.jsonl", [*notes(4, start=10), *notes(1, start=20, x="g1")])
    error = refused(world, contract)
    assert "2_test.jsonl" in str(error)
    assert "split_leakage: 1 row (5)" in str(error)
    assert [b["split"] for b in world.batches()] == ["train", "test"]


def test_globs_split_by_file_and_carve_validation_from_train(world):
    contract = world.contract(
        splits={"train": "*train*", "test": "*test*", "carve_validation": 0.5}
    )
    world.deliver("train.jsonl", notes(40))
    world.deliver("test.jsonl", notes(10, start=50))
    world.deliver("other.jsonl", notes(10, start=70))
    error = refused(world, contract)
    assert "other.jsonl" in str(error)
    assert "no_split" in str(error)
    version = world.lake.rows("SELECT * FROM core.dataset_versions")[0]
    assert version["n_test"] == 10
    assert version["n_train"] + version["n_validation"] == 40
    assert 8 < version["n_validation"] < 32


def test_a_split_column_is_obeyed_and_once_carved_always_carved(world):
    contract = world.contract(splits={"column": "x", "validation": 0.5})
    world.deliver("a.jsonl", [*notes(30, x="train"), *notes(5, start=40, x="test")])
    first = world.ingest(contract).dataset_version_id
    carved = world.texts(first, split="validation")
    assert 5 < len(carved) < 25
    world.deliver("b.jsonl", [*notes(35, x="train"), *notes(1, start=60, x="validation")])
    second = world.ingest(contract).dataset_version_id
    assert set(carved) < set(world.texts(second, split="validation"))
    assert len(world.texts(second, split="test")) == 5


def test_a_split_column_that_says_validation_is_not_carved(world):
    contract = world.contract(splits={"column": "x", "validation": 0.5})
    world.deliver("a.jsonl", [*notes(30, x="train"), *notes(1, start=40, x="validation")])
    version = world.ingest(contract).dataset_version_id
    assert len(world.texts(version, split="train")) == 30


def test_splits_are_stable_as_data_grow_and_equal_over_sources(world):
    world.deliver("a.jsonl", notes(200))
    first = read_rows(world.lake, world.ingest().dataset_version_id or "", columns=["id"])
    before = {row["id"]: row["_split"] for row in first.to_pylist()}
    world.deliver("b.jsonl", notes(100, start=200))
    second = read_rows(world.lake, world.ingest().dataset_version_id or "", columns=["id"])
    after = {row["id"]: row["_split"] for row in second.to_pylist()}
    assert after.items() >= before.items()
    other = world.ingest(world.contract(source="site_b")).dataset_version_id
    third = read_rows(world.lake, other or "", columns=["id"])
    assert {row["id"]: row["_split"] for row in third.to_pylist()} == after


def test_read_rows_is_ordered_and_narrow(world):
    world.deliver("a.jsonl", notes(50))
    version = world.ingest().dataset_version_id or ""
    table = read_rows(world.lake, version, columns=["label", "text"])
    assert table.column_names == ["_item_sha256", "_group_sha256", "_split", "label", "text"]
    items = table.column("_item_sha256").to_pylist()
    assert items == sorted(items)
    train = read_rows(world.lake, version, columns=[], split="train")
    assert set(train.column("_split").to_pylist()) == {"train"}
    with pytest.raises(UnknownName, match="did you mean 'label'"):
        read_rows(world.lake, version, columns=["labl"])
    with pytest.raises(UnknownName, match="split"):
        read_rows(world.lake, version, columns=[], split="dev")
    with pytest.raises(RecordNotFound):
        read_rows(world.lake, "dataset:site_a@000000000000", columns=[])


def test_a_missing_file_is_told_and_a_vanished_one_is_fine(world):
    assert pending_files(world.lake, [world.contract()])[world.contract().source] != []
    with pytest.raises(InputError, match="matches no file"):
        world.ingest()
    path = world.deliver("a.jsonl", notes(6))
    world.ingest()
    path.unlink()
    assert world.ingest().batches == ()


def test_a_truncated_parquet_is_refused_and_recorded(world):
    pq.write_table(pa.Table.from_pylist(notes(500)), world.inbox / "a.parquet")
    whole = (world.inbox / "a.parquet").read_bytes()
    (world.inbox / "a.parquet").write_bytes(whole[: len(whole) // 2])
    files = {"path": f"{world.inbox}/*", "format": "parquet"}
    error = refused(world, world.contract(files=files))
    assert "unreadable_file" in str(error)
    assert world.batches()[0]["outcome"] == "refused"


def test_the_same_rows_in_another_format_are_the_same_rows(world):
    world.deliver("a.jsonl", notes(6))
    first = world.ingest().dataset_version_id
    (world.inbox / "a.jsonl").unlink()
    pq.write_table(pa.Table.from_pylist(notes(6)), world.inbox / "b.parquet")
    files = {"path": f"{world.inbox}/*", "format": "parquet"}
    report = world.ingest(world.contract(files=files))
    assert report.batches[0].n_unchanged == 6
    assert report.dataset_version_id == first


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """The kernel refuses to let a file grow beyond this, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("n_standing", "n_new"), [(6, 4_000), (4_000, 6)])
def test_a_full_disk_lands_nothing_and_leaves_the_lake_unharmed(world, n_standing, n_new):
    """The first case fails while rows are staged, the second inside the transaction."""
    world.deliver("a.jsonl", notes(n_standing))
    world.ingest()
    counts = world.counts()
    rows = notes(n_new, start=20_000)
    world.deliver("b.jsonl", [{**row, "text": f"{SECRET} {row['id']}"} for row in rows])
    with file_size_limit(600_000), pytest.raises(StoreUnavailable) as caught:
        world.ingest()
    assert "No space is left" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not list(world.scratch.iterdir())
    assert world.counts() == counts
    assert world.ingest().batches[0].n_accepted == n_new


def test_what_a_killed_ingest_left_is_removed_and_a_running_one_keeps_its_own(world):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = world.scratch / f"rpe-ingest-{ended.pid}-x"
    busy = world.scratch / f"rpe-ingest-{os.getpid()}-x"
    for folder in (left, busy):
        folder.mkdir()
        (folder / "accepted.parquet").write_text(SECRET)
    world.deliver("a.jsonl", notes(6))
    ingest(world.lake, world.contract(), run=RUN, scratch=world.scratch)
    assert list(world.scratch.iterdir()) == [busy]


def test_no_secret_leaves_the_tables_of_the_source(world, caplog, capfd):
    rows = [
        *notes(9),
        {"id": SECRET, "text": SECRET, "label": SECRET, "x": SECRET},
        {"id": "k1", "text": SECRET, "label": "yes", "x": SECRET},
    ]
    world.deliver("a.jsonl", rows)
    error = refused(world)
    out, err = capfd.readouterr()
    told = [str(error), repr(error), caplog.text, out, err]
    for table in COUNTED:
        told.append(str(world.lake.rows(f"SELECT * FROM core.{table}")))
    assert not [text for text in told if SECRET in text]


def test_a_delivery_that_changes_while_it_is_read_lands_nothing(world):
    path = world.deliver("a.jsonl", notes(6))
    hashed_before = [(str(path), "0" * 64)]
    with pytest.raises(StoreUnavailable, match="changed while it was read"):
        landing._land(world.lake, world.contract(), hashed_before, run=RUN, folder=world.scratch)
    assert world.batches() == []
