"""Questions with names: one record by its id, what runs did, what was set aside of a delivery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import RecordNotFound
from catalog.queries.deliveries import rows_set_aside
from catalog.queries.nights import count_runs, has_run_of, last_run_at, steps_done
from catalog.queries.records import find_base, find_record, has_standing_rows, read_record
from catalog.queries.versions import count_model_versions, is_data_standing, model_versions_of
from catalog.stores.lake.lake import Lake
from tests.catalog.lakes import NOON, fresh_lake
from tests.catalog.nights import day

STEP = {"name": "embed", "done": ["a"], "failed": [], "wall_seconds": 2.0}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


def put(lake: Lake, table: str, *rows: dict[str, object]) -> None:
    with lake.transaction(message="test", run=None) as commit:
        commit.insert_new(table, list(rows))


def test_a_record_is_found_by_what_its_id_begins_with(lake: Lake) -> None:
    put(lake, "adapters", {"adapter_id": "adapter:a@1", "source": "a"})
    put(lake, "ensembles", {"ensemble_id": "ensemble:a@1", "target_name": "t"})
    put(lake, "bases", {"base_id": "pico@1", "family": "text-encoder"})
    assert (find_record(lake, "adapter:a@1") or {})["source"] == "a"
    assert read_record(lake, "ensemble:a@1")["target_name"] == "t"
    assert (find_base(lake, "pico@1") or {})["family"] == "text-encoder"
    assert find_record(lake, "adapter:a@2") is None
    assert find_base(lake, "adapter:a@1") is None
    with pytest.raises(RecordNotFound, match="ensemble:a@2"):
        read_record(lake, "ensemble:a@2")
    assert has_standing_rows(lake, "ensembles")
    assert not has_standing_rows(lake, "model_versions")


def test_runs_tell_what_their_steps_did(lake: Lake) -> None:
    assert (count_runs(lake), last_run_at(lake), steps_done(lake)) == (0, None, [])
    idle = {**STEP, "name": "train", "done": []}
    for number, outcome in enumerate(("ok", "unchanged")):
        steps = json.dumps([STEP, idle])
        put(lake, "runs", {"run_id": f"run:{number}", "flow": "night", "outcome": outcome,
                           "steps_json": steps, "recorded_at": day(number)})  # fmt: skip
    assert (count_runs(lake), last_run_at(lake)) == (2, day(1))
    assert steps_done(lake) == [STEP]
    assert has_run_of(lake, "night")
    assert not has_run_of(lake, "repair")


def test_what_was_withdrawn_stands_no_more(lake: Lake) -> None:
    for number, at in enumerate((None, NOON)):
        put(lake, "dataset_versions", {"dataset_version_id": f"dataset:a@{number}",
                                       "source": "a", "retracted_at": at})  # fmt: skip
        put(lake, "model_versions", {"model_name": "t", "model_version": str(number),
                                     "record_id": "ensemble:t@1", "retracted_at": at})  # fmt: skip
    assert is_data_standing(lake, "dataset:a@0")
    assert not is_data_standing(lake, "dataset:a@1")
    assert (count_model_versions(lake), count_model_versions(lake, is_standing=True)) == (2, 1)
    assert model_versions_of(lake, ["ensemble:t@1"]) == [{"model_name": "t", "model_version": "0"}]


def test_only_sources_with_rows_aside_or_refused_files_are_named(lake: Lake) -> None:
    for name, outcome, n, n_phi in (("a", "accepted", 0, 0), ("b", "accepted", 5, 3),
                                    ("c", "refused", 0, 0)):  # fmt: skip
        put(lake, "batches", {"batch_id": f"batch:{name}@1", "source": name, "outcome": outcome,
                              "n_quarantined": n, "n_phi": n_phi})  # fmt: skip
    found = [tuple(row.values()) for row in rows_set_aside(lake)]
    assert found == [("b", 5, 3, 0), ("c", 0, 0, 1)]
