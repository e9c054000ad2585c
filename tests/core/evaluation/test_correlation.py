"""Rank correlation of pairs: the coefficient of scipy, the permutations one by one."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.evaluation.bootstrap import N_RESAMPLES
from rpe_core.evaluation.correlation import Correlation, correlate_pairs, spearman


def pairs(n: int, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances of n datasets and scores that fall with them, but for noise."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(n, 2))
    far = np.linalg.norm(places[:, None] - places, axis=2)
    return far, -far + noise * rng.normal(size=(n, n))


def test_the_coefficient_is_that_of_scipy_ties_included() -> None:
    rng = np.random.default_rng(0)
    for n, kinds in ((6, 3), (30, 5), (30, 1000)):
        x, y = rng.integers(0, kinds, n).astype(float), rng.integers(0, kinds, n).astype(float)
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert spearman(np.ones(5), np.arange(5.0)) is None


def test_p_is_the_share_of_all_permutations_of_the_datasets() -> None:
    far, score = pairs(5, 1, 0.8)
    off = ~np.eye(5, dtype=bool)
    found = correlate_pairs(far, score)
    every = [
        spearmanr(far[np.ix_(order, order)][off], score[off]).statistic
        for order in itertools.permutations(range(5))
    ]
    assert found.rho == pytest.approx(every[0])
    assert found.p_value == np.mean(np.abs(every) >= abs(every[0]) - 1e-9)
    assert (found.n_pairs, found.n_targets) == (20, 5)


def test_what_is_near_and_good_has_an_interval_below_zero() -> None:
    far, score = pairs(9, 2, 0.2)
    found = correlate_pairs(far, score)
    assert found.rho is not None
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low <= found.rho <= found.high < 0
    assert found.p_value is not None
    assert 0 < found.p_value < 0.05
    assert correlate_pairs(far, score) == found
    assert correlate_pairs(far, -score).rho == -found.rho


def test_the_interval_is_that_of_targets_drawn_one_by_one() -> None:
    far, score = pairs(4, 4, 0.6)
    rows = [np.flatnonzero(np.arange(4) != i) for i in range(4)]
    drawn = np.random.default_rng(0).integers(0, 4, size=(N_RESAMPLES, 4))
    known = {}
    for targets in {tuple(sorted(t)) for t in drawn.tolist()}:
        x, y = (np.concatenate([m[t, rows[t]] for t in targets]) for m in (far, score))
        known[targets] = spearman(x, y)
    every = [known[tuple(sorted(t))] for t in drawn.tolist()]
    found = correlate_pairs(far, score)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.025, 0.975])))


def test_the_diagonal_does_not_count() -> None:
    far, score = pairs(4, 3, 0.5)
    other = score + np.diag([9.0, np.nan, -9.0, 1.0])
    assert correlate_pairs(far, other) == correlate_pairs(far, score)


def test_scores_that_are_all_equal_have_no_correlation() -> None:
    found = correlate_pairs(pairs(4, 3, 0.5)[0], np.ones((4, 4)))
    assert (found.rho, found.low, found.high, found.p_value) == (None, None, None, None)


def test_matrices_that_do_not_fit_are_refused() -> None:
    far, score = pairs(4, 3, 0.5)
    for bad in (far[:2, :2], far[:3]):
        with pytest.raises(ShapeMismatch):
            correlate_pairs(bad, score)
    score[0, 1] = np.inf
    with pytest.raises(InputError):
        correlate_pairs(far, score)


@pytest.mark.parametrize(
    ("low", "high", "p_value", "verdict"),
    [
        (-0.9, -0.1, 0.05, "holds"),
        (-0.9, -0.1, 0.06, "undecided"),  # the permutations do not bear it out
        (-0.9, 0.0, 0.01, "undecided"),
        (0.1, 0.9, 0.01, "fails"),
        (None, None, None, "undecided"),
    ],
)
def test_a_fall_needs_the_interval_and_the_permutations(low, high, p_value, verdict) -> None:
    found = Correlation(low, low, high, p_value, n_pairs=20, n_targets=5)
    assert found.falls(significance=0.05) == verdict
