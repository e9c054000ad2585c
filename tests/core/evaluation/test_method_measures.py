"""Method measures: a difference is the paired one, and joined answers count each of its parts."""

import pytest

from rpe_core.errors import ShapeMismatch
from rpe_core.evaluation.bootstrap import score_interval
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.method_measures import MeasuredItems, join_measured, means_by_seed
from rpe_core.evaluation.metrics import Items, make_items

EXPECTED = [0, 1, 1, 0, 1, 0, 1, 1]
GROUPS = list("aabbccdd")


def answers(*wrong: int) -> Items:
    """All right but for these items."""
    predicted = [1 - e if i in wrong else e for i, e in enumerate(EXPECTED)]
    return make_items(predicted, EXPECTED, GROUPS)


def test_without_a_baseline_it_is_the_score_and_its_interval() -> None:
    mine = MeasuredItems(answers(0, 5))
    assert mine.value("accuracy") == 6 / 8
    told = score_interval(mine.items, "accuracy", confidence=0.9, seed=0)
    assert mine.interval("accuracy", confidence=0.9) == told


def test_with_one_it_is_the_paired_difference_and_its_interval() -> None:
    mine = MeasuredItems(answers(0), answers(0, 2, 3))
    told = compare(answers(0), answers(0, 2, 3), "accuracy", confidence=0.9, mean_over="items")
    assert mine.value("accuracy") == pytest.approx(2 / 8)
    assert mine.interval("accuracy", confidence=0.9) == (told.difference, told.ci_low, told.ci_high)


def test_joined_answers_have_every_part_once_and_their_baselines_with_them() -> None:
    parts = [MeasuredItems(answers(0), answers(0, 1)), MeasuredItems(answers(), answers(4))]
    joined = join_measured(parts)
    assert joined.items.n_items == 2 * len(EXPECTED)
    assert joined.items.n_groups == 4, "a group of two parts is one cluster"
    assert joined.value("accuracy") == pytest.approx(2 / 16)
    assert join_measured([MeasuredItems(answers(0))]).baseline is None
    with pytest.raises(ShapeMismatch):
        join_measured([])


def test_a_cost_that_one_adapter_did_not_tell_has_no_mean() -> None:
    assert means_by_seed([[1.0, 3.0], [4.0]]) == [2.0, 4.0]
    assert means_by_seed([[1.0, 3.0], [None]]) == []
