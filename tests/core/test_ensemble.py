import numpy as np
import pytest

from rpe_core.ensemble import draft_ensemble
from rpe_core.errors import InputError, UnknownName
from rpe_core.records import Candidate, StrategySpec
from rpe_core.weighting.guards import DomainCheck

NEAR = DomainCheck(0.5, False, "uncalibrated", "near")
FAR = DomainCheck(4.0, True, "uncalibrated", "out of domain")


def _candidates(*points):
    return [
        Candidate(f"adapter:a{i}@0", f"a{i}", f"dataset:a{i}@0", 0.0, tuple(point))
        for i, point in enumerate(points)
    ]


def _spec(kind, **parameters):
    return StrategySpec(kind, kind, parameters)


def test_members_keep_the_order_of_candidates_with_weights_and_distances():
    candidates = _candidates((1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
    draft = draft_ensemble(np.zeros(2), candidates, _spec("similarity"), domain=NEAR)
    assert [member.adapter_id for member in draft.members] == [c.adapter_id for c in candidates]
    assert [member.distance for member in draft.members] == pytest.approx([2**0.5, 1, 1])
    assert sum(member.weight for member in draft.members) == pytest.approx(1, abs=1e-9)
    assert draft.details["temperature"] == 1.0
    assert (draft.abstained, draft.distance_ratio, draft.reason) == (False, 0.5, "near")


@pytest.mark.parametrize("kind", ["average", "nearest", "similarity", "linear", "linear_l1"])
def test_a_far_target_abstains_whatever_the_strategy(kind):
    draft = draft_ensemble(np.zeros(1), _candidates((1.0,), (2.0,)), _spec(kind), domain=FAR)
    assert draft.abstained
    assert "out of domain" in draft.reason
    assert len(draft.members) == 2


def test_a_large_norm_abstains_that_ensemble_only():
    candidates = _candidates((0.0, 0.0), (1.0, 0.0))
    target = np.array([5.0, 0.1])
    linear = draft_ensemble(target, candidates, _spec("linear"), domain=NEAR)
    similarity = draft_ensemble(target, candidates, _spec("similarity"), domain=NEAR)
    assert linear.abstained
    assert "l1 norm" in linear.reason
    assert not similarity.abstained


def test_a_large_residual_is_told_and_does_not_abstain():
    candidates = _candidates((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0))
    target = np.array([0.1, 1.0, 0.0])
    draft = draft_ensemble(target, candidates, _spec("linear_l1"), domain=NEAR)
    assert not draft.abstained
    assert "residual ratio" in draft.reason


def test_the_average_is_not_blamed_for_its_residual_of_one():
    draft = draft_ensemble(np.zeros(1), _candidates((1.0,), (2.0,)), _spec("average"), domain=NEAR)
    assert draft.details["residual_ratio"] == pytest.approx(1)
    assert draft.reason == "near"


def test_without_candidates_it_abstains():
    draft = draft_ensemble(np.zeros(1), [], _spec("average"), domain=NEAR)
    assert draft.abstained
    assert draft.members == ()
    assert "no candidate" in draft.reason


def test_wrong_input_is_refused():
    twice = _candidates((1.0,)) * 2
    with pytest.raises(InputError, match="twice"):
        draft_ensemble(np.zeros(1), twice, _spec("average"), domain=NEAR)
    with pytest.raises(InputError, match="encoders"):
        draft_ensemble(np.zeros(1), _candidates((1.0,), (1.0, 2.0)), _spec("average"), domain=NEAR)
    with pytest.raises(UnknownName):
        draft_ensemble(np.zeros(1), [], _spec("averag"), domain=NEAR)
