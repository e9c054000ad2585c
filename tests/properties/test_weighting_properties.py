from itertools import pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rpe_core.records import StrategySpec
from rpe_core.weighting.similarity import similarity_weights
from rpe_core.weighting.solvers.gram import gram
from rpe_core.weighting.solvers.linear import linear_weights
from rpe_core.weighting.solvers.linear_l1 import linear_l1_weights
from rpe_core.weighting.strategies import STRATEGIES, weigh

NUMBERS = st.floats(-10, 10, width=32)


@st.composite
def problems(draw, *, max_k=6, max_d=5):
    k, d = draw(st.integers(1, max_k)), draw(st.integers(1, max_d))
    return draw(arrays(np.float64, d, elements=NUMBERS)), draw(
        arrays(np.float64, (k, d), elements=NUMBERS)
    )


@given(problems(), st.sampled_from(sorted(STRATEGIES)))
def test_weights_sum_to_one_and_are_finite(problem, kind):
    weighting = weigh(StrategySpec(kind, kind), *problem)
    assert abs(weighting.weights.sum() - 1) <= 1e-9
    assert np.isfinite(weighting.weights).all()
    assert all(np.isfinite(v) for v in weighting.details.values() if isinstance(v, float))


@given(problems(), st.randoms(use_true_random=False), st.floats(1e-3, 1e3))
def test_similarity_is_permutation_equivariant(problem, random, temperature):
    target, references = problem
    order = list(range(len(references)))
    random.shuffle(order)
    plain = similarity_weights(target, references, temperature=temperature)
    mixed = similarity_weights(target, references[order], temperature=temperature)
    np.testing.assert_allclose(mixed, plain[order], atol=1e-12)


@given(problems())
@example((np.full(4, 0.03), np.array([[0.0, 4, 4, 4], [4, 4, 4, 4], [4, 4, 4, 0]])))
def test_similarity_tends_to_nearest_and_to_average(problem):
    target, references = problem
    squares = ((references - target) ** 2).sum(axis=1)
    nearest = np.isclose(squares, squares.min(), rtol=1e-12, atol=0.0)  # sums differ by their order
    gap = np.min(squares[~nearest] - squares.min(), initial=np.inf)
    cold = similarity_weights(target, references, temperature=min(gap / 1000, 1e300) or 1e-300)
    np.testing.assert_allclose(cold, nearest / nearest.sum(), atol=1e-12)
    hot = similarity_weights(target, references, temperature=1e12)
    np.testing.assert_allclose(hot, 1 / len(references), atol=1e-8)


@given(problems(), st.data())
def test_linear_beats_any_feasible_point(problem, data):
    target, references = problem
    k = len(references)
    c = gram(target, references, ridge=1e-6).matrix
    ours = linear_weights(target, references).weights
    other = data.draw(arrays(np.float64, k, elements=st.floats(-3, 3)))
    other = other + (1 - other.sum()) / k
    assert ours @ c @ ours <= other @ c @ other + 1e-9


@given(problems(), st.floats(0, 100), st.data())
def test_linear_l1_beats_any_feasible_point_and_passes_its_kkt_check(problem, lambda2, data):
    target, references = problem
    k = len(references)
    c = gram(target, references, ridge=1e-6).matrix
    solution = linear_l1_weights(target, references, lambda2=lambda2)
    assert solution.kkt_residual_ratio <= 1e-9
    ours = solution.weights
    other = data.draw(arrays(np.float64, k, elements=st.floats(-3, 3)))
    other = other + (1 - other.sum()) / k
    mine = ours @ c @ ours + lambda2 * np.abs(ours).sum()
    assert mine <= other @ c @ other + lambda2 * np.abs(other).sum() + 1e-8


@given(problems())
def test_negative_mass_falls_as_lambda2_grows(problem):
    norms = [
        np.abs(linear_l1_weights(*problem, lambda2=lambda2).weights).sum()
        for lambda2 in (0.0, 0.01, 0.1, 1.0, 10.0, 1e6)
    ]
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(norms))
    assert abs(norms[-1] - 1) <= 1e-6


@given(problems())
def test_lambda2_changes_nothing_where_linear_is_not_negative(problem):
    plain = linear_weights(*problem).weights
    if (plain >= 0).all():
        for lambda2 in (0.1, 1000.0):
            penalised = linear_l1_weights(*problem, lambda2=lambda2).weights
            np.testing.assert_allclose(penalised, plain, atol=1e-7)


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_a_target_equal_to_an_affinely_independent_reference_gets_it_back(k, chosen, seed):
    rng = np.random.default_rng(seed)
    chosen %= k
    references = 4 * np.eye(k, k + 2) + rng.uniform(-1, 1, size=(k, k + 2)) / k
    for kind in ("nearest", "linear", "linear_l1"):
        weights = weigh(StrategySpec(kind, kind), references[chosen], references).weights
        np.testing.assert_allclose(weights, np.eye(k)[chosen], atol=1e-5)
