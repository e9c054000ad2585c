"""Changes between two times: against scipy's tests, and how often chance alone raises an alarm."""

import numpy as np
import pytest
from scipy import stats

from rpe_core.errors import InputError
from rpe_core.evaluation.change import NIGHTLY_LEVEL, change_between, judge_move
from rpe_core.evaluation.gates import MIN_GROUPS
from rpe_core.evaluation.metrics import Items, make_items
from rpe_core.spectrum import FeatureSample, chance_beyond, variance_shares

LEVEL = 0.001


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260302)


def right(hits, groups=None) -> Items:
    hits = np.asarray(hits)
    names = np.arange(len(hits)) if groups is None else np.asarray(groups)
    return Items({"correct": hits.astype(int)}, names)


def test_the_same_items_are_compared_as_a_paired_t_test_does(rng):
    then, now = rng.random(60) < 0.9, rng.random(60) < 0.7
    found = change_between(right(now), right(then), "accuracy", level=LEVEL)
    paired = stats.ttest_rel(now.astype(float), then.astype(float), alternative="less")
    low, high = stats.ttest_rel(now.astype(float), then.astype(float)).confidence_interval(0.998)
    assert found.p_value == pytest.approx(paired.pvalue)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high))
    assert (found.value, found.former_value) == (now.mean(), then.mean())


def test_other_items_are_compared_as_two_samples(rng):
    then, now = rng.random(90) < 0.9, rng.random(70) < 0.6
    found = change_between(
        right(now, np.arange(70) + 1000), right(then, np.arange(90)), "accuracy", level=LEVEL
    )
    welch = np.sqrt(now.var(ddof=1) / 70 + then.var(ddof=1) / 90)
    half = (found.ci_high - found.ci_low) / 2
    assert half == pytest.approx(stats.t.ppf(1 - LEVEL, 69) * welch, rel=0.03)
    assert found.result == "worse"


def test_labels_that_went_wrong_are_a_fall_though_the_truth_differs():
    groups = np.arange(60)
    said = np.arange(60) % 3
    then, now = make_items(said, said, groups), make_items(said, (said + 1) % 3, groups)
    found = change_between(now, then, "accuracy", level=LEVEL)
    assert (found.result, found.value, found.former_value) == ("worse", 0.0, 1.0)
    assert (found.ci_low, found.ci_high, found.p_value) == (-1.0, -1.0, 0.0)


def test_labels_that_only_one_side_has_are_no_obstacle(rng):
    then = make_items(rng.integers(0, 2, 80), rng.integers(0, 2, 80), np.arange(80))
    now = make_items(rng.integers(0, 5, 80), rng.integers(0, 5, 80), np.arange(80))
    found = change_between(now, then, "macro_f1", level=LEVEL)
    assert found.value < found.former_value
    assert found.ci_low < found.difference < found.ci_high


def test_of_a_metric_that_falls_the_rise_is_worse(rng):
    then = Items({"hd95": rng.random(40) + 1}, np.arange(40))
    now = Items({"hd95": then["hd95"] + 5}, np.arange(40))
    assert change_between(now, then, "hd95", level=LEVEL).result == "worse"
    assert change_between(then, now, "hd95", level=LEVEL).result == "steady"


def test_the_same_answers_are_no_change_and_few_groups_tell_nothing():
    same = right([1, 0] * 30)
    found = change_between(same, same, "accuracy", level=LEVEL)
    assert (found.result, found.p_value, found.difference) == ("steady", 1.0, 0.0)
    few = MIN_GROUPS - 1
    found = change_between(right([0] * few), right([1] * few), "accuracy", level=LEVEL)
    assert found.result == "too_few"
    with pytest.raises(InputError):
        change_between(same, same, "accuracy", level=0.5)


@pytest.mark.parametrize("shared", [0, 30, 60])
def test_calm_nights_raise_no_more_alarms_than_is_stated(rng, shared):
    """The rows of a night partly those of the one before; answers of a patient hang together."""
    n_alarms, n_nights, n, level = 0, 2000, 60, 0.01
    for _ in range(n_nights):
        ease = rng.beta(6, 2, size=2 * n - shared)  # of each patient
        hits = rng.random((2 * n - shared, 3)) < ease[:, None]
        names = np.repeat(np.arange(2 * n - shared), 3)
        first, second = slice(0, 3 * n), slice(3 * (n - shared), None)
        then = right(hits.ravel()[first], names[first])
        now = right(hits.ravel()[second], names[second])
        n_alarms += change_between(now, then, "accuracy", level=level).result == "worse"
    assert n_alarms <= stats.binom.ppf(0.999, n_nights, level)


@pytest.mark.parametrize(("n", "then", "now", "least"), [(46, 0.89, 0.32, 0.99),
                                                         (160, 0.89, 0.7, 0.8)])  # fmt: skip
def test_a_fall_is_found_on_the_very_night(rng, n, then, now, least):
    """Other rows than then, the harder case; the demo's targets have 100 test rows or more."""
    found = [
        change_between(
            right(rng.random(n) < now, np.arange(n) + n),
            right(rng.random(n) < then, np.arange(n)),
            "accuracy",
            level=NIGHTLY_LEVEL,
        ).result
        for _ in range(200)
    ]
    assert found.count("worse") / len(found) >= least


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.3, 0.2), (0.1,) * 10, (0.4, 0.02, 0.02)])
def test_the_chance_of_a_long_move_is_a_bound(rng, shares):
    rest = 1.0 - sum(shares)
    weights = np.array([*shares, *[shares[-1]] * round(rest / shares[-1])])
    ratios = np.sqrt(rng.chisquare(1, size=(200_000, len(weights))) @ (weights / weights.sum()))
    for ratio in (1.3, 1.7, 2.2, 3.0):
        told = chance_beyond(ratio, shares)
        assert float((ratios > ratio).mean()) <= told * 1.05 + 1e-4
        assert told <= chance_beyond(ratio), "shares never make it less sure"


def test_shares_are_of_the_first_items_in_whatever_order_they_come(rng):
    rows = rng.normal(size=(40, 5)) * [5, 3, 1, 1, 0.1]
    sample, order = FeatureSample(), rng.permutation(40)
    passed = list(sample.watch([(order[:25], rows[order[:25]]), (order[25:], rows[order[25:]])]))
    assert sum(len(indices) for indices, _ in passed) == 40
    assert sample.shares == variance_shares(rows)
    values = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    assert sample.shares == pytest.approx(values / values.sum(), abs=1e-4)
    assert FeatureSample().shares == ()
    assert variance_shares(np.ones((30, 4))) == ()


def test_a_source_that_changes_little_by_little_is_found_and_a_calm_one_is_not(rng):
    """200 patients a side, in 64 dimensions; the move is 0.3 of the spread of a row."""
    scale = np.linspace(2, 0.5, 64)
    alarms = {0.0: 0, 0.3: 0}
    for _ in range(300):
        for shift in alarms:
            then = rng.normal(size=(200, 64)) * scale
            now = rng.normal(size=(200, 64)) * scale
            now[:, 3] += shift * float(np.linalg.norm(scale))
            spread = max(then.var(0, ddof=1).sum(), now.var(0, ddof=1).sum())
            move = judge_move(
                float(np.linalg.norm(now.mean(0) - then.mean(0))),
                float(np.sqrt(spread * 2 / 200)),
                shares=variance_shares(then),
                n_new_groups=400,
                level=NIGHTLY_LEVEL,
            )
            alarms[shift] += move.result == "moved"
    assert alarms[0.0] == 0
    assert alarms[0.3] == 300
    assert judge_move(9.0, 1.0, shares=(), n_new_groups=9, level=0.5).result == "too_few"
    assert judge_move(1.0, 0.0, shares=(), n_new_groups=20, level=1e-9).result == "moved"
