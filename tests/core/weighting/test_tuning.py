import numpy as np
import pytest

from rpe_core.ensemble import draft_ensemble
from rpe_core.errors import InputError
from rpe_core.records import Candidate, StrategySpec
from rpe_core.weighting.guards import DomainCheck
from rpe_core.weighting.strategies import check_parameters, weigh
from rpe_core.weighting.tuning import (
    GRIDS,
    Tuning,
    in_general,
    resolve,
    settings_of,
    tune_by_reconstruction,
    tune_by_scores,
)

WARM = StrategySpec("warm", "similarity", {"temperature": "loo"})
PATH = StrategySpec("path", "linear_l1", {"lambda2": "loo"})
PLAIN = StrategySpec("average", "average")


def _library(n, d, seed=0, noise=0.0):
    """References that lie near a low-dimensional flat, so that weights can carry over."""
    rng = np.random.default_rng(seed)
    flat = rng.normal(size=(n, 3)) @ rng.normal(size=(3, d))
    return flat + noise * rng.normal(size=(n, d)), [f"s{i}" for i in range(n)]


def test_the_word_loo_is_a_valid_parameter_that_must_be_resolved_before_weighing():
    assert check_parameters("similarity", {"temperature": "loo"}) == []
    assert check_parameters("linear_l1", {"lambda2": "loo"}) == []
    assert [f.path for f in check_parameters("linear_l1", {"lambda2": "loo", "scale": "raw"})] == [
        "scale"
    ]
    with pytest.raises(InputError, match="still to be chosen"):
        weigh(WARM, np.zeros(1), np.ones((2, 1)))


def test_settings_start_with_the_default_and_k_stays_below_the_library():
    assert settings_of(PLAIN, k=4, n_references=9) == [{}]
    assert settings_of(PATH, k=4, n_references=9)[0] == {"lambda2": 0.1}
    sizes = [setting["k"] for setting in settings_of(PLAIN, k="loo", n_references=7)]
    assert sizes[0] == 4
    assert sorted(sizes) == [1, 2, 3, 4, 6]
    both = settings_of(WARM, k="loo", n_references=7)
    assert both[0] == {"k": 4, "temperature": 1.0}
    assert len(both) == 5 * len(GRIDS["temperature"])


def test_a_temperature_is_resolved_in_units_of_the_median_squared_distance():
    references = np.array([[1.0], [2.0], [5.0]])
    found = resolve(WARM, {"temperature": 0.5}, np.zeros(1), references)
    assert found.parameters == {"temperature": 2.0}
    assert resolve(PLAIN, {}, np.zeros(1), references) == PLAIN
    assert in_general(WARM, {"temperature": 0.5}).parameters == {}
    assert in_general(PATH, {"lambda2": 0.3}).parameters == {"lambda2": 0.3}


def test_the_best_mean_score_wins_and_ties_go_to_the_first():
    table = [({"k": 4.0}, [0.5, 0.7]), ({"k": 2.0}, [0.8, 0.8]), ({"k": 1.0}, [0.9, 0.7])]
    tuning = tune_by_scores(table)
    assert (tuning.criterion, tuning.chosen) == ("leave_one_out_score", {"k": 2.0})
    assert [(a.setting["k"], a.value, a.n_references) for a in tuning.alternatives] == [
        (4, pytest.approx(0.6), 2),
        (2, pytest.approx(0.8), 2),
        (1, pytest.approx(0.8), 2),
    ]
    for wrong in ([], [({}, [])], [({}, [float("nan")])]):
        with pytest.raises(InputError):
            tune_by_scores(wrong)


def test_reconstruction_leaves_lambda2_small_where_weights_carry_over_and_raises_it_in_noise():
    exact = tune_by_reconstruction(*_library(24, 40), PATH, k=8)
    noisy = tune_by_reconstruction(*_library(24, 40, noise=3.0), PATH, k=8)
    assert exact.criterion == "held_out_reconstruction"
    assert exact.chosen["lambda2"] <= 0.01
    assert noisy.chosen["lambda2"] >= 0.1
    assert {a.setting["lambda2"] for a in noisy.alternatives} == set(GRIDS["lambda2"])


def test_reconstruction_is_what_it_says():
    library, sources = _library(6, 8, noise=0.5)
    tuning = tune_by_reconstruction(library, sources, WARM, k=3)
    ratio = {a.setting["temperature"]: a.value for a in tuning.alternatives}
    errors = []
    for i in range(6):
        others = np.delete(library, i, axis=0)
        near = others[np.argsort(np.linalg.norm(others - library[i], axis=1))[:3]]
        for fit, held in (
            (slice(0, None, 2), slice(1, None, 2)),
            (slice(1, None, 2), slice(0, None, 2)),
        ):
            d2 = ((near[:, fit] - library[i][fit]) ** 2).sum(axis=1)
            w = np.exp(-d2 / (0.5 * np.median(d2)))
            gap = library[i][held] - (w / w.sum()) @ near[:, held]
            errors.append((gap**2).sum() / ((library[i] - library.mean(axis=0))[held] ** 2).sum())
    assert ratio[0.5] == pytest.approx(np.sqrt(np.mean(errors)), rel=1e-10)
    assert tuning.chosen["temperature"] == min(ratio, key=ratio.get)


@pytest.mark.parametrize(("n", "d"), [(4, 8), (6, 1)])
def test_where_little_is_known_the_default_stands_and_says_so(n, d):
    tuning = tune_by_reconstruction(*_library(n, d), WARM, k="loo")
    assert tuning == Tuning("default", settings_of(WARM, k="loo", n_references=n)[0])


def test_a_draft_uses_the_choice_and_keeps_it():
    candidates = [Candidate(f"a{i}", f"s{i}", f"d{i}", 0.0, (float(i + 1), 0.0)) for i in range(4)]
    near = DomainCheck(0.5, False, "uncalibrated", "near")
    tuning = Tuning("default", {"k": 2, "temperature": 2.0})
    draft = draft_ensemble(np.zeros(2), candidates, WARM, domain=near, tuning=tuning)
    assert len(draft.members) == 2
    assert draft.details["temperature"] == 2.0 * np.median([1.0, 4.0])
    assert draft.strategy == WARM
    assert draft.tuning is tuning
