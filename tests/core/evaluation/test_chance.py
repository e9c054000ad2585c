"""Chances that hold for every distribution: held against exact sums over all that can happen."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.evaluation.chance import (
    BETTING,
    MCNEMAR,
    best_capitals,
    drawing_order,
    groups_needed,
    mcnemar,
    one_sided_p_value,
)
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.losses import MaxLoss, count_losses, groups_without_loss
from rpe_core.evaluation.metrics import Items, make_items
from rpe_core.evaluation.paired import Paired, pair


def paired(means, sizes=None, *, is_binary=False):
    means = np.asarray(means, dtype=float)
    sizes = np.ones(len(means), dtype=int) if sizes is None else np.asarray(sizes)
    names = np.array([f"p{i:04}" for i in range(len(means))])
    return Paired(names, means, sizes, 1.0, is_binary)


@pytest.mark.parametrize(("won", "lost", "tied"), [(8, 0, 52), (20, 9, 3), (5, 5, 0), (0, 3, 4)])
def test_mcnemar_is_the_binomial_test_of_the_groups_that_differ(won, lost, tied):
    differences = np.repeat([1.0, -1.0, 0.0], [won, lost, tied])
    expected = stats.binomtest(won, won + lost, 0.5, alternative="greater").pvalue
    assert mcnemar(differences) == pytest.approx(expected, rel=1e-12)
    assert one_sided_p_value(paired(differences, is_binary=True), 0.01)[1] == MCNEMAR


def test_nothing_that_differs_is_no_evidence():
    assert mcnemar(np.zeros(50)) == 1.0
    assert one_sided_p_value(paired(np.zeros(50)), 0.01) == (1.0, BETTING)


@given(
    loss=st.floats(0.05, 1.0),
    lost=st.floats(0.005, 0.6),
    tied=st.sampled_from([0.0, 0.3, 0.8]),
    level=st.sampled_from([0.0125, 0.004, 0.1, 0.3]),
    n=st.integers(1, 8),
)
def test_bets_pay_with_at_most_their_level_whatever_is_lost_and_won(loss, lost, tied, level, n):
    won = 1.0 - lost - tied
    if won <= 0 or lost * loss / won > 1:
        return
    points, chances = np.array([-loss, 0.0, lost * loss / won]), np.array([lost, tied, won])
    ways = np.array(list(product(range(3), repeat=n)))
    likely = chances[ways].prod(axis=1)
    paid = best_capitals(points[ways], level) >= 1.0 / level * (1 - 1e-9)
    assert likely[paid].sum() <= level * (1 + 1e-9)


def test_no_evidence_comes_of_losses_that_were_not_drawn():
    gains = paired(np.full(60, 0.8 * 0.02 / 0.98))
    p, test = one_sided_p_value(gains, 0.0125)
    assert (test, p > 0.98**60) == (BETTING, True), "they are missed with this chance"


def test_means_over_groups_and_over_items_must_both_be_vouched_for():
    small = np.r_[np.full(120, 0.4), np.full(10, -0.4)]
    even, uneven = paired(small), paired(small, np.r_[np.ones(120), np.full(10, 12)].astype(int))
    assert uneven.by_groups > 0 >= round(uneven.by_items, 12)
    assert one_sided_p_value(even, 0.0125)[0] <= 0.0125 * (1 + 1e-9)
    assert one_sided_p_value(uneven, 0.0125)[0] > 0.2


def test_the_order_of_groups_is_by_name_and_no_matter_of_the_rows():
    rng = np.random.default_rng(0)
    groups = np.array([f"p{i}" for i in range(80)])
    ours = Items({"dice": rng.uniform(0.5, 1.0, 80)}, groups)
    theirs = Items({"dice": rng.uniform(0.4, 0.9, 80)}, groups)
    mixed = rng.permutation(80)
    one = pair(ours, theirs, "dice")
    other = pair(ours.take(mixed), theirs.take(mixed), "dice")
    assert one_sided_p_value(one, 0.01) == one_sided_p_value(other, 0.01)
    assert sorted(drawing_order(one.names)) == list(range(80))
    assert not np.array_equal(drawing_order(one.names), np.arange(80))


def test_arms_of_other_items_are_refused():
    one, other = make_items([0], [0], ["a"]), make_items([0], [1], ["a"])
    with pytest.raises(ShapeMismatch):
        pair(one, other, "accuracy")
    with pytest.raises(InputError, match="no mean over items"):
        pair(one, one, "macro_f1")


def test_a_group_counts_once_however_many_items_it_has():
    groups = np.repeat([f"p{i}" for i in range(30)], [20] * 10 + [1] * 20)
    right = np.where(np.arange(220) < 200, 0, 1)
    truth = np.zeros(220, dtype=int)
    ours, theirs = make_items(right, truth, groups), make_items(1 - right, truth, groups)
    over_groups = compare(ours, theirs, "accuracy", confidence=0.95)
    over_items = compare(ours, theirs, "accuracy", confidence=0.95, mean_over="items")
    assert over_groups.difference == pytest.approx(-1 / 3)
    assert over_items.difference == pytest.approx(180 / 220)
    assert (over_groups.mean_over, over_items.mean_over) == ("groups", "items")


@pytest.mark.parametrize("level", [0.0125, 1e-5])
def test_as_many_groups_as_are_said_to_be_needed_often_decide(level):
    rng = np.random.default_rng(3)
    needed = groups_needed(paired(rng.normal(0.1, 0.2, 4000).clip(-1, 1)), level)
    assert needed is not None
    drawn = rng.normal(0.1, 0.2, (400, 1, needed)).clip(-1, 1)
    share = (best_capitals(drawn, level) >= 1 / level * (1 - 1e-9)).mean()
    assert 0.3 < share < 0.99
    assert groups_needed(paired(-np.ones(5)), level) is None


@pytest.mark.parametrize(("n_lost", "n"), [(0, 60), (3, 60), (60, 60), (1, 149)])
def test_the_bound_of_losses_is_clopper_and_pearsons(n_lost, n):
    means = np.repeat([-0.31, -0.3], [n_lost, n - n_lost])
    found = count_losses(paired(means), 0.3, confidence=0.95)
    expected = stats.binomtest(n_lost, n).proportion_ci(0.90).high  # one-sided 95 %
    assert (found.n_lost, found.n_groups) == (n_lost, n)
    assert found.upper == pytest.approx(expected, abs=1e-9)


def test_as_many_groups_without_a_loss_are_enough_and_one_fewer_is_not():
    limit = MaxLoss(0.02, 0.3)
    n = groups_without_loss(limit, confidence=0.95)
    assert count_losses(paired(np.zeros(n)), 0.3, confidence=0.95).upper <= 0.02
    assert count_losses(paired(np.zeros(n - 1)), 0.3, confidence=0.95).upper > 0.02
    for wrong in ((0.0, 0.3), (1.0, 0.3), (0.02, 0.0), (float("nan"), 0.3), (0.02, float("inf"))):
        with pytest.raises(InputError):
            MaxLoss(*wrong)
