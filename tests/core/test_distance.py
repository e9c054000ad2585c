import numpy as np
import pytest

from rpe_core import distance
from rpe_core.distance import (
    DATASET_DISTANCES,
    chamfer_distance,
    comparable,
    mean_distance,
    nearest_neighbour_distance,
    squared_distances,
)
from rpe_core.errors import InputError, ShapeMismatch


def test_squared_distances_keep_the_digits_of_near_neighbours():
    target = np.full(8, 1e8)
    near = target + np.array([1e-6, 0, 0, 0, 0, 0, 0, 0])
    step = near[0] - target[0]
    assert squared_distances(target, near[None])[0] == step * step > 0


def test_squared_distances_do_not_depend_on_the_block_size(monkeypatch):
    rng = np.random.default_rng(0)
    target, references = rng.normal(size=7), rng.normal(size=(50, 7))
    whole = squared_distances(target, references)
    monkeypatch.setattr(distance, "_BLOCK", 20)
    assert np.array_equal(squared_distances(target, references), whole)


def test_float32_input_is_computed_in_float64():
    rng = np.random.default_rng(0)
    target = rng.normal(size=5).astype(np.float32)
    references = rng.normal(size=(3, 5)).astype(np.float32)
    squares = squared_distances(target, references)
    assert squares.dtype == np.float64
    expected = ((references.astype(np.float64) - target.astype(np.float64)) ** 2).sum(axis=1)
    np.testing.assert_allclose(squares, expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("target", "references"),
    [
        (np.zeros(2), np.zeros((1, 3))),
        (np.zeros((1, 2)), np.zeros((1, 2))),
        (np.zeros(2), np.zeros(2)),
        (np.zeros(2), np.zeros((0, 2))),
        (np.zeros(0), np.zeros((1, 0))),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_both_shapes(target, references):
    with pytest.raises(ShapeMismatch, match=r"target .* references"):
        comparable(target, references)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    with pytest.raises(InputError, match="target"):
        squared_distances(np.array([bad]), np.zeros((1, 1)))
    with pytest.raises(InputError, match="references"):
        squared_distances(np.zeros(1), np.array([[0.0], [bad]]))


def test_a_distance_beyond_fp64_is_refused():
    with pytest.raises(InputError, match="too large"):
        squared_distances(np.array([1e308]), np.array([[-1e308]]))


def brute(kind, x, y):
    """The three formulas, pair by pair."""
    far = np.array([[np.sqrt(sum((a - b) ** 2 for a, b in zip(r, s, strict=True))) for s in y]
                    for r in x])  # fmt: skip
    if kind == "mean":
        return float(np.linalg.norm(np.mean(x, axis=0) - np.mean(y, axis=0)))
    if kind == "nearest_neighbour":
        return float(np.mean([min(row) for row in far]))
    return float(np.mean([min(row) ** 2 for row in far]) + np.mean([min(c) ** 2 for c in far.T]))


@pytest.mark.parametrize("kind", DATASET_DISTANCES)
def test_a_distance_of_datasets_is_its_formula(kind):
    rng = np.random.default_rng(3)
    for n, m, d in ((1, 1, 1), (5, 9, 3), (12, 4, 7)):
        x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5
        assert DATASET_DISTANCES[kind](x, y) == pytest.approx(brute(kind, x, y), rel=1e-12)


@pytest.mark.parametrize("kind", DATASET_DISTANCES)
def test_a_distance_of_datasets_knows_no_order_no_origin_and_its_own_likeness(kind):
    rng = np.random.default_rng(4)
    measure, x, y = DATASET_DISTANCES[kind], rng.normal(size=(8, 3)), rng.normal(size=(6, 3))
    assert measure(x, x) == 0.0
    assert measure(x, y) > 0.0
    assert measure(rng.permutation(x), rng.permutation(y)) == pytest.approx(measure(x, y))
    assert measure(x + 7.0, y + 7.0) == pytest.approx(measure(x, y))


def test_only_the_nearest_neighbour_distance_has_a_direction():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(8, 3))
    part, far = x[:3], np.vstack([x, x + 50.0])
    assert nearest_neighbour_distance(part, x) == nearest_neighbour_distance(x, far) == 0.0
    assert nearest_neighbour_distance(far, x) > 10.0
    assert chamfer_distance(far, x) == pytest.approx(chamfer_distance(x, far))
    assert mean_distance(far, x) == pytest.approx(mean_distance(x, far))


@pytest.mark.parametrize("kind", DATASET_DISTANCES)
def test_features_that_cannot_be_compared_are_refused(kind):
    measure, good = DATASET_DISTANCES[kind], np.zeros((2, 3))
    for bad in (np.zeros((2, 4)), np.zeros(3), np.zeros((0, 3))):
        with pytest.raises(ShapeMismatch, match="two datasets"):
            measure(good, bad)
    with pytest.raises(InputError, match="reference holds NaN"):
        measure(good, np.full((1, 3), np.nan))
