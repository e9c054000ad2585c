"""What a gate has spent stands in the lake: as a view, as rows of a lineage, after an upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.queries import current
from catalog.stores.lake.lake import Lake
from tests.catalog.lakes import NOON, fresh_lake
from tests.kill_operations import undoing

NEWER = [
    *("mean_over", "item_difference", "cap", "test", "n_lost", "loss_size", "loss_upper"),
    *("loss_share", "n_groups_needed"),
]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


def compared(number: int, n_tried: int, **more: Any) -> dict[str, Any]:
    return {
        "comparison_id": str(number), "target_name": "site-d", "evidence": "labels",
        "dataset_version_id": "dataset:d@1", "ensemble_id": f"e{number}", "metric": "accuracy",
        "baseline_ensemble_id": "", "n_tried": n_tried, "wealth": 1.0 + number,
        "wealth_asked": 40.0, "n_new_groups": 3, "n_groups": 60, "log_gains_json": "[]",
        "mean_over": "groups", "test": "betting", "n_lost": number, "loss_size": 0.3,
        "loss_upper": 0.1, "n_groups_needed": 100 * number,
        "recorded_at": NOON + timedelta(hours=number), **more,
    }  # fmt: skip


def test_spending_is_shown_per_target_and_evidence(lake: Lake) -> None:
    with lake.transaction(message="test", run=None) as tx:
        tx.insert_new(
            "comparisons",
            [
                compared(1, 1),
                compared(2, 2),
                compared(3, 1),  # the first again, of a library that changed elsewhere
                compared(4, 0),  # too few items to look at
                compared(5, 2, baseline_ensemble_id="e1", wealth=9.0),
                compared(6, 7, evidence="leave_one_out"),
                compared(7, 8, retracted_at=NOON),
            ],
        )
    first, second = lake.rows("FROM mart.gate_spending")
    assert (first["evidence"], first["n_tried"], first["wealth"]) == ("labels", 2, 4.0)
    shown = [first[name] for name in ("spent", "unspent", "next_level")]
    assert shown == pytest.approx([0.025 * 2 / 3, 0.025 / 3, 0.025 / 12])
    assert (second["evidence"], second["n_tried"]) == ("leave_one_out", 7)
    told = [first[name] for name in ("n_lost", "loss_size", "loss_upper", "loss_share")]
    assert told == [3, 0.3, 0.1, None], "of the newest trial against base"
    trials = current.trials(lake, ["site-d"])
    assert [row["comparison_id"] for row in trials] == ["1", "2", "3", "5", "6"]


@pytest.mark.parametrize("needed", [None, 250])
def test_what_an_older_gate_earned_by_bets_is_not_shown_as_earned(
    lake: Lake, needed: int | None
) -> None:
    """Its bets were on another mean; the challengers that it tried count all the same."""
    older = dict.fromkeys(("mean_over", "test", "n_lost", "loss_size", "loss_upper"))
    with lake.transaction(message="test", run=None) as tx:
        tx.insert_new("comparisons", [compared(1, 3, wealth=90.0, **older)])
    assert lake.rows("SELECT n_tried, wealth, n_lost FROM mart.gate_spending") == [
        {"n_tried": 3, "wealth": 1.0, "n_lost": None}
    ]
    assert lake.rows("SELECT mean_over, test, n_lost FROM mart.head_to_head") == [
        {"mean_over": "items", "test": None, "n_lost": None}
    ]
    with lake.transaction(message="test", run=None) as tx:
        tx.insert_new("comparisons", [compared(2, 4, wealth=1.5, n_groups_needed=needed)])
    assert lake.rows("SELECT n_tried, wealth, n_lost, n_groups_needed FROM mart.gate_spending") == [
        {"n_tried": 4, "wealth": 1.5, "n_lost": 2, "n_groups_needed": needed}
    ]


def test_verdicts_before_an_upgrade_count_as_trials(lake: Lake) -> None:
    third = {"ensemble_id": "e3", "recorded_at": NOON + timedelta(hours=3)}
    scored = {
        "target_name": "site-d", "dataset_version_id": "dataset:d@1", "split": "test", "slice": "",
        "arm": "linear", "metric": "accuracy", "metric_version": "1",
    }  # fmt: skip
    with lake.transaction(message="test", run=None) as tx:
        against_champion = compared(4, 1, baseline_ensemble_id="e1", **third)
        tx.insert_new(
            "comparisons", [compared(1, 1), compared(2, 1), compared(3, 1), against_champion]
        )
        for evaluation, ensemble, hours in (("v1", "e1", 1), ("v3", "e3", 2), ("late", "e3", 9)):
            at = NOON + timedelta(hours=hours)
            row = {"evaluation_id": evaluation, "ensemble_id": ensemble, "recorded_at": at}
            tx.insert_new("scores", [{**scored, **row}])
        for statement in undoing(4):
            tx.execute(statement)
    lake.migrate()
    rows = lake.rows("FROM core.comparisons ORDER BY comparison_id")
    assert {row[name] for row in rows for name in NEWER} == {None}, "nothing is known of those"
    found = [(row["n_tried"], row["evaluation_id"], row["wealth"]) for row in rows]
    assert found == [(1, "v1", 1.0), (2, None, 1.0), (3, "v3", 1.0), (3, "v3", 1.0)]
