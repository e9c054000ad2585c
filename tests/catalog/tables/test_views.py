"""The mart views on small tables: what a person reads is what the rows say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import StoreError
from catalog.stores.lake.lake import Lake
from catalog.tables.views import load_views, parse_view
from tests.catalog.lakes import NOON, fresh_lake

VIEWS = {view.name: view for view in load_views()}
LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


def add(lake: Lake, table: str, *rows: dict[str, Any]) -> None:
    with lake.transaction(message="test", run=None) as tx:
        tx.insert_new(table, rows)


def version(name: str, at: datetime = NOON, **more: Any) -> dict[str, Any]:
    return {
        "dataset_version_id": f"dataset:{name}", "source": name.partition("@")[0], "n_rows": 10,
        "n_labelled": 8, "recorded_at": at, **more,
    }  # fmt: skip


def score(arm: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "evaluation_id": "e1", "target_name": "site-d", "dataset_version_id": "dataset:d@1",
        "split": "test", "slice": "", "arm": arm, "ensemble_id": "", "metric": "accuracy",
        "metric_version": "1", "is_higher_better": True, "value": value, "ci_low": value - 0.1,
        "ci_high": value + 0.1, "n_items": 50, "n_groups": 40, **more,
    }  # fmt: skip


def test_every_view_documents_exactly_its_columns(lake: Lake) -> None:
    assert set(VIEWS) == {
        "leaderboard", "head_to_head", "adapter_lineage", "nightly_status", "source_health",
        "columns", "experiment_scores", "experiment_weights", "experiment_transfer",
        "experiment_methods", "gate_spending", "source_drift", "nights",
        "scores", "target_history", "champion_changes", "champion_history", "alerts",
    }  # fmt: skip
    for name, view in VIEWS.items():
        assert lake.table(f"FROM mart.{name}").column_names == [c.name for c in view.columns]


def test_columns_document_every_table_and_view_with_its_type(lake: Lake) -> None:
    documented = {
        (r["schema_name"], r["table_name"], r["column_name"]): r["type"]
        for r in lake.rows("FROM mart.columns WHERE doc <> ''")
    }
    actual = {
        (r["schema_name"], r["table_name"], r["column_name"]): r["data_type"]
        for r in lake.rows(
            "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()"
            " WHERE database_name = 'lake' AND schema_name IN ('core', 'mart')"
        )
    }
    assert documented == actual
    units = lake.rows("FROM mart.columns WHERE column_name = 'age_days'")
    assert [row["unit"] for row in units] == ["days"]


def test_a_view_without_a_documented_head_is_refused() -> None:
    with pytest.raises(StoreError, match=r"catalog/views/v.sql"):
        parse_view("v", "SELECT 1")
    with pytest.raises(StoreError, match="not understood"):
        parse_view("v", "-- doc\n-- Not A Column\nSELECT 1")


def test_leaderboard_ranks_the_arms_of_each_metric_by_its_direction(lake: Lake) -> None:
    add(lake, "dataset_versions", version("d@1"))
    loss = {"metric": "loss", "is_higher_better": False}
    add(
        lake, "scores",
        score("base", 0.5), score("linear", 0.8), score("average", 0.8),
        score("base", 0.5, **loss), score("linear", 0.8, **loss),
        score("linear", 0.9, split="validation"), score("linear", 0.9, slice="scanner=abc"),
    )  # fmt: skip
    rows = lake.rows("SELECT metric, rank, arm FROM mart.leaderboard")
    assert [tuple(row.values()) for row in rows] == [
        ("accuracy", 1, "average"), ("accuracy", 1, "linear"), ("accuracy", 3, "base"),
        ("loss", 1, "base"), ("loss", 2, "linear"),
    ]  # fmt: skip


def test_leaderboard_shows_the_newest_evaluation_of_the_current_version(lake: Lake) -> None:
    add(lake, "dataset_versions", version("d@1", superseded_at=LATER), version("d@2", LATER))
    new = {"dataset_version_id": "dataset:d@2"}
    add(
        lake, "scores",
        score("base", 0.1, recorded_at=LATER + timedelta(days=9)),
        score("base", 0.2, evaluation_id="e2", **new),
        score("gone", 0.9, evaluation_id="e2", **new),
        score("base", 0.3, evaluation_id="e3", recorded_at=LATER, **new),
        score("linear", 0.4, evaluation_id="e3", recorded_at=LATER, **new),
        score("sharp", 0.5, target_name="other", dataset_version_id="dataset:unknown@1"),
    )  # fmt: skip
    rows = lake.rows("SELECT target_name, arm, value, is_current FROM mart.leaderboard")
    assert [tuple(row.values()) for row in rows] == [
        ("other", "sharp", 0.5, False),
        ("site-d", "linear", 0.4, True),
        ("site-d", "base", 0.3, True),
    ]


def test_leaderboard_takes_leave_one_out_only_where_there_is_no_test(lake: Lake) -> None:
    left_out = {"split": "leave_one_out", "evaluation_id": "e9"}
    add(
        lake, "scores",
        score("base", 0.1), score("base", 0.2, recorded_at=LATER, **left_out),
        score("base", 0.3, target_name="unlabelled", **left_out),
    )  # fmt: skip
    rows = lake.rows("SELECT target_name, split, value FROM mart.leaderboard")
    assert [tuple(row.values()) for row in rows] == [
        ("site-d", "test", 0.1),
        ("unlabelled", "leave_one_out", 0.3),
    ]


def test_head_to_head_marks_the_last_word(lake: Lake) -> None:
    pair = {
        "target_name": "site-d", "metric": "accuracy", "arm": "linear", "baseline_arm": "base",
    }  # fmt: skip
    add(
        lake, "comparisons",
        pair | {"comparison_id": "1", "difference": 0.1, "result": "tie"},
        pair | {"comparison_id": "2", "difference": 0.2, "result": "win", "recorded_at": LATER},
        pair | {"comparison_id": "3", "baseline_arm": "champion", "result": "loss"},
        pair | {"comparison_id": "4", "recorded_at": LATER, "retracted_at": LATER},
    )  # fmt: skip
    rows = lake.rows("SELECT comparison_id, is_newest, result FROM mart.head_to_head")
    assert [tuple(row.values()) for row in rows] == [
        ("2", True, "win"),
        ("1", False, "tie"),
        ("3", True, "loss"),
    ]


def test_drift_joins_the_versions_on_both_sides_and_marks_the_last_move(lake: Lake) -> None:
    add(lake, "dataset_versions", *(version(f"a@{i}", NOON + timedelta(hours=i)) for i in range(3)))
    add(
        lake, "representations",
        *(
            {"representation_id": f"r{i}", "dataset_version_id": f"dataset:a@{i}",
             "encoder_id": "e", "role": "target", "n_items": 100 + i}
            for i in range(3)
        ),
    )  # fmt: skip
    move = {"distance": 0.3, "standard_error": 0.1, "noise": 0.2}
    add(
        lake, "drifts",
        {"representation_id": "r1", "former_id": "r0", **move},
        {"representation_id": "r2", "former_id": "r1", **move, "noise": 0.0, "recorded_at": LATER},
    )  # fmt: skip
    last, first = lake.rows("FROM mart.source_drift")
    assert (first["n_former_items"], first["n_items"], first["is_newest"]) == (100, 101, False)
    assert first["noise_ratio"] == pytest.approx(1.5)
    assert (last["former_dataset_version_id"], last["is_newest"]) == ("dataset:a@1", True)
    assert last["noise_ratio"] is None


def test_one_statement_goes_from_a_served_version_to_files_and_rows(lake: Lake) -> None:
    add(
        lake, "model_versions",
        {"model_name": "site-d", "model_version": "2", "kind": "ensemble", "record_id": "E"},
        {"model_name": "rpe-adapter-a", "model_version": "1", "kind": "adapter", "record_id": "A"},
        {"model_name": "rpe-base-m", "model_version": "1", "kind": "base", "record_id": "m@1"},
    )  # fmt: skip
    add(lake, "ensembles", {"ensemble_id": "E", "target_name": "site-d", "strategy": "linear"})
    add(
        lake, "ensemble_members",
        {"ensemble_id": "E", "adapter_id": "A", "weight": 1.5},
        {"ensemble_id": "E", "adapter_id": "B", "weight": -0.5},
    )  # fmt: skip
    add(
        lake, "adapters",
        {"adapter_id": "A", "source": "a", "dataset_version_id": "dataset:a@1"},
        {"adapter_id": "B", "source": "b", "dataset_version_id": "dataset:b@1"},
    )  # fmt: skip
    add(
        lake, "lineage",
        {"child_id": "dataset:a@1", "parent_id": "batch:a@1", "role": "batch"},
        {"child_id": "dataset:a@1", "parent_id": "batch:a@2", "role": "batch"},
        {"child_id": "dataset:b@1", "parent_id": "batch:b@1", "role": "batch"},
        {"child_id": "A", "parent_id": "dataset:a@1", "role": "dataset"},
    )  # fmt: skip
    add(
        lake, "batches",
        *(
            {"batch_id": f"batch:{b}", "source": b[0], "file_uri": f"/{b}", "file_sha256": b * 2,
             "outcome": "accepted", "n_rows": n, "n_accepted": n - 1}
            for b, n in (("a@1", 10), ("a@2", 20), ("b@1", 30))
        ),
    )  # fmt: skip
    rows = lake.rows(
        "SELECT adapter_id, weight, dataset_version_id, batch_id, file_uri, file_sha256, n_rows"
        " FROM mart.adapter_lineage WHERE model_name = 'site-d' AND model_version = '2'"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("A", 1.5, "dataset:a@1", "batch:a@1", "/a@1", "a@1a@1", 10),
        ("A", 1.5, "dataset:a@1", "batch:a@2", "/a@2", "a@2a@2", 20),
        ("B", -0.5, "dataset:b@1", "batch:b@1", "/b@1", "b@1b@1", 30),
    ]
    own = lake.rows("FROM mart.adapter_lineage WHERE model_name = 'rpe-adapter-a'")
    assert [(r["ensemble_id"], r["weight"], r["n_rows"]) for r in own] == [
        (None, 1.0, 10),
        (None, 1.0, 20),
    ]
    assert lake.rows("FROM mart.adapter_lineage WHERE model_name = 'rpe-base-m'") == []


def test_nightly_status_puts_the_last_verdicts_beside_the_last_night(lake: Lake) -> None:
    assert lake.rows("FROM mart.nightly_status") == []
    night = {"flow": "night", "outcome": "ok", "started_at": NOON}
    add(lake, "runs", night | {"run_id": "r1"})
    assert [r["target_name"] for r in lake.rows("FROM mart.nightly_status")] == [None]
    add(lake, "runs", night | {"run_id": "r2", "started_at": LATER})
    add(
        lake,
        "runs",
        night | {"run_id": "r3", "flow": "ingest", "started_at": LATER + (LATER - NOON)},
    )
    add(
        lake, "promotions",
        {"promotion_id": "1", "target_name": "a", "action": "promoted", "run_id": "r1"},
        {"promotion_id": "2", "target_name": "b", "action": "promoted", "run_id": "r1"},
        {"promotion_id": "3", "target_name": "b", "action": "refused", "run_id": "r2",
         "recorded_at": LATER},
    )  # fmt: skip
    rows = lake.rows("SELECT run_id, target_name, action, is_new FROM mart.nightly_status")
    assert [tuple(row.values()) for row in rows] == [
        ("r2", "a", "promoted", False),
        ("r2", "b", "refused", True),
    ]


def test_source_health_counts_and_finds_the_silent(lake: Lake) -> None:
    limit = json.dumps({"freshness": {"max_age_days": 7}})
    none = json.dumps({"freshness": None})
    now = lake.rows("SELECT now() AS now")[0]["now"]
    add(
        lake, "sources",
        *(
            {"source": s, "contract_sha256": c, "contract_json": j, "superseded_at": ended}
            for s, c, j, ended in (
                ("fresh", "1", none, LATER), ("fresh", "2", limit, None),
                ("silent", "1", limit, None), ("never", "1", limit, None),
                ("free", "1", none, None),
            )
        ),
    )  # fmt: skip

    def batch(number: int, source: str, days: float, **more: Any) -> dict[str, Any]:
        return {
            "batch_id": f"batch:{source}@{number}", "source": source, "outcome": "accepted",
            "n_quarantined": 2, "n_phi": 1, "recorded_at": now - timedelta(days=days), **more,
        }  # fmt: skip

    add(
        lake, "batches",
        batch(1, "fresh", 6), batch(2, "silent", 8, file_sha256="a"), batch(1, "free", 99),
        # the same bytes under a changed contract are no news
        batch(4, "silent", 2, file_sha256="a"),
        batch(3, "silent", 1, outcome="refused", reason="too_many_bad_rows"),
    )  # fmt: skip
    add(
        lake, "dataset_versions",
        version("fresh@1", superseded_at=LATER), version("fresh@2", n_rows=12),
    )  # fmt: skip
    rows = {r["source"]: r for r in lake.rows("FROM mart.source_health")}
    assert {name: row["is_stale"] for name, row in rows.items()} == {
        "fresh": False, "silent": True, "never": True, "free": False,
    }  # fmt: skip
    assert rows["fresh"]["n_rows"] == 12
    assert rows["fresh"]["max_age_days"] == 7
    assert rows["fresh"]["age_days"] == pytest.approx(6, abs=0.01)
    silent = rows["silent"]
    assert (silent["last_outcome"], silent["last_reason"]) == ("refused", "too_many_bad_rows")
    assert (silent["n_batches"], silent["n_refused_batches"]) == (3, 1)
    assert (silent["n_quarantined"], silent["n_phi"]) == (6, 3)
    assert silent["age_days"] == pytest.approx(8, abs=0.01)
    assert (rows["never"]["n_batches"], rows["never"]["age_days"]) == (0, None)
