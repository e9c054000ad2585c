import math

import numpy as np
import pytest

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.evaluation.choice import calibrate_margin, choose, mutual_information


def test_information_of_toy_predictions():
    assert mutual_information(np.full((5, 4), 0.25)) == 0.0
    assert mutual_information(np.eye(4)) == pytest.approx(math.log(4))
    assert mutual_information(np.tile([1.0, 0.0], (9, 1))) == 0.0
    sure, unsure = np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.6, 0.4], [0.4, 0.6]])
    assert mutual_information(sure) > mutual_information(unsure) > 0


def test_information_never_falls_below_zero_by_rounding():
    rows = np.random.default_rng(0).dirichlet(np.ones(3), size=1)
    assert mutual_information(np.repeat(rows, 1000, axis=0)) == pytest.approx(0.0, abs=1e-12)
    assert mutual_information(np.repeat(rows, 1000, axis=0)) >= 0.0


@pytest.mark.parametrize(
    "rows",
    [[[np.nan, 1.0]], [[np.inf, 0.0]], [[1.5, -0.5]], [[0.5, 0.4]]],
    ids=["nan", "inf", "negative", "sum"],
)
def test_rows_that_are_no_distribution_are_refused(rows):
    with pytest.raises(InputError):
        mutual_information(rows)


@pytest.mark.parametrize("rows", [[], [[1.0], [1.0]], [0.5, 0.5]])
def test_shapes_that_are_no_predictions_are_refused(rows):
    with pytest.raises(ShapeMismatch):
        mutual_information(rows)


def test_similarity_is_left_by_a_margin_only():
    criterion = {"average": 0.55, "linear": 0.61, "similarity": 0.5}
    assert choose(criterion, margin=0.12) == "similarity"
    assert choose(criterion, margin=0.10) == "linear"
    assert choose(criterion, margin=0.0) == "linear"


def test_an_equal_criterion_keeps_the_start():
    assert choose({"average": 0.5, "similarity": 0.5}, margin=0.0) == "similarity"


def test_without_the_start_the_first_by_name_takes_its_place():
    assert choose({"nearest": 0.5, "linear": 0.45}, margin=0.1) == "linear"
    assert choose({"nearest": 0.9, "linear": 0.45}, margin=0.1) == "nearest"
    assert choose({"zeta": 0.5, "beta": 0.9, "alpha": 0.5, "gamma": 0.9}, margin=0.1) == "beta"


def test_a_choice_needs_finite_numbers():
    for criterion in ({}, {"similarity": float("nan")}, {"similarity": float("inf"), "linear": 1}):
        with pytest.raises(InputError):
            choose(criterion)
    for margin in (float("nan"), float("inf"), -0.1):
        with pytest.raises(InputError):
            choose({"similarity": 0.1}, margin=margin)


def _table(n, gap, *, is_leaving_right):
    score = 0.9 if is_leaving_right else 0.5
    return {f"ref_{i}": {"similarity": (0.5, 0.7), "linear": (0.5 + gap, score)} for i in range(n)}


def test_a_margin_is_calibrated_from_the_references():
    trusting = calibrate_margin(_table(6, 0.06, is_leaving_right=True))
    assert (trusting.margin, trusting.calibration) == (0.05, "leave_one_out")
    wary = calibrate_margin(_table(6, 0.17, is_leaving_right=False))
    assert wary.margin == 0.2
    assert wary.mean_scores[0.0] == pytest.approx(0.5)
    assert wary.mean_scores[0.2] == pytest.approx(0.7)


def test_ties_go_to_the_margin_nearest_a_tenth():
    indifferent = calibrate_margin(_table(6, -0.3, is_leaving_right=True))
    assert indifferent.margin == 0.1
    assert (
        calibrate_margin(_table(6, -0.3, is_leaving_right=True), grid=(0.15, 0.05)).margin == 0.05
    )


def test_few_references_do_not_calibrate():
    few = calibrate_margin(_table(4, 0.06, is_leaving_right=True))
    assert (few.margin, few.calibration, few.n_references) == (0.1, "uncalibrated", 4)
    assert calibrate_margin({}).calibration == "uncalibrated"
    assert calibrate_margin(_table(5, 0.06, is_leaving_right=True)).calibration == "leave_one_out"


def test_faults_of_the_table_and_the_grid_are_refused():
    bad = _table(6, 0.1, is_leaving_right=True)
    for row in ({}, {"similarity": (float("nan"), 0.5)}, {"similarity": (0.5, float("inf"))}):
        with pytest.raises(InputError):
            calibrate_margin({**bad, "ref_0": row})
    for grid in ((), (0.1, float("nan")), (-0.1,)):
        with pytest.raises(InputError):
            calibrate_margin(bad, grid=grid)
