import math

import pytest
import torch

from rpe_core.delta import LowRankDelta, check_config, module_deltas, peft_names
from rpe_core.errors import InputError, ShapeMismatch

PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none"}


def _state(*modules, rank=2, d_in=3, d_out=4):
    state = {}
    for i, module in enumerate(modules):
        name_a, name_b = peft_names(module)
        state[name_a] = torch.arange(float(rank * d_in)).reshape(rank, d_in) + i
        state[name_b] = torch.ones(d_out, rank)
    return state


def test_deltas_come_by_module_with_peft_scaling():
    deltas = module_deltas(_state("layer.1.value", "layer.0.query"), PLAIN)
    assert list(deltas) == ["layer.0.query", "layer.1.value"]
    delta = deltas["layer.0.query"]
    assert (delta.rank, delta.shape, delta.scaling) == (2, (4, 3), 4.0)
    torch.testing.assert_close(delta.dense(), 4.0 * delta.b @ delta.a)
    assert delta.dense(dtype=torch.float64).dtype == torch.float64


def test_rslora_scales_by_the_root_of_the_rank():
    delta = module_deltas(_state("m"), {**PLAIN, "use_rslora": True})["m"]
    assert delta.scaling == 8 / math.sqrt(2)


@pytest.mark.parametrize("pattern", ["a.query", "query", "^a.query", r"^a\.query", r".*a\.que.*"])
def test_patterns_set_rank_and_alpha_of_the_modules_that_match(pattern):
    state = {**_state("a.query", rank=5), **_state("a.value")}
    config = {**PLAIN, "rank_pattern": {pattern: 5}, "alpha_pattern": {pattern: 10}}
    deltas = module_deltas(state, config)
    assert (deltas["a.query"].rank, deltas["a.query"].scaling) == (5, 2.0)
    assert (deltas["a.value"].rank, deltas["a.value"].scaling) == (2, 4.0)


def test_a_pattern_matches_tails_and_not_parts_of_a_name():
    config = {**PLAIN, "alpha_pattern": {"uery": 2, "y.query": 2}}
    assert module_deltas(_state("a.query"), config)["a.query"].scaling == 4.0


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "LOHA"},
        {"peft_type": None},
        {"use_dora": True},
        {"lora_bias": True},
        {"bias": "all"},
        {"modules_to_save": ["classifier"]},
        {"trainable_token_indices": [1]},
        {"target_parameters": ["experts"]},
        {"layer_replication": [[0, 1]]},
        {"use_qalora": True},
        {"arrow_config": {"k": 1}},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "olora"},
    ],
)
def test_what_a_weighted_sum_cannot_express_is_refused(change):
    with pytest.raises(InputError, match="cannot be merged exactly"):
        check_config({**PLAIN, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"r": 0},
        {"r": 2.0},
        {"r": True},
        {"r": None},
        {"lora_alpha": float("nan")},
        {"lora_alpha": "8"},
        {"lora_alpha": 10**400},
        {"rank_pattern": [2]},
        {"rank_pattern": {"m": -1}},
        {"alpha_pattern": {"m": None}},
        {"alpha_pattern": {"(a+)+": 1}},
        {"alpha_pattern": {".*.*.*x": 1}},
        {"alpha_pattern": {"(": 1}},
        {"alpha_pattern": {"a" * 300: 1}},
    ],
)
def test_hyperparameters_that_make_no_sense_are_refused(change):
    with pytest.raises(InputError):
        check_config({**PLAIN, **change})


def test_a_harmless_start_is_accepted():
    for start in (True, False, "gaussian", "eva", "orthogonal"):
        check_config({**PLAIN, "init_lora_weights": start})


def test_the_rank_of_the_file_must_be_the_rank_of_the_configuration():
    with pytest.raises(ShapeMismatch, match="rank of its configuration"):
        module_deltas(_state("m", rank=3), PLAIN, where="folder x")


def test_a_lone_factor_a_foreign_tensor_or_no_tensor_is_refused():
    lone = _state("m")
    del lone[peft_names("m")[1]]
    with pytest.raises(ShapeMismatch, match="one of its two factors"):
        module_deltas(lone, PLAIN)
    with pytest.raises(InputError, match="no LoRA factor"):
        module_deltas({**_state("m"), "base_model.model.head.weight": torch.ones(2)}, PLAIN)
    with pytest.raises(InputError, match="no LoRA factor"):
        module_deltas({}, PLAIN)


@pytest.mark.parametrize(
    "bad", [torch.full((2, 3), float("nan")), torch.full((2, 3), float("inf"))]
)
def test_numbers_that_are_not_finite_are_refused(bad):
    state = _state("m")
    state[peft_names("m")[0]] = bad
    with pytest.raises(InputError, match="NaN"):
        module_deltas(state, PLAIN)
    state[peft_names("m")[0]] = torch.ones((2, 3), dtype=torch.int8)
    with pytest.raises(InputError, match="floating-point"):
        module_deltas(state, PLAIN)


def test_convolutions_are_refused():
    state = _state("m")
    state[peft_names("m")[0]] = torch.ones(2, 3, 1, 1)
    with pytest.raises(ShapeMismatch, match="rank of its configuration"):
        module_deltas(state, PLAIN)


def test_factors_that_cannot_be_multiplied_are_refused():
    with pytest.raises(ShapeMismatch):
        LowRankDelta(torch.ones(2, 3), torch.ones(4, 3))
    with pytest.raises(ShapeMismatch):
        LowRankDelta(torch.ones(0, 3), torch.ones(4, 0))
    with pytest.raises(InputError):
        LowRankDelta(torch.ones(2, 3), torch.ones(4, 2), float("inf"))
