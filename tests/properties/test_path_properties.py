"""Laws of the lin+R path, against scipy's non-negative least squares where an oracle is needed."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from rpe_core.weighting.solvers.gram import gram
from rpe_core.weighting.solvers.linear import linear_weights
from rpe_core.weighting.solvers.linear_l1 import linear_l1_path, linear_l1_weights

NUMBERS = st.floats(-10, 10, width=32)
SIGNS = st.sampled_from([-1.0, 0.0, 1.0])  # ties and duplicates wherever one looks


@st.composite
def problems(draw, *, max_k=12, max_d=6):
    k, d = draw(st.integers(1, max_k)), draw(st.integers(1, max_d))
    elements = draw(st.sampled_from([NUMBERS, SIGNS]))
    return draw(arrays(np.float64, d, elements=elements)), draw(
        arrays(np.float64, (k, d), elements=elements)
    )


def _objective(c, weights, lambda2):
    return weights @ c @ weights + lambda2 * np.abs(weights).sum()


@given(problems())
def test_the_path_runs_from_the_affine_to_the_simplex_solution(problem):
    path = linear_l1_path(*problem)
    c = gram(*problem, ridge=1e-6).matrix
    assert path.lambda2[0] == 0
    assert (np.diff(path.lambda2) >= 0).all()
    np.testing.assert_allclose(path.weights.sum(axis=1), 1, atol=1e-9)
    affine = linear_weights(*problem).weights
    assert abs(_objective(c, path.at(0).weights, 0) - _objective(c, affine, 0)) <= 1e-9
    np.testing.assert_allclose(path.at(0).weights, affine, atol=1e-4)
    assert (path.at(1e12).weights >= 0).all()


@given(problems())
def test_the_far_end_is_the_simplex_solution_of_an_independent_method(problem):
    c = gram(*problem, ridge=1e-6).matrix
    k = len(c)
    # the sum constraint as a heavy row: min ||L'w||^2 + heavy (sum w - 1)^2 with w >= 0
    heavy = 1e4
    rows = np.vstack([np.linalg.cholesky(c).T, heavy * np.ones(k)])
    found, _ = nnls(rows, np.append(np.zeros(k), heavy))
    ours = linear_l1_path(*problem).at(1e12).weights
    assert ours @ c @ ours <= (found / found.sum()) @ c @ (found / found.sum()) + 1e-9


@given(problems(), st.floats(0, 1), st.data())
def test_weights_are_continuous_and_linear_between_breakpoints(problem, share, data):
    path = linear_l1_path(*problem)
    piece = data.draw(st.integers(0, max(0, len(path.lambda2) - 2)))
    low, high = path.lambda2[piece], path.lambda2[min(piece + 1, len(path.lambda2) - 1)]
    inside = low + share * (high - low)
    middle = (low + inside) / 2
    scale = np.abs(path.weights).max()
    np.testing.assert_allclose(
        path.at(middle).weights,
        (path.at(low).weights + path.at(inside).weights) / 2,
        atol=1e-7 * scale,
    )
    for at in path.lambda2:
        beside = path.at(np.nextafter(at, np.inf)).weights
        np.testing.assert_allclose(path.at(at).weights, beside, atol=1e-6 * scale)


@given(problems(), st.floats(0, 10))
def test_every_solution_is_optimal_and_equals_the_one_solved_alone(problem, lambda2):
    path = linear_l1_path(*problem)
    c = gram(*problem, ridge=1e-6).matrix
    on_path, alone = path.at(lambda2), linear_l1_weights(*problem, lambda2=lambda2)
    for solution in (on_path, alone):
        assert 0 <= solution.kkt_residual_ratio <= 1e-9
        assert 0 <= solution.duality_gap <= 1e-6
    assert (path.kkt_residual_ratio <= 1e-9).all()
    assert (path.duality_gap >= 0).all()
    best = _objective(c, alone.weights, lambda2)
    assert abs(_objective(c, on_path.weights, lambda2) - best) <= 1e-9 * max(1, best)


@given(problems(), st.floats(0, 1), st.data())
def test_the_duality_gap_bounds_what_any_point_could_gain(problem, lambda2, data):
    path = linear_l1_path(*problem)
    c = gram(*problem, ridge=1e-6).matrix
    other = data.draw(arrays(np.float64, len(c), elements=st.floats(-3, 3)))
    other = other + (1 - other.sum()) / len(c)
    ours = path.at(lambda2)
    gain = _objective(c, ours.weights, lambda2) - _objective(c, other, lambda2)
    assert gain <= ours.duality_gap + 1e-9


@given(problems())
def test_negative_mass_never_grows_with_lambda2(problem):
    path = linear_l1_path(*problem)
    mass = np.maximum(-path.weights, 0).sum(axis=1)
    scale = np.abs(path.weights).max()
    assert all(later <= earlier + 1e-7 * scale for earlier, later in pairwise(mass))
    assert mass[-1] == 0


@given(problems(), st.sampled_from([1e-6, 1e-2, 1e3, 1e8]))
def test_the_path_ignores_the_scale_of_features_and_raw_lambda2_follows_it(problem, scale):
    target, references = problem
    plain = linear_l1_path(target, references)
    raw = linear_l1_path(scale * target, scale * references, is_raw=True)
    c = gram(target, references, ridge=1e-6)
    for lambda2 in (0.0, 0.05, 0.5):
        ours = plain.at(lambda2).weights
        theirs = raw.at(lambda2 * c.mean_square * scale**2).weights
        objectives = [_objective(c.matrix, w, lambda2) for w in (ours, theirs)]
        assert abs(objectives[0] - objectives[1]) <= 1e-9 * max(1, objectives[0])


@given(problems(max_k=6))
def test_duplicated_references_share_their_weight_all_along(problem):
    target, references = problem
    path = linear_l1_path(target, np.vstack([references, references]))
    k = len(references)
    scale = np.abs(path.weights).max()
    # the ridge prefers halves; where it decides alone, its 1e-6 is what the digits hang on
    np.testing.assert_allclose(path.weights[:, :k], path.weights[:, k:], atol=1e-5 * scale)


@settings(max_examples=20)
@given(st.integers(20, 90), st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_larger_problems_with_more_references_than_features_keep_their_digits(k, d, seed):
    rng = np.random.default_rng(seed)
    references = rng.normal(size=(k, d))[rng.integers(0, k, size=k)]
    path = linear_l1_path(rng.normal(size=d) * 2, references)
    assert path.kkt_residual_ratio.max() <= 1e-9
    assert (path.duality_gap >= 0).all()
