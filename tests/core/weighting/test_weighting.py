import numpy as np
import pytest
from scipy.optimize import minimize

from rpe_core.errors import DeclarationError, InputError, ShapeMismatch, UnknownName
from rpe_core.records import StrategySpec
from rpe_core.weighting.similarity import median_temperature
from rpe_core.weighting.solvers.active_set import minimise_l1
from rpe_core.weighting.solvers.gram import gram
from rpe_core.weighting.solvers.linear import linear_weights, with_residuals
from rpe_core.weighting.solvers.linear_l1 import lasso_weights, linear_l1_weights
from rpe_core.weighting.solvers.proximal import likely_signs
from rpe_core.weighting.strategies import STRATEGIES, check_parameters, weigh


def _spec(kind, **parameters):
    return StrategySpec(kind, kind, parameters)


def _problem(seed, k=5, d=8, shift=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=d) * shift, rng.normal(size=(k, d))


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
@pytest.mark.parametrize("k", [1, 2, 7])
def test_every_strategy_sums_to_one_and_tells_how_it_fits(kind, k):
    target, references = _problem(k, k=k)
    weighting = weigh(_spec(kind), target, references)
    assert weighting.weights.shape == (k,)
    assert weighting.weights.sum() == pytest.approx(1, abs=1e-9)
    assert weighting.details["l1_norm"] >= 1 - 1e-9
    assert weighting.details["residual_ratio"] >= 0


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1.0, 1e6, 1e150])
def test_every_strategy_ignores_the_scale_of_features(kind, scale):
    target, references = _problem(3)
    plain = weigh(_spec(kind), target, references).weights
    scaled = weigh(_spec(kind), scale * target, scale * references).weights
    np.testing.assert_allclose(scaled, plain, atol=1e-9)


@pytest.mark.parametrize("kind", ["average", "similarity", "linear", "linear_l1"])
def test_references_that_all_equal_the_target_share_evenly(kind):
    weighting = weigh(_spec(kind), np.ones(3), np.ones((4, 3)))
    np.testing.assert_allclose(weighting.weights, 0.25)
    assert weighting.details["residual_ratio"] == 0


@pytest.mark.parametrize("kind", ["similarity", "linear", "linear_l1"])
def test_exact_duplicates_share_their_weight(kind):
    target, references = _problem(5)
    doubled = np.vstack([references, references[1]])
    weights = weigh(_spec(kind), target, doubled).weights
    if kind == "linear_l1":  # any split is optimal up to the ridge, which prefers halves
        assert weights[1] == pytest.approx(weights[5], abs=1e-6)
    else:
        assert weights[1] == pytest.approx(weights[5], abs=1e-9)


@pytest.mark.parametrize("kind", ["nearest", "linear", "linear_l1"])
def test_a_target_equal_to_one_reference_gets_it_back(kind):
    _, references = _problem(6)
    weights = weigh(_spec(kind), references[2], references).weights
    np.testing.assert_allclose(weights, np.eye(5)[2], atol=1e-4)


def test_similarity_records_the_median_squared_distance_as_temperature():
    references = np.array([[1.0], [2.0], [5.0]])
    assert weigh(_spec("similarity"), np.zeros(1), references).details["temperature"] == 4.0


@pytest.mark.parametrize(
    ("references", "temperature"),
    [([[0.0], [0.0], [3.0]], 9.0), ([[0.0], [0.0], [0.0], [1.0], [3.0]], 5.0), ([[0.0]], 1.0)],
)
def test_zero_distances_do_not_make_a_zero_temperature(references, temperature):
    assert median_temperature(np.zeros(1), np.array(references)) == temperature


def test_similarity_with_extreme_temperatures_is_nearest_or_average():
    target, references = _problem(1)
    cold = weigh(_spec("similarity", temperature=1e-300), target, references).weights
    hot = weigh(_spec("similarity", temperature=1e300), target, references).weights
    assert np.array_equal(cold, weigh(_spec("nearest"), target, references).weights)
    np.testing.assert_allclose(hot, 0.2)


def test_linear_is_the_closed_form_with_its_ridge():
    target, references = _problem(2)
    c = (references - target) @ (references - target).T
    c += 1e-6 * np.trace(c) / 5 * np.eye(5)
    raw = np.linalg.solve(c, np.ones(5))
    weighting = weigh(_spec("linear"), target, references)
    np.testing.assert_allclose(weighting.weights, raw / raw.sum(), atol=1e-9)
    assert weighting.details["ridge"] == 1e-6
    assert weighting.details["kkt_residual_ratio"] <= 1e-9


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lambda2", [0.0, 0.01, 0.1, 1.0, 10.0])
def test_linear_l1_agrees_with_slsqp_on_the_split_problem(seed, lambda2):
    target, references = _problem(seed, shift=2.0)
    c = gram(target, references, ridge=1e-6).matrix

    def objective(pn):
        w = pn[:5] - pn[5:]
        return w @ c @ w + 2 * lambda2 * pn[5:].sum()  # ||w||_1 = 1 + 2 (negative mass)

    def slope(pn):
        g = 2 * c @ (pn[:5] - pn[5:])
        return np.concatenate([g, 2 * lambda2 - g])

    found = minimize(
        objective,
        np.concatenate([np.full(5, 0.2), np.zeros(5)]),
        jac=slope,
        bounds=[(0, None)] * 10,
        constraints={
            "type": "eq",
            "fun": lambda pn: pn[:5].sum() - pn[5:].sum() - 1,
            "jac": lambda pn: np.concatenate([np.ones(5), -np.ones(5)]),
        },
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 2000},
    )
    ours = weigh(_spec("linear_l1", lambda2=lambda2), target, references).weights
    np.testing.assert_allclose(ours, found.x[:5] - found.x[5:], atol=2e-4)
    mine = objective(np.concatenate([np.maximum(ours, 0), np.maximum(-ours, 0)]))
    assert mine <= objective(found.x) + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_linear_l1_agrees_with_admm(seed):
    target, references = _problem(seed, k=8, d=20, shift=3.0)
    c, lambda2 = gram(target, references, ridge=1e-6).matrix, 0.05
    system = np.ones((9, 9))
    system[:8, :8], system[8, 8] = 2 * c + np.eye(8), 0
    y, u = np.full(8, 1 / 8), np.zeros(8)
    for _ in range(20_000):
        x = np.linalg.solve(system, np.append(y - u, 1.0))[:8]
        y = np.sign(x + u) * np.maximum(np.abs(x + u) - lambda2, 0)
        u = u + x - y
    ours = weigh(_spec("linear_l1", lambda2=lambda2), target, references).weights
    np.testing.assert_allclose(ours, y, atol=1e-6)


def test_linear_l1_has_exact_zeros_and_a_kkt_residual_within_the_limit():
    target, references = _problem(0, k=30, d=40, shift=3.0)
    weighting = weigh(_spec("linear_l1"), target, references)
    assert (weighting.weights == 0).sum() > 0
    assert 0 <= weighting.details["kkt_residual_ratio"] <= 1e-9


def test_raw_lambda_equals_normalised_lambda_times_the_mean_square():
    target, references = _problem(4, shift=3.0)
    mean_square = gram(target, references, ridge=1e-6).mean_square
    raw = weigh(_spec("linear_l1", lambda2=0.1 * mean_square, scale="raw"), target, references)
    normalised = weigh(_spec("linear_l1", lambda2=0.1), target, references)
    np.testing.assert_allclose(raw.weights, normalised.weights, atol=1e-12)
    assert raw.details["scale"] == "raw"


def test_lasso_then_renorm_solves_the_free_problem_and_divides():
    rng = np.random.default_rng(0)
    references = rng.normal(size=(4, 30))
    target = references.T @ np.array([0.6, 0.5, -0.3, 0.2])
    solution = lasso_weights(target, references, lambda2=1e-9, ridge=1e-12)
    np.testing.assert_allclose(solution.weights, [0.6, 0.5, -0.3, 0.2], atol=1e-6)
    weighting = weigh(_spec("linear_l1", mode="lasso_then_renorm"), target, references)
    assert weighting.details["mode"] == "lasso_then_renorm"
    assert weighting.details["kkt_residual_ratio"] <= 1e-9


def test_lasso_weights_that_cancel_are_refused():
    with pytest.raises(InputError, match="cancel"):
        lasso_weights(np.array([0.0, 1.0]), np.array([[1.0, 0.0], [2.0, 0.0]]), lambda2=1e9)


def test_the_kkt_residual_sees_a_wrong_answer():
    target, references = _problem(2, shift=2.0)
    c = gram(target, references, ridge=1e-6).matrix
    right = linear_l1_weights(target, references, lambda2=0.1).weights

    def residual(weights):
        return with_residuals(c, weights, lambda2=0.1, floor=1e-6).kkt_residual_ratio

    assert residual(right) <= 1e-12
    assert residual(right + 1e-6 * np.array([1, -1, 0, 0, 0])) > 1e-9
    assert residual(np.full(5, 0.2)) > 1e-3
    assert residual(right * (1 + 1e-6)) > 1e-9


def test_a_singular_quadratic_is_refused_not_guessed():
    with pytest.raises(InputError, match="ridge"):
        minimise_l1(np.zeros((2, 2)), np.ones(2), lambda2=0.1, is_affine=False)


def test_an_indefinite_quadratic_is_refused_not_solved():
    # its stationary point (0.5, 0.5) is a maximum along the constraint
    with pytest.raises(InputError, match="ridge"):
        minimise_l1(np.array([[1.0, 2.0], [2.0, 1.0]]), np.zeros(2), lambda2=0.1, is_affine=True)


def test_two_hundred_references_stay_exact():
    target, references = _problem(0, k=200, d=64, shift=2.0)
    for lambda2 in (0.0, 0.01, 1.0):
        solution = linear_l1_weights(target, references, lambda2=lambda2)
        assert solution.kkt_residual_ratio <= 1e-9
    plain = linear_weights(target, references).weights
    free = linear_l1_weights(target, references, lambda2=0.0).weights
    np.testing.assert_allclose(free, plain, atol=1e-7)


@pytest.mark.parametrize("is_affine", [True, False])
def test_hardly_a_sign_is_guessed_wrong(is_affine):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(100, 200))
    quadratic = rows @ rows.T / 200
    linear = np.zeros(100) if is_affine else rng.normal(size=100)
    lambda2 = 0.001 if is_affine else 0.1
    exact = minimise_l1(quadratic, linear, lambda2=lambda2, is_affine=is_affine)
    guessed = likely_signs(quadratic, linear, lambda2=lambda2, is_affine=is_affine)
    assert exact.min() < 0 < exact.max()
    assert np.count_nonzero(exact) < 100
    assert np.count_nonzero(guessed != np.sign(exact)) <= 10


def test_an_unknown_strategy_lists_the_known_ones():
    with pytest.raises(UnknownName, match="similarity"):
        weigh(_spec("similarty"), np.zeros(1), np.zeros((1, 1)))
    with pytest.raises(UnknownName):
        check_parameters("similarty", {})


@pytest.mark.parametrize(
    ("kind", "parameters", "paths"),
    [
        ("similarity", {"temperature": 0}, ["temperature"]),
        ("similarity", {"temperature": "hot"}, ["temperature"]),
        ("similarity", {"temperature": True}, ["temperature"]),
        ("similarity", {"temperature": float("nan")}, ["temperature"]),
        ("similarity", {"temperature": 10**400}, ["temperature"]),
        ("similarity", {"temprature": 1.0}, ["'temprature'"]),
        ("average", {"temperature": 1.0}, ["'temperature'"]),
        ("linear", {"ridge": 0.0}, ["ridge"]),
        ("linear_l1", {"lambda2": -1, "scale": "rw", "mode": 3}, ["lambda2", "scale", "mode"]),
    ],
)
def test_all_faults_of_parameters_are_told_at_once_without_values(kind, parameters, paths):
    faults = check_parameters(kind, parameters)
    assert [fault.path for fault in faults] == paths
    assert all(fault.expected for fault in faults)
    with pytest.raises(DeclarationError) as caught:
        weigh(_spec(kind, **parameters), np.zeros(1), np.zeros((1, 1)))
    assert "hot" not in str(caught.value)
    assert "'rw'" not in str(caught.value)


def test_good_parameters_have_no_fault_and_integers_count_as_numbers():
    assert check_parameters("similarity", {"temperature": 2}) == []
    assert check_parameters("linear_l1", {"lambda2": 0, "scale": "raw"}) == []


def test_bad_arrays_are_refused():
    with pytest.raises(ShapeMismatch):
        weigh(_spec("linear"), np.zeros(2), np.zeros((1, 3)))
    with pytest.raises(InputError):
        weigh(_spec("linear"), np.array([np.nan]), np.zeros((1, 1)))
    with pytest.raises(InputError, match="too large"):
        weigh(_spec("linear"), np.array([1.7e308]), np.array([[-1.7e308]]))
