"""Evaluation against independent formulas: counting loops, the binomial, simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from rpe_core.evaluation.bootstrap import paired_difference, score_interval
from rpe_core.evaluation.choice import mutual_information
from rpe_core.evaluation.metrics import METRICS, make_items
from tests.items import items_for


def _macro_f1_by_precision_and_recall(predicted, target):
    """The textbook way: harmonic mean of precision and recall per label, by counting."""
    total, labels = 0.0, set(predicted) | set(target)
    for label in labels:
        tp = sum(p == label and t == label for p, t in zip(predicted, target, strict=True))
        n_predicted, n_target = predicted.count(label), target.count(label)
        precision = tp / n_predicted if n_predicted else 0.0
        recall = tp / n_target if n_target else 0.0
        if precision + recall:
            total += 2 * precision * recall / (precision + recall)
    return total / len(labels)


@pytest.mark.parametrize("seed", range(20))
def test_macro_f1_equals_precision_and_recall_by_counting(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    target, predicted = rng.integers(0, 5, n).tolist(), rng.integers(0, 6, n).tolist()
    found = METRICS["macro_f1"].value(make_items(predicted, target, range(n)))
    assert found == pytest.approx(_macro_f1_by_precision_and_recall(predicted, target), abs=1e-12)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_weighted_sums_equal_scoring_copied_items(metric):
    """The count trick against the plain way: draw groups, copy their items, score the copies."""
    rng = np.random.default_rng(11)
    target, groups = rng.integers(0, 3, 60), rng.integers(0, 25, 60)
    ours = items_for(metric, make_items(rng.integers(0, 3, 60), target, groups))
    theirs = items_for(metric, make_items(rng.integers(0, 3, 60), target, groups))
    n_groups, n_resamples, seed = ours.n_groups, 200, 5
    drawn = np.random.default_rng(seed).integers(0, n_groups, size=(n_resamples, n_groups))
    differences = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(ours.group_codes == group) for group in draw])
        score = METRICS[metric].value
        differences.append(score(ours.take(rows)) - score(theirs.take(rows)))
    low, high = np.quantile(differences, [0.025, 0.975])
    found = paired_difference(
        ours, theirs, metric, confidence=0.95, n_resamples=n_resamples, seed=seed
    )
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_the_interval_of_single_items_is_the_binomial_one():
    """Resampled hits of n single items are Binomial(n, p): its quantiles are the ends."""
    n, hits = 200, 140
    predicted = np.array([0] * hits + [1] * (n - hits))
    items = make_items(predicted, np.zeros(n, dtype=int), np.arange(n))
    _, low, high = score_interval(items, "accuracy", confidence=0.95, seed=0)
    ends = stats.binom(n, hits / n).ppf([0.025, 0.975]) / n
    assert (low, high) == pytest.approx(tuple(ends), abs=1.01 / n)


def test_the_interval_of_a_difference_covers_the_truth():
    """Simulated clustered data with a known difference of 0.10: coverage of the 95 % interval.

    400 data sets; 3 standard errors of a coverage of 0.95 are 0.033.
    """
    truth, covered, n_sets = 0.10, 0, 400
    rng = np.random.default_rng(2024)
    for number in range(n_sets):
        groups = np.repeat(np.arange(80), 2)
        ease = np.repeat(rng.uniform(-0.2, 0.2, 80), 2)  # items of a patient are alike
        luck = rng.random(160)  # both arms meet the same luck: paired
        target = np.zeros(160, dtype=int)
        ours = make_items((luck > 0.7 + ease).astype(int), target, groups)
        theirs = make_items((luck > 0.6 + ease).astype(int), target, groups)
        found = paired_difference(
            ours, theirs, "accuracy", confidence=0.95, n_resamples=1000, seed=number
        )
        covered += found.low <= truth <= found.high
    assert 0.917 <= covered / n_sets <= 0.983


def test_two_equal_arms_seldom_win():
    """Arms of equal skill on the same items: wins and losses together stay near 5 %."""
    rng, decided, n_sets = np.random.default_rng(7), 0, 400
    for number in range(n_sets):
        target = np.zeros(120, dtype=int)
        ours, theirs = (
            make_items((rng.random(120) > 0.7).astype(int), target, np.arange(120))
            for _ in range(2)
        )
        found = paired_difference(
            ours, theirs, "accuracy", confidence=0.95, n_resamples=1000, seed=number
        )
        decided += found.low > 0 or found.high < 0
    assert decided / n_sets <= 0.083


def test_mutual_information_equals_the_sum_over_the_joint():
    """I(X;Y) = sum p(x,y) ln [p(x,y) / (p(x) p(y))] with p(x) = 1/n, by loops."""
    rows = np.random.default_rng(3).dirichlet([0.4, 0.4, 0.4], size=25)
    marginal = rows.mean(axis=0)
    total = sum(
        p / 25 * math.log(p / marginal[label]) for row in rows for label, p in enumerate(row) if p
    )
    assert mutual_information(rows) == pytest.approx(total, abs=1e-12)
