"""What was stated beforehand: each verdict on made-up arms whose truth is known."""

from collections.abc import Mapping

import numpy as np
import pytest

from rpe_core.evaluation.expectations import ENSEMBLES, EXPECTATIONS, check_expectations
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import Items

N = 80


def arms(seed: int, shares: Mapping[str, float], n_groups: int = N) -> dict[str, Items]:
    """One target: of each arm the share of items that it gets right."""
    rng = np.random.default_rng(seed)
    groups = np.array([f"{seed}-{i % n_groups}" for i in range(N)])
    hard = rng.random(N)  # the same items are hard for every arm
    return {
        arm: Items({"rouge_l": (hard < share) * 0.9 + 0.05 * rng.random(N)}, groups)
        for arm, share in shares.items()
    }


def shares(ensembles: float, **more: float) -> dict[str, float]:
    return {"base": 0.3, "sft": 0.9, **dict.fromkeys(ENSEMBLES, ensembles), **more}


def verdicts(*targets: Mapping[str, float]) -> dict[str, str]:
    world = {f"t{i}": arms(i, target) for i, target in enumerate(targets)}
    return {found.name: found.verdict for found in check_expectations(world, "rouge_l")}


def test_every_expectation_is_stated_and_answered() -> None:
    assert list(verdicts(shares(0.6), shares(0.6))) == [one.name for one in EXPECTATIONS]


@pytest.mark.parametrize(
    ("ensembles", "above_base", "below_sft"),
    [(0.6, "holds", "holds"), (0.3, "undecided", "holds"), (0.1, "fails", "holds"),
     (0.9, "holds", "undecided"), (1.0, "holds", "fails")],
)  # fmt: skip
def test_the_order_of_the_paper(ensembles: float, above_base: str, below_sft: str) -> None:
    found = verdicts(shares(ensembles), shares(ensembles))
    assert found["ensembles_above_base"] == above_base
    assert found["sft_above_ensembles"] == below_sft


def test_one_loser_among_the_ensembles_fails_it_and_is_the_one_that_is_told() -> None:
    world = {"t": arms(0, shares(0.6, similarity=0.1))}
    found = {one.name: one for one in check_expectations(world, "rouge_l")}["ensembles_above_base"]
    told = compare(
        world["t"]["similarity"], world["t"]["base"], "rouge_l", confidence=0.95, mean_over="items"
    )
    assert found.verdict == "fails"
    assert (found.difference, found.low, found.high) == (
        told.difference,
        told.ci_low,
        told.ci_high,
    )
    assert (found.n_items, found.n_groups) == (N, N)
    assert "similarity against base: loss" in found.details


@pytest.mark.parametrize(
    ("linear", "linear_l1", "verdict"),
    [(0.1, 0.6, "holds"), (0.1, 0.1, "fails"), (0.6, 0.6, "undecided"), (0.1, 0.22, "fails")],
)
def test_a_collapse_of_the_affine_solution(linear: float, linear_l1: float, verdict: str) -> None:
    fallen = shares(0.6, linear=linear, linear_l1=linear_l1)
    assert verdicts(fallen, shares(0.6))["l1_does_not_collapse"] == verdict


def test_of_few_groups_nothing_is_decided() -> None:
    found = check_expectations({"t": arms(0, shares(0.1, average=0.6), n_groups=19)}, "rouge_l")
    assert {one.verdict for one in found} == {"undecided"}
    assert all("19 groups are too few" in one.details for one in found)
    told = {one.name: one for one in found}["ensembles_above_base"]
    assert told.difference is not None
    assert told.difference < 0


def test_it_is_told_that_no_target_collapses_and_which_arms_did_not_run() -> None:
    found = {f.name: f for f in check_expectations({"t": arms(0, shares(0.6))}, "rouge_l")}
    assert "on no target" in found["l1_does_not_collapse"].details
    few = {"t": arms(0, {"base": 0.3, "sft": 0.9, "average": 0.6})}
    told = check_expectations(few, "rouge_l")
    assert {one.verdict for one in told} == {"undecided"}
    assert all("linear_l1" in one.details for one in told)
