from dataclasses import replace

import pytest

from rpe_core.errors import InputError, UnknownName
from rpe_core.evaluation.gates import MIN_GROUPS, GatePolicy, decide
from rpe_core.records import Comparison

POLICY = GatePolicy(metric="accuracy")
WIN = Comparison("accuracy", 0.12, 0.05, 0.19, 0.95, 120, 60, "win")
TIE = replace(WIN, difference=0.01, ci_low=-0.03, ci_high=0.05, result="tie")
LOSS = replace(WIN, difference=-0.1, ci_low=-0.2, ci_high=-0.02, result="loss")


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
    assert decide(POLICY, base, champion).is_promoted is is_promoted


def test_reasons_are_sentences_with_numbers():
    verdict = decide(POLICY, WIN, TIE)
    assert verdict.reasons == (
        "Wins against base: accuracy +0.120 (0.95 interval +0.050 to +0.190, "
        "120 items in 60 groups).",
        "Ties against the champion: accuracy +0.010 (0.95 interval -0.030 to +0.050, "
        "120 items in 60 groups).",
    )
    assert decide(POLICY, LOSS, None).reasons[0].startswith("Loses against base: accuracy -0.100")
    assert decide(POLICY, WIN, None).reasons[-1] == "There is no champion yet."


def test_too_few_items_refuse_even_a_win():
    verdict = decide(POLICY, replace(WIN, n_items=49), None)
    assert not verdict.is_promoted
    assert "49 test items are too few" in verdict.reasons[0]
    assert "at least 50" in verdict.reasons[0]
    assert decide(POLICY, replace(WIN, n_items=50), None).is_promoted


def test_too_few_groups_refuse_even_a_win():
    verdict = decide(POLICY, replace(WIN, n_groups=MIN_GROUPS - 1), None)
    assert not verdict.is_promoted
    assert f"{MIN_GROUPS - 1} groups" in verdict.reasons[0]


def test_the_same_shortage_is_told_once():
    short = replace(WIN, n_items=10)
    assert len(decide(POLICY, short, short).reasons) == 1


def test_an_approval_is_announced_and_left_to_a_person():
    policy = replace(POLICY, approval="required")
    assert decide(policy, WIN, None).is_promoted
    assert decide(policy, WIN, None).reasons[-1].startswith("A person must approve")
    assert not any("approve" in reason for reason in decide(policy, TIE, None).reasons)


@pytest.mark.parametrize("field", ["difference", "ci_low", "ci_high", "confidence"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(field, value):
    with pytest.raises(InputError):
        decide(POLICY, replace(WIN, **{field: value}), None)
    with pytest.raises(InputError):
        decide(POLICY, WIN, replace(WIN, **{field: value}))


def test_a_comparison_of_another_kind_is_refused():
    with pytest.raises(InputError):
        decide(POLICY, replace(WIN, metric="macro_f1"), None)
    with pytest.raises(InputError):
        decide(POLICY, replace(WIN, confidence=0.9), None)
    assert decide(POLICY, replace(WIN, confidence=0.975), None).is_promoted


def test_a_policy_states_what_it_asks():
    for fault in ({"confidence": 1.0}, {"confidence": float("nan")}, {"min_items": 0}):
        with pytest.raises(InputError):
            replace(POLICY, **fault)
    with pytest.raises(UnknownName):
        GatePolicy(metric="auto")
