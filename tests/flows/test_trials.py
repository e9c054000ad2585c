"""What is left to the next challenger, from the rows that earlier ones left."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from flows.trials import Trials, trial_row
from rpe_core.evaluation.gates import GatePolicy, Past, Trial
from rpe_core.records import Comparison

COMPARISON = Comparison("accuracy", 0.1, -0.01, 0.2, 0.95, 120, 60, "tie")
OTHER = Comparison("accuracy", 0.2, 0.05, 0.3, 0.95, 120, 60, "win")
HALF = np.full(9, np.log(0.5))


def row(n_tried: int, ensemble_id: str, baseline: str = "", **more: Any) -> dict[str, Any]:
    trial = Trial(COMPARISON, n_tried, 0.1, 4, HALF, 0.5)
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


def test_what_was_not_looked_at_spends_nothing() -> None:
    kept = trial_row(GatePolicy("accuracy"), Trial(COMPARISON, 0, 1.0, 0, np.zeros(9), 1.0))
    assert (kept["n_tried"], kept["level"], kept["p_value"]) == (0, None, None)
    assert json.loads(kept["log_gains_json"]) == [0.0] * 9 == Past().log_capitals.tolist()
