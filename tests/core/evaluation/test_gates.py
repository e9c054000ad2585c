from dataclasses import replace

import numpy as np
import pytest

from rpe_core.errors import InputError, UnknownName
from rpe_core.evaluation import betting, spending
from rpe_core.evaluation.gates import (
    MIN_GROUPS,
    GateHistory,
    GatePolicy,
    Trial,
    decide,
    put_to_test,
)
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.losses import Losses, MaxLoss
from rpe_core.evaluation.metrics import Items, make_items
from rpe_core.records import Comparison

POLICY = GatePolicy(metric="accuracy")
WIN = Comparison("accuracy", 0.12, 0.05, 0.19, 0.95, 120, 60, "win", "groups")
NO_LOSSES = Losses(0, 60, 0.3, 0.0487)
TIE = replace(WIN, difference=0.01, ci_low=-0.03, ci_high=0.05, result="tie")
LOSS = replace(WIN, difference=-0.1, ci_low=-0.2, ci_high=-0.02, result="loss")


def tried(comparison, *, n_tried=1, p=1e-6, n_new=0, wealth=1.0, items=None, losses=NO_LOSSES):
    return Trial(
        comparison,
        comparison.difference if items is None else items,
        n_tried,
        p,
        "betting",
        n_new,
        np.zeros((2, len(betting.BETS))),
        wealth,
        losses,
        140,
    )


def ask(base, champion=None, policy=POLICY):
    return decide(policy, tried(base), tried(champion) if champion else None)


@pytest.mark.parametrize(
    ("base", "champion", "is_promoted"),
    [
        (WIN, None, True),
        (TIE, None, False),
        (LOSS, None, False),
        (WIN, WIN, True),
        (WIN, TIE, False),
        (WIN, LOSS, False),
        (TIE, WIN, False),
        (LOSS, WIN, False),
    ],
)
def test_only_wins_promote(base, champion, is_promoted):
    assert ask(base, champion).is_promoted is is_promoted


def test_reasons_are_sentences_with_numbers():
    verdict = decide(POLICY, tried(WIN, items=0.1), tried(TIE, p=0.2))
    assert verdict.reasons == (
        "Wins against base: accuracy +0.120 over groups (0.95 interval +0.050 to +0.190), "
        "+0.100 over items; 120 items in 60 groups.",
        "0 of 60 groups lost more than 0.3: up to 4.9% may.",
        "Licensed by bets on one group after another: p 1e-06 of 0.013.",
        "Ties against the champion: accuracy +0.010 over groups (0.95 interval -0.030 to +0.050), "
        "+0.010 over items; 120 items in 60 groups.",
        "0 of 60 groups lost more than 0.3: up to 4.9% may.",
        "Refused, no guard licenses it against the champion. Spending: p 0.2 by bets on one group "
        "after another where 0.013 is left to challenger 1 on this test set. Betting: no group is "
        "new to bet on. About 140 groups such as these would decide; there are 60.",
        "Challenger 1 on this test set: 0.0125 of 0.025 is spent.",
    )
    assert ask(LOSS).reasons[0].startswith("Loses against base: accuracy -0.100")
    assert "There is no champion yet." in ask(WIN).reasons


def test_means_that_disagree_in_sign_refuse_a_win():
    verdict = decide(POLICY, tried(WIN, items=-0.01), None)
    assert not verdict.is_promoted
    assert any("disagree in sign" in reason for reason in verdict.reasons)
    assert decide(POLICY, tried(WIN, items=0.01), None).is_promoted


@pytest.mark.parametrize(("share", "is_promoted"), [(0.13, True), (0.12, False), (0.02, False)])
def test_rare_heavy_losses_refuse_where_the_policy_says_so(share, is_promoted):
    lost = Losses(3, 60, 0.3, 0.1242)
    assert decide(POLICY, tried(WIN, losses=lost), None).is_promoted, "off by default"
    policy = replace(POLICY, max_loss=MaxLoss(share=share, size=0.3))
    verdict = decide(policy, tried(WIN, losses=lost), None)
    assert verdict.is_promoted is is_promoted
    assert "3 of 60 groups lost more than 0.3: up to 12.4% may." in verdict.reasons
    assert any("Refused by max_loss" in one for one in verdict.reasons) is not is_promoted
    assert decide(policy, tried(WIN), tried(WIN, losses=lost)).is_promoted is is_promoted


@pytest.mark.parametrize(
    ("guards", "is_promoted"),
    [
        ({"p": 0.0125}, True),
        ({"p": 0.0126}, False),
        ({"p": 0.0125, "n_tried": 2}, False),
        ({"p": 0.025 / 110, "n_tried": 10}, True),
        ({"p": 0.5, "n_new": 5, "wealth": 40.0}, True),
        ({"p": 0.5, "n_new": 5, "wealth": 39.9}, False),
        ({"p": 0.5, "n_new": 0, "wealth": 1000.0}, False),
    ],
)
def test_a_win_counts_if_a_guard_vouches_for_it(guards, is_promoted):
    verdict = decide(POLICY, tried(WIN, **guards), None)
    assert verdict.is_promoted is is_promoted
    doubts = [reason for reason in verdict.reasons if "no guard licenses" in reason]
    assert len(doubts) == (not is_promoted)
    assert decide(POLICY, tried(WIN), tried(WIN, **guards)).is_promoted is is_promoted


def test_no_guard_makes_a_tie_a_win():
    assert not decide(POLICY, tried(TIE, n_new=9, wealth=1e6), None).is_promoted


def test_too_few_items_refuse_even_a_win():
    verdict = ask(replace(WIN, n_items=49))
    assert not verdict.is_promoted
    assert "49 test items are too few" in verdict.reasons[0]
    assert "at least 50" in verdict.reasons[0]
    assert ask(replace(WIN, n_items=50)).is_promoted


def test_too_few_groups_refuse_even_a_win():
    verdict = ask(replace(WIN, n_groups=MIN_GROUPS - 1))
    assert not verdict.is_promoted
    assert f"{MIN_GROUPS - 1} groups" in verdict.reasons[0]


def test_the_same_shortage_is_told_once():
    short = replace(WIN, n_items=10)
    assert len(ask(short, short).reasons) == 1


def test_an_approval_is_announced_and_left_to_a_person():
    policy = replace(POLICY, approval="required")
    assert ask(WIN, policy=policy).is_promoted
    assert ask(WIN, policy=policy).reasons[-1].startswith("A person must approve")
    assert not any("approve" in reason for reason in ask(TIE, policy=policy).reasons)


@pytest.mark.parametrize("field", ["difference", "ci_low", "ci_high", "confidence"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(field, value):
    with pytest.raises(InputError):
        ask(replace(WIN, **{field: value}))
    with pytest.raises(InputError):
        ask(WIN, replace(WIN, **{field: value}))


def test_a_comparison_of_another_kind_is_refused():
    with pytest.raises(InputError):
        ask(replace(WIN, metric="macro_f1"))
    with pytest.raises(InputError, match="over groups"):
        ask(replace(WIN, mean_over="items"))
    with pytest.raises(InputError):
        ask(replace(WIN, confidence=0.9))
    assert ask(replace(WIN, confidence=0.975)).is_promoted


def test_a_policy_states_what_it_asks():
    for fault in (
        {"confidence": 1.0},
        {"confidence": 0.5},
        {"confidence": float("nan")},
        {"min_items": 0},
        {"cap": 1.0},
        {"metric": "macro_f1"},
        {"metric": "hd95"},
        {"metric": "hd95", "cap": 0.0},
        {"metric": "hd95", "cap": float("inf")},
        {"max_loss": MaxLoss(0.02, 1.0)},
    ):
        with pytest.raises(InputError):
            replace(POLICY, **fault)
    with pytest.raises(UnknownName):
        GatePolicy(metric="auto")


def arms(n_groups, *, better=0.9, worse=0.5, seed=0):
    """Challenger and base on two items a group, in no order of the groups."""
    rng = np.random.default_rng(seed)
    groups = np.array([f"g{i:03}" for i in rng.permutation(np.repeat(np.arange(n_groups), 2))])
    truth = np.zeros(2 * n_groups, dtype=int)
    ours, theirs = ((rng.random(2 * n_groups) > share).astype(int) for share in (better, worse))
    return make_items(ours, truth, groups), make_items(theirs, truth, groups)


def put(challenger, baseline, past):
    comparison = compare(challenger, baseline, "accuracy", confidence=0.95)
    return put_to_test(POLICY, comparison, challenger, baseline, past)


def test_bets_are_on_the_mean_difference_of_groups_that_are_new():
    ours, theirs = arms(40)
    gaps = {
        name: float(np.mean((ours["correct"] - theirs["correct"])[ours.groups == name]))
        for name in sorted(set(ours.groups.tolist()))
    }
    seen = set(list(gaps)[:25])
    before = np.log(np.linspace(0.5, 2.0, 9))
    trial = put(ours, theirs, GateHistory(3, seen, np.stack([before, before])))
    assert (trial.n_tried, trial.n_new_groups) == (4, 15)
    capitals = [
        start * np.prod([1 + bet * gap for name, gap in gaps.items() if name not in seen])
        for start, bet in zip(np.exp(before), np.arange(1, 10) / 10, strict=True)
    ]
    assert trial.wealth == pytest.approx(np.mean(capitals), rel=1e-12)


def test_what_nobody_looked_at_spends_nothing_and_uses_no_group():
    ours, theirs = arms(MIN_GROUPS - 1)
    trial = put(ours, theirs, GateHistory(3))
    assert (trial.n_tried, trial.n_new_groups, trial.log_gains.any()) == (0, 0, False)


def test_an_unbounded_metric_is_judged_up_to_its_cap_and_in_its_direction():
    groups = np.repeat(np.arange(60), 2)
    far = Items({"hd95": np.random.default_rng(0).uniform(20, 30, 120)}, groups)
    near = Items({"hd95": far["hd95"] - 15.0 - groups % 3}, groups)
    policy = GatePolicy("hd95", cap=40.0)
    comparison = compare(near, far, "hd95", confidence=0.95, cap=40.0)
    assert -17.0 < comparison.difference < -15.0
    assert comparison.ci_low <= comparison.difference <= comparison.ci_high < 0.0
    trial = put_to_test(policy, comparison, near, far, GateHistory())
    assert trial.item_difference == pytest.approx(comparison.difference)
    assert (trial.n_new_groups, trial.losses.size) == (60, 12.0)
    assert decide(policy, trial, None).is_promoted
    capped = GatePolicy("hd95", cap=2.0)  # all scores are beyond it: nothing differs
    comparison = compare(near, far, "hd95", confidence=0.95, cap=2.0)
    trial = put_to_test(capped, comparison, near, far, GateHistory())
    assert (comparison.result, trial.p_value, trial.n_groups_needed) == ("tie", 1.0, None)


def test_levels_sum_to_what_may_be_spent():
    assert sum(spending.level(n, 0.025) for n in range(1, 5000)) == pytest.approx(0.025, rel=1e-3)
    for wrong in ((0, 0.025), (1, 0.0), (1, 1.0)):
        with pytest.raises(InputError):
            spending.level(*wrong)


def test_wealth_stays_finite():
    assert betting.wealth(betting.log_capitals(np.ones((2, 100_000)))) == betting.MAX_WEALTH
    assert betting.wealth(betting.log_capitals(-np.ones((2, 100_000)))) == 0.0


def test_the_poorer_of_the_two_means_is_what_bets_are_worth():
    logs = np.stack([np.full(9, 5.0), np.full(9, -1.0)])
    assert betting.wealth(logs) == pytest.approx(np.exp(-1.0))
