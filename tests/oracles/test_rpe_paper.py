"""Numbers of the RPE paper (arXiv 2410.09908), from its figure of the toy problem and its text."""

import numpy as np
import pytest

from rpe_core.records import StrategySpec
from rpe_core.weighting.similarity import similarity_weights
from rpe_core.weighting.strategies import weigh

CORNERS = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])  # squared distances 2, 1, 1
ORIGIN = np.zeros(2)


def _weigh(kind, **parameters):
    return weigh(StrategySpec(kind, kind, parameters), ORIGIN, CORNERS)


def test_similarity_of_the_toy():
    weights = similarity_weights(ORIGIN, CORNERS, temperature=1.0)  # lambda1 = 1
    assert weights.round(2) == pytest.approx([0.16, 0.42, 0.42])


def test_linear_of_the_toy_reaches_the_target():
    weighting = _weigh("linear")
    assert weighting.weights == pytest.approx([-1, 1, 1], abs=1e-4)
    assert weighting.details["residual_ratio"] == pytest.approx(0, abs=1e-4)


def test_l1_of_the_toy_ends_at_the_nearest_point_of_the_simplex():
    assert _weigh("linear_l1", lambda2=0.0).weights == pytest.approx([-1, 1, 1], abs=1e-4)
    assert _weigh("linear_l1", lambda2=1e9).weights == pytest.approx([0, 0.5, 0.5], abs=1e-6)
    # By hand: on (-a, (1+a)/2, (1+a)/2) the residual is (1-a)^2/2, the norm 1+2a and tr(C)/k 4/3,
    # so with the raw lambda2 the optimum is a = 1 - 2 lambda2.
    for lambda2 in (0.05, 0.25, 0.4):
        a = 1 - 2 * lambda2
        weights = _weigh("linear_l1", lambda2=lambda2, scale="raw").weights
        assert weights == pytest.approx([-a, (1 + a) / 2, (1 + a) / 2], abs=1e-4)


def test_the_published_abdomen_row_is_no_exact_solution():
    """Lin (.80, .18, .02) has no negative weight, so an exact solver would keep it at any lambda2.

    The paper's "Ours" is (.82, .18, .00): it cannot come from the problem as it is written.
    """
    lin = np.array([0.80, 0.18, 0.02])
    rng = np.random.default_rng(0)
    references = rng.normal(size=(3, 30))
    target = lin @ references
    for lambda2 in (0.1, 1.0, 10.0):
        spec = StrategySpec("r", "linear_l1", {"lambda2": lambda2, "scale": "raw"})
        assert weigh(spec, target, references).weights == pytest.approx(lin, abs=1e-5)


def test_nearest_average_and_residuals_of_the_toy():
    assert _weigh("nearest").weights.tolist() == [0, 1, 0]
    assert _weigh("average").weights == pytest.approx([1 / 3] * 3)
    residuals = {
        kind: _weigh(kind).details["residual_ratio"]
        for kind in ("linear", "similarity", "average", "nearest")
    }
    assert residuals["linear"] == min(residuals.values())
