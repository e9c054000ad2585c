import numpy as np
import pytest

from rpe_core import distance
from rpe_core.distance import comparable, cosine_distances, squared_distances
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


def test_cosine_distance_ignores_length_and_stays_in_range():
    rng = np.random.default_rng(0)
    target, references = rng.normal(size=6), rng.normal(size=(20, 6))
    plain = cosine_distances(target, references)
    scaled = cosine_distances(1e200 * target, 1e-200 * references)
    np.testing.assert_allclose(scaled, plain, atol=1e-14)
    assert cosine_distances(target, np.array([target, -target])) == pytest.approx([0, 2], abs=1e-15)


def test_the_zero_vector_has_no_cosine():
    with pytest.raises(InputError, match="direction"):
        cosine_distances(np.zeros(2), np.ones((1, 2)))
    with pytest.raises(InputError, match="direction"):
        cosine_distances(np.ones(2), np.zeros((1, 2)))
