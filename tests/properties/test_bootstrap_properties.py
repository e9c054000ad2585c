import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpe_core.evaluation.bootstrap import paired_difference, score_interval
from rpe_core.evaluation.choice import mutual_information
from rpe_core.evaluation.metrics import METRICS, make_items
from tests.items import items_for


@st.composite
def arms(draw, n_arms=2):
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target, groups = rng.integers(0, 4, n), rng.integers(0, max(1, n // 2), n)
    return [make_items(rng.integers(0, 4, n), target, groups) for _ in range(n_arms)]


@pytest.mark.parametrize("metric", sorted(METRICS))
@settings(deadline=None, max_examples=30)
@given(items=arms(), seed=st.integers(0, 2**31))
def test_the_bootstrap_is_a_function_of_its_seed(metric, items, seed):
    items = [items_for(metric, one) for one in items]
    options = {"confidence": 0.9, "n_resamples": 50, "seed": seed}
    assert paired_difference(*items, metric, **options) == paired_difference(
        *items, metric, **options
    )


@pytest.mark.parametrize("metric", sorted(METRICS))
@settings(deadline=None, max_examples=30)
@given(items=arms(), seed=st.integers(0, 2**31))
def test_swapping_the_arms_mirrors_the_interval(metric, items, seed):
    items = [items_for(metric, one) for one in items]
    options = {"confidence": 0.9, "n_resamples": 50, "seed": seed}
    value, low, high = paired_difference(*items, metric, **options)
    mirrored = paired_difference(*reversed(items), metric, **options)
    assert mirrored == pytest.approx((-value, -high, -low), abs=1e-12)


@pytest.mark.parametrize("metric", sorted(METRICS))
@settings(deadline=None, max_examples=30)
@given(items=arms(n_arms=1), seed=st.integers(0, 2**31))
def test_scores_stay_between_zero_and_one(metric, items, seed):
    one = items_for(metric, items[0])
    value, low, high = score_interval(one, metric, confidence=0.9, n_resamples=50, seed=seed)
    assert 0 <= low <= high <= 1 + 1e-12
    assert 0 <= value <= 1 + 1e-12


@pytest.mark.parametrize("metric", sorted(METRICS))
@settings(deadline=None, max_examples=30)
@given(items=arms(n_arms=1), seed=st.integers(0, 2**31))
def test_the_order_of_items_does_not_matter(metric, items, seed):
    one = items_for(metric, items[0])
    order = np.random.default_rng(seed).permutation(one.n_items)
    options = {"confidence": 0.9, "n_resamples": 50, "seed": 0}
    assert score_interval(one, metric, **options) == score_interval(
        one.take(order), metric, **options
    )


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 30), n_labels=st.integers(2, 6))
def test_information_is_bounded_and_blind_to_order(seed, n, n_labels):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(n_labels, 0.3), size=n)
    value = mutual_information(rows)
    assert 0 <= value <= np.log(n_labels) + 1e-12
    assert mutual_information(rows[rng.permutation(n)]) == pytest.approx(value, abs=1e-12)
    assert mutual_information(rows[:, rng.permutation(n_labels)]) == pytest.approx(value, abs=1e-12)
