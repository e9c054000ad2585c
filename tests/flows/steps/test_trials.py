"""What is left to the next challenger, from the rows that earlier ones left."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from catalog.tables.score_tables import COMPARISONS
from flows.steps.trials import Trials, read_gains, trial_row
from rpe_core.evaluation.gates import GateHistory, GatePolicy, Losses, MaxLoss, Trial
from rpe_core.records import Comparison

COMPARISON = Comparison("accuracy", 0.1, -0.01, 0.2, 0.95, 120, 60, "tie", mean_over="groups")
OTHER = Comparison("accuracy", 0.2, 0.05, 0.3, 0.95, 120, 60, "win", mean_over="groups")
HALF = np.full_like(GateHistory().log_capitals, np.log(0.5))
LOSSES = Losses(3, 60, 0.3, 0.129)


def tried(**more: Any) -> Trial:
    made: dict[str, Any] = {
        "comparison": COMPARISON, "item_difference": 0.08, "n_tried": 1, "p_value": 0.1,
        "test": "betting", "n_new_groups": 4, "log_gains": HALF, "wealth": 0.5, "losses": LOSSES,
        "n_groups_needed": 240,
    }  # fmt: skip
    return Trial(**made | more)


def row(n_tried: int, ensemble_id: str, baseline: str = "", **more: Any) -> dict[str, Any]:
    trial = tried(n_tried=n_tried)
    return {
        "ensemble_id": ensemble_id,
        "baseline_ensemble_id": baseline,
        **asdict(COMPARISON),
        **trial_row(GatePolicy("accuracy"), trial),
        **more,
    }


def test_the_first_challenger_finds_nothing_before_it() -> None:
    past = Trials().past("a", {"": COMPARISON}, "")
    assert (past.n_tried, set(past.groups), past.log_capitals.any()) == (0, set(), False)


def test_each_new_challenger_is_one_more_and_bets_go_on_per_baseline_and_metric() -> None:
    rows = [row(1, "a"), row(2, "b"), row(2, "b", "a"), row(3, "c", metric="macro_f1")]
    trials = Trials(rows, frozenset({"g1"}))
    compared = {"": OTHER, "a": OTHER}
    past = trials.past("d", compared, "")
    assert (past.n_tried, past.groups) == (3, {"g1"})
    np.testing.assert_allclose(past.log_capitals, 2 * HALF)
    np.testing.assert_allclose(trials.past("d", compared, "a").log_capitals, HALF)


@pytest.mark.parametrize(
    ("challenger", "compared", "n_before"),
    [
        ("a", {"": COMPARISON}, 0),  # the very same: it keeps its place
        ("a", {"": OTHER}, 2),  # other items, another chance
        ("b", {"": COMPARISON}, 1),
        ("a", {"": COMPARISON, "x": COMPARISON}, 2),  # another champion, another chance
        ("c", {"": COMPARISON}, 2),
    ],
)
def test_the_same_comparison_again_is_no_other_chance(challenger, compared, n_before) -> None:
    trials = Trials([row(1, "a"), row(2, "b")])
    assert trials.past(challenger, compared, "").n_tried == n_before


def test_bets_of_an_older_gate_bring_nothing_and_its_trials_count() -> None:
    """It bet on the groups' mean alone while its intervals were of the items' mean."""
    older = {"log_gains_json": json.dumps([1.0] * 9), "mean_over": None, "cap": None}
    trials = Trials([row(1, "a", **older), row(2, "b", **older)], frozenset({"g1"}))
    past = trials.past("c", {"": COMPARISON}, "")
    assert (past.n_tried, past.groups, past.log_capitals.any()) == (2, {"g1"}, False)
    assert trials.past("a", {"": COMPARISON}, "").n_tried == 2, "another test is another chance"
    mixed = Trials([*trials.rows, row(3, "c")])
    np.testing.assert_allclose(mixed.past("d", {"": OTHER}, "").log_capitals, HALF)


def test_bets_on_scores_that_are_cut_elsewhere_are_other_bets() -> None:
    trials = Trials([row(1, "a", cap=50.0), row(2, "b", cap=30.0)])
    for cap, n in ((50.0, 1), (30.0, 1), (None, 0)):
        past = trials.past("c", {"": OTHER}, "", cap=cap)
        np.testing.assert_allclose(past.log_capitals, n * HALF)
        assert past.n_tried == 2, "each was a look all the same"


def test_what_was_not_looked_at_spends_nothing() -> None:
    none = np.zeros_like(HALF)
    kept = trial_row(
        GatePolicy("accuracy"), tried(n_tried=0, p_value=1.0, n_new_groups=0, log_gains=none)
    )
    assert (kept["n_tried"], kept["level"], kept["p_value"], kept["test"]) == (0, None, None, None)
    np.testing.assert_array_equal(read_gains(kept), GateHistory().log_capitals)


def test_both_means_the_test_and_the_losses_are_on_record() -> None:
    policy = GatePolicy("accuracy", max_loss=MaxLoss(0.02, 0.3))
    kept = trial_row(policy, tried(test="mcnemar"))
    assert {**asdict(COMPARISON), **kept}["mean_over"] == "groups"
    names = ("item_difference", "test", "cap", "n_lost", "loss_size", "loss_upper", "loss_share")
    assert [kept[name] for name in names] == [0.08, "mcnemar", None, 3, 0.3, 0.129, 0.02]
    assert kept["n_groups_needed"] == 240
    assert set(kept) <= set(COMPARISONS.column_names)
    assert trial_row(GatePolicy("hd95", cap=50.0), tried())["cap"] == 50.0
    assert trial_row(GatePolicy("accuracy"), tried(n_groups_needed=None))["n_groups_needed"] is None
