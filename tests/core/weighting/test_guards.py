import math

import numpy as np
import pytest
from scipy import stats

from rpe_core.errors import InputError
from rpe_core.records import StrategySpec
from rpe_core.weighting.binomial import measured_rate
from rpe_core.weighting.calibration import calibrate_library, calibrate_weights
from rpe_core.weighting.guards import (
    MAX_RATIO,
    UNKNOWN_RATIO,
    WeightLimits,
    check_domain,
    check_weights,
    weight_limits,
)
from rpe_core.weighting.strategies import Weighting, weigh


def _library(n, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def _check(target, library, **options):
    nearest = np.linalg.norm(library - target, axis=1).min()
    return check_domain(nearest, _calibrated(library), **options)


def _calibrated(library):
    return calibrate_library(library, _sources(len(library)))


def _sources(n):
    return [f"s{i:04}" for i in range(n)]


def test_a_target_like_the_library_is_inside_and_a_distant_one_is_far():
    library = _library(40)
    inside = _check(library.mean(axis=0), library)
    outside = _check(library.mean(axis=0) + 50, library)
    assert (inside.is_far, outside.is_far) == (False, True)
    assert inside.distance_ratio < 1 < outside.distance_ratio
    assert outside.reason.startswith("out of domain")


@pytest.mark.parametrize(("n", "rank"), [(20, 20), (30, 30), (39, 38), (100, 96)])
def test_the_ratio_is_nearest_over_a_rank_of_the_leave_one_out_distances(n, rank):
    library = _library(n)
    target = np.full(6, 2.0)
    gaps = np.linalg.norm(library[:, None] - library[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    np.testing.assert_allclose(_calibrated(library).distances(), gaps.min(axis=1), rtol=1e-12)
    usual = np.sort(gaps.min(axis=1))[rank - 1]
    expected = np.linalg.norm(library - target, axis=1).min() / usual
    assert _check(target, library).distance_ratio == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "calibration"), [(3, "uncalibrated"), (19, "uncalibrated"), (20, "leave_one_out")]
)
def test_twenty_references_calibrate(n, calibration):
    check = _check(np.zeros(6), _library(n))
    assert check.calibration == calibration
    assert calibration in check.reason


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_references_judge_nothing_and_say_so(n):
    check = _check(np.full(6, 1e6), _library(n))
    assert check.distance_ratio == UNKNOWN_RATIO
    assert not check.is_far
    assert "too few" in check.reason


def test_a_library_of_copies_gives_finite_ratios():
    library = np.ones((25, 3))
    assert _check(np.ones(3), library).distance_ratio == 0
    far = _check(np.zeros(3), library)
    assert far.is_far
    assert far.distance_ratio == MAX_RATIO
    assert math.isfinite(far.distance_ratio)


def test_the_limit_is_lenient_below_twenty_references_and_can_be_set():
    few = np.arange(10.0)[:, None]
    many = np.arange(30.0)[:, None]
    assert not _check(np.array([10.4]), few).is_far
    assert _check(np.array([30.4]), many).is_far
    assert _check(np.array([10.4]), few, limit=1.2).is_far
    assert not _check(np.array([30.4]), many, limit=2.0).is_far
    with pytest.raises(InputError, match="limit"):
        _check(np.zeros(1), few, limit=0.0)


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


def test_limits_follow_the_library_exactly_when_sources_are_left_out():
    library, sources = _library(30), [f"s{i % 13}" for i in range(30)]
    whole = calibrate_library(library, sources)
    for without in ([], ["s3"], ["s3", "s7"]):
        kept = [i for i in range(30) if sources[i] not in without]
        smaller = calibrate_library(library[kept], [sources[i] for i in kept])
        np.testing.assert_allclose(whole.distances(without), smaller.distances(), rtol=1e-12)


def test_one_in_twenty_like_the_library_is_flagged_and_nearly_all_that_are_foreign():
    rng, n_libraries, n_targets = np.random.default_rng(0), 60, 10
    flagged = np.zeros(2, dtype=int)
    for _ in range(n_libraries):
        library = rng.normal(size=(20, 8))
        calibrated = _calibrated(library)
        for kind, shift in enumerate((0.0, 6.0)):
            for target in shift + rng.normal(size=(n_targets, 8)):
                nearest = np.linalg.norm(library - target, axis=1).min()
                flagged[kind] += check_domain(nearest, calibrated).is_far
    inside, foreign = (measured_rate(int(hits), n_libraries * n_targets) for hits in flagged)
    assert inside.ratio <= 0.05
    assert foreign.low >= 0.95


def test_references_of_one_source_do_not_count_as_near():
    library = np.repeat(np.arange(25.0)[:, None], 2, axis=0)
    sources = [f"s{i // 2}" for i in range(50)]
    np.testing.assert_allclose(calibrate_library(library, sources).distances(), 1.0)
    assert calibrate_library(np.ones((3, 1)), ["a", "a", "a"]).distances().size == 0


def test_the_false_abstain_rate_is_that_of_libraries_without_each_source():
    library = _library(40)
    n_far = sum(
        _check(library[i], np.delete(library, i, axis=0)).distance_ratio > 1 for i in range(40)
    )
    rate = _calibrated(library).false_abstain
    assert (rate.n_hits, rate.n) == (n_far, 40)
    assert rate.low <= rate.ratio <= rate.high
    assert "false-abstain rate" in _check(library[0], library).reason
    assert _calibrated(_library(19)).false_abstain is None


@pytest.mark.parametrize("n_hits", [0, 1, 7, 50])
def test_the_exact_interval_agrees_with_the_test_it_turns_round(n_hits):
    rate = measured_rate(n_hits, 50)
    expected = stats.binomtest(n_hits, 50).proportion_ci(method="exact")
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    with pytest.raises(InputError):
        measured_rate(51, 50)


def _usual(values):
    return np.sort(values)[math.ceil(0.95 * (len(values) + 1)) - 1]


def test_weight_limits_are_ranks_of_what_references_served_by_the_others_show():
    library, linear = _library(40, d=12), StrategySpec("linear", "linear")
    norms = []
    for i in range(40):
        others = np.delete(library, i, axis=0)
        order = np.argsort(np.linalg.norm(others - library[i], axis=1))[:6]
        norms.append(weigh(linear, library[i], others[order]).details["l1_norm"])
    within = calibrate_weights(library, _sources(40), linear, k=6)
    limits = weight_limits(within)
    assert limits.calibration == "leave_one_out"
    assert limits.max_l1_norm == pytest.approx(_usual(norms), rel=1e-9)
    n_hits = sum(norms[i] > _usual(np.delete(norms, i)) for i in range(40))
    assert (limits.false_abstain.n_hits, limits.false_abstain.n) == (n_hits, 40)
    without = weight_limits(within, without=["s0000"])
    assert without.max_l1_norm == pytest.approx(_usual(norms[1:]), rel=1e-9)


@pytest.mark.parametrize("kind", ["average", "nearest", "similarity"])
def test_weights_that_are_never_negative_never_pass_their_norm_limit(kind):
    spec, library = StrategySpec(kind, kind), _library(40)
    limits = weight_limits(calibrate_weights(library, _sources(40), spec, k=4))
    weighting = weigh(spec, np.full(6, 0.3), library[:4])
    assert not any("extrapolate" in reason for reason in check_weights(weighting, limits))


def test_below_twenty_references_the_fixed_limits_hold():
    within = calibrate_weights(_library(19), _sources(19), StrategySpec("linear", "linear"), k=4)
    assert weight_limits(within) == WeightLimits(3.0, 0.9, "uncalibrated", None)
