import tracemalloc

import numpy as np
import pytest

from rpe_core.errors import InputError, ShapeMismatch, UnknownName
from rpe_core.evaluation import bootstrap
from rpe_core.evaluation.bootstrap import paired_difference, score_interval
from rpe_core.evaluation.head_to_head import compare, read_interval, resamples_for
from rpe_core.evaluation.metrics import METRICS, make_items
from tests.items import items_for


def _arms(rng, n=200, n_groups=80, better=0.8, worse=0.6):
    target = rng.integers(0, 4, n)
    groups = rng.integers(0, n_groups, n)
    arms = []
    for hit in (better, worse):
        wrong = (target + rng.integers(1, 4, n)) % 4
        arms.append(make_items(np.where(rng.random(n) < hit, target, wrong), target, groups))
    return arms


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_clear_difference_is_a_win_one_way_and_a_loss_the_other(metric):
    higher, lower = (items_for(metric, arm) for arm in _arms(np.random.default_rng(1)))
    better, worse = (higher, lower) if METRICS[metric].is_higher_better else (lower, higher)
    win = compare(better, worse, metric, confidence=0.95, mean_over="items")
    loss = compare(worse, better, metric, confidence=0.95, mean_over="items")
    assert (win.result, loss.result) == ("win", "loss")
    up, down = (win, loss) if METRICS[metric].is_higher_better else (loss, win)
    assert up.ci_low > 0 > down.ci_high
    assert win.difference == -loss.difference
    assert (win.n_items, win.n_groups) == (200, better.n_groups)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_identical_answers_are_a_degenerate_tie(metric):
    arm, _ = _arms(np.random.default_rng(2))
    same = make_items(arm["predicted"], arm["target"], arm.groups)
    found = compare(
        items_for(metric, arm), items_for(metric, same), metric, confidence=0.95, mean_over="items"
    )
    assert (found.difference, found.ci_low, found.ci_high, found.result) == (0.0, 0.0, 0.0, "tie")


def test_a_wider_confidence_gives_a_wider_interval():
    arm, _ = _arms(np.random.default_rng(3))
    _, low90, high90 = score_interval(arm, "accuracy", confidence=0.90, seed=0)
    value, low99, high99 = score_interval(arm, "accuracy", confidence=0.99, seed=0)
    assert low99 < low90 < value < high90 < high99


def test_items_of_one_group_move_together():
    rng = np.random.default_rng(4)
    hits = rng.random(40) < 0.7
    predicted, target = np.repeat(np.where(hits, 0, 1), 5), np.zeros(200, dtype=int)
    alone = score_interval(
        make_items(predicted, target, np.arange(200)), "accuracy", confidence=0.95, seed=0
    )
    clustered = score_interval(
        make_items(predicted, target, np.repeat(np.arange(40), 5)),
        "accuracy",
        confidence=0.95,
        seed=0,
    )
    assert clustered.value == alone.value
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert 1.8 < ratio < 2.7  # sqrt(5): five copies of an item say no more than one


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_chunks_bound_memory_and_do_not_change_the_interval(metric, monkeypatch):
    better, worse = (items_for(metric, arm) for arm in _arms(np.random.default_rng(5)))
    whole = paired_difference(better, worse, metric, confidence=0.95, n_resamples=500, seed=3)
    monkeypatch.setattr(bootstrap, "CELLS", 700)
    chunked = paired_difference(better, worse, metric, confidence=0.95, n_resamples=500, seed=3)
    assert whole == chunked


def test_memory_does_not_grow_with_resamples_times_groups():
    rng = np.random.default_rng(6)
    items = make_items(rng.integers(0, 3, 20_000), rng.integers(0, 3, 20_000), np.arange(20_000))
    tracemalloc.start()
    try:
        score_interval(items, "macro_f1", confidence=0.95, n_resamples=400, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120e6  # the full count matrix with its draws would take 400 x 20,000 x 16 bytes


def test_arms_on_other_items_cannot_be_compared():
    one = make_items([0, 1, 1], [0, 1, 1], list("abc"))
    for other in (
        make_items([0, 1], [0, 1], list("ab")),
        make_items([0, 1, 1], [0, 1, 0], list("abc")),
        make_items([0, 1, 1], [0, 1, 1], list("abd")),
    ):
        with pytest.raises(ShapeMismatch):
            compare(one, other, "accuracy", confidence=0.95, mean_over="items")


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, 95.0, float("nan"), float("inf")])
def test_a_confidence_outside_zero_and_one_is_refused(confidence):
    items = make_items([0, 1], [0, 1], list("ab"))
    with pytest.raises(InputError):
        score_interval(items, "accuracy", confidence=confidence, seed=0)
    with pytest.raises(InputError):
        compare(items, items, "accuracy", confidence=confidence, mean_over="items")


def test_other_faults_of_the_call_are_refused():
    items = make_items([0, 1], [0, 1], list("ab"))
    with pytest.raises(InputError):
        score_interval(items, "accuracy", confidence=0.9, n_resamples=0, seed=0)
    with pytest.raises(UnknownName):
        score_interval(items, "accurracy", confidence=0.9, seed=0)
    for low, high in [(float("nan"), 1.0), (0.0, float("inf")), (1.0, 0.0)]:
        with pytest.raises(InputError):
            read_interval(low, high, higher_is_better=True)


def test_a_lower_is_better_metric_wins_below_zero():
    assert read_interval(-0.3, -0.1, higher_is_better=False) == "win"
    assert read_interval(-0.3, 0.0, higher_is_better=False) == "tie"


def test_surer_gates_draw_more():
    assert resamples_for(0.95) == 10_000
    assert resamples_for(0.999999) == 1_000_000
