import numpy as np
import pytest

from rpe_core.errors import InputError, ShapeMismatch, UnknownName
from rpe_core.evaluation.head_to_head import compare
from rpe_core.evaluation.metrics import (
    GATE_METRIC,
    METRICS,
    Items,
    find_metric,
    gate_metric,
    make_items,
    pool,
)
from tests.items import items_for


def test_every_metric_states_its_name_version_and_direction():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.version
        assert metric.doc
        assert metric.is_higher_better == (name != "hd95")
    assert set(GATE_METRIC.values()) <= set(METRICS)


def test_accuracy_counts_hits():
    items = make_items([0, 1, 2, 2], [0, 1, 1, 2], list("abcd"))
    assert METRICS["accuracy"].value(items) == 0.75


def test_macro_f1_by_hand():
    # label 0: tp 1, fp 1, fn 0 -> 2/3; label 1: tp 1, fp 0, fn 1 -> 2/3; label 2: never occurs
    items = make_items([0, 0, 1, 3], [0, 1, 1, 3], list("abcd"))
    assert METRICS["macro_f1"].value(items) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_statistics_add_up_to_the_value():
    rng = np.random.default_rng(0)
    labels = make_items(rng.integers(0, 4, 90), rng.integers(0, 4, 90), rng.integers(0, 20, 90))
    for metric in METRICS.values():
        scores = items_for(metric.name, labels)
        rows = metric.statistics(scores)
        assert rows.shape[0] == 90
        assert metric.value(scores) == float(metric.from_sums(rows.sum(axis=0)))


def test_scores_of_free_text_are_means_of_items():
    items = Items({"rouge_l": [0.5, 1.0, 0.0]}, np.array(["p1", "p1", "p2"]))
    assert METRICS["rouge_l"].value(items) == 0.5
    assert METRICS["rouge_l"].value(pool([items, items.take([1])])) == 0.625
    with pytest.raises(InputError):
        Items({"rouge_l": [0.5, np.nan]}, np.array([0, 1]))
    with pytest.raises(ShapeMismatch):
        pool([items, make_items([0], [0], [0])])
    with pytest.raises(ShapeMismatch):
        Items({}, np.array([0]))


def test_masks_are_scored_on_each_class_too():
    scores = {
        "dice": [0.5, 1.0],
        "hd95": [3.0, 1.0],
        "dice.rim": [0.4, 1.0],
        "hd95.rim": [2.0, 0.0],
    }
    items = Items({name: np.array(values) for name, values in scores.items()}, np.array(["a", "b"]))
    assert METRICS["hd95"].value(items) == 2.0
    assert list(items.by_class()) == ["rim"]
    assert METRICS["dice"].value(items.by_class()["rim"]) == 0.7
    assert METRICS["hd95"].value(items.by_class()["rim"]) == 1.0
    other = Items({"dice": [0.2], "hd95": [9.0], "dice.core": [0.2]}, np.array(["c"]))
    assert pool([items, other]).statistics.keys() == {"dice", "hd95"}, "classes of one part only"
    assert pool([items, items]).statistics.keys() == items.statistics.keys()
    far = Items({"hd95": np.arange(40.0) + 1}, np.arange(40))
    near = Items({"hd95": np.arange(40.0)}, np.arange(40))
    assert compare(near, far, "hd95", confidence=0.95, mean_over="items").result == "win", (
        "the lower distance is the better one"
    )


def test_groups_may_be_names_or_numbers():
    by_name = make_items([0, 1, 1], [0, 1, 1], ["p2", "p1", "p2"])
    by_number = make_items([0, 1, 1], [0, 1, 1], np.array([7, 3, 7]))
    assert by_name.n_groups == by_number.n_groups == 2
    assert by_name.group_codes.tolist() == by_number.group_codes.tolist() == [1, 0, 1]
    objects = make_items([0, 1], [0, 1], np.array(["a", "a"], dtype=object))
    assert objects.n_groups == 1


def test_a_slice_keeps_items_together():
    items = make_items([0, 1, 1, 0], [0, 1, 0, 0], list("aabb"))
    part = items.take(np.array([True, False, True, False]))
    assert (part.n_items, part.n_groups, part["correct"].tolist()) == (2, 2, [1, 0])
    with pytest.raises(ShapeMismatch):
        items.take(np.zeros(4, dtype=bool))


def test_pooled_labels_of_two_sources_never_meet():
    first = make_items([0, 1], [0, 0], ["p1", "p2"])
    second = make_items([0, 0], [0, 1], ["p2", "p3"])
    pooled = pool([first, second])
    assert pooled["predicted"].tolist() == [0, 1, 2, 2]
    assert pooled["target"].tolist() == [0, 0, 2, 3]
    assert pooled.n_groups == 3
    assert METRICS["accuracy"].value(pooled) == 0.5
    with pytest.raises(ShapeMismatch):
        pool([])


@pytest.mark.parametrize(
    "values",
    [[0.0, np.nan], [0.0, np.inf], [0.5, 1.0], [-1, 0], ["a", "b"]],
    ids=["nan", "inf", "half", "negative", "text"],
)
@pytest.mark.parametrize("place", ["predicted", "target", "correct"])
def test_values_that_are_no_labels_are_refused(values, place):
    good = {"correct": [1, 1], "predicted": [0, 1], "target": [0, 1]}
    with pytest.raises(InputError):
        Items({**good, place: np.array(values)}, groups=np.array([0, 1]))


def test_odd_shapes_and_groups_are_refused():
    with pytest.raises(ShapeMismatch):
        make_items([], [], [])
    with pytest.raises(ShapeMismatch):
        make_items([0, 1], [0], [0, 1])
    with pytest.raises(ShapeMismatch):
        make_items([0, 1], [0, 1], [0])
    with pytest.raises(ShapeMismatch):
        make_items([[0, 1]], [[0, 1]], [[0, 1]])
    with pytest.raises(InputError):
        make_items([0, 1], [0, 1], [0.0, np.nan])
    with pytest.raises(InputError):
        Items({"correct": [2, 0], "predicted": [0, 1], "target": [0, 1]}, np.array([0, 1]))


def test_the_gate_metric_is_told_by_the_task():
    assert gate_metric("auto", "text-classification") == "accuracy"
    assert gate_metric("macro_f1", "text-classification") == "macro_f1"
    with pytest.raises(UnknownName, match="did you mean 'macro_f1'"):
        gate_metric("macro_f", "text-classification")
    assert gate_metric("auto", "text-generation") == "rouge_l"
    with pytest.raises(UnknownName):
        gate_metric("accuracy", "text-generation")
    with pytest.raises(UnknownName):
        gate_metric("auto", "translation")
    with pytest.raises(UnknownName):
        find_metric("acc")
