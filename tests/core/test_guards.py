import math

import numpy as np
import pytest

from rpe_core.errors import InputError
from rpe_core.records import StrategySpec
from rpe_core.weighting.guards import (
    MAX_RATIO,
    UNKNOWN_RATIO,
    check_domain,
    check_weights,
    leave_one_out_distances,
)
from rpe_core.weighting.strategies import Weighting, weigh


def _library(n, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_a_target_like_the_library_is_inside_and_a_distant_one_is_far():
    library = _library(40)
    inside = check_domain(library.mean(axis=0), library)
    outside = check_domain(library.mean(axis=0) + 50, library)
    assert (inside.is_far, outside.is_far) == (False, True)
    assert inside.distance_ratio < 1 < outside.distance_ratio
    assert outside.reason.startswith("out of domain")


def test_the_ratio_is_nearest_over_the_95th_percentile_of_leave_one_out_distances():
    library = _library(30)
    target = np.full(6, 2.0)
    gaps = np.linalg.norm(library[:, None] - library[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    np.testing.assert_allclose(leave_one_out_distances(library), gaps.min(axis=1), rtol=1e-12)
    expected = np.linalg.norm(library - target, axis=1).min() / np.percentile(gaps.min(axis=1), 95)
    assert check_domain(target, library).distance_ratio == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "calibration"), [(3, "uncalibrated"), (19, "uncalibrated"), (20, "leave_one_out")]
)
def test_twenty_references_calibrate(n, calibration):
    check = check_domain(np.zeros(6), _library(n))
    assert check.calibration == calibration
    assert calibration in check.reason


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_references_judge_nothing_and_say_so(n):
    check = check_domain(np.full(6, 1e6), _library(n))
    assert check.distance_ratio == UNKNOWN_RATIO
    assert not check.is_far
    assert "too few" in check.reason


def test_a_library_of_copies_gives_finite_ratios():
    library = np.ones((25, 3))
    assert check_domain(np.ones(3), library).distance_ratio == 0
    far = check_domain(np.zeros(3), library)
    assert far.is_far
    assert far.distance_ratio == MAX_RATIO
    assert math.isfinite(far.distance_ratio)


def test_the_limit_is_lenient_below_twenty_references_and_can_be_set():
    few = np.arange(10.0)[:, None]
    many = np.arange(30.0)[:, None]
    assert not check_domain(np.array([10.4]), few).is_far
    assert check_domain(np.array([30.4]), many).is_far
    assert check_domain(np.array([10.4]), few, limit=1.2).is_far
    assert not check_domain(np.array([30.4]), many, limit=2.0).is_far
    with pytest.raises(InputError, match="limit"):
        check_domain(np.zeros(1), few, limit=0.0)


def test_weights_that_extrapolate_or_do_not_span_are_told():
    def reasons(norm, residual):
        details = {"l1_norm": norm, "residual_ratio": residual}
        return check_weights(Weighting(np.ones(1), details))

    assert reasons(3.0, 0.9) == ()
    assert "extrapolate" in reasons(3.01, 0.0)[0]
    assert "span" in reasons(1.0, 0.91)[0]
    assert len(reasons(4.0, 1.0)) == 2


def test_an_extrapolating_target_raises_the_norm_guard():
    references = np.array([[0.0, 0.0], [1.0, 0.0]])
    weighting = weigh(StrategySpec("linear", "linear"), np.array([5.0, 0.1]), references)
    assert weighting.details["l1_norm"] == pytest.approx(9, abs=1e-3)
    assert any("extrapolate" in reason for reason in check_weights(weighting))
