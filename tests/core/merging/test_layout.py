"""What an adapter's configuration and the names and shapes of its tensors mean."""

import math

import pytest
import torch

from rpe_core.delta import Layout
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.merging.files.hyperparameters import check_config
from rpe_core.merging.files.layout import read_layout
from tests.adapter_folders import convolution, embedding, linear

PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none"}


def layout(*parts, **config):
    tensors = {name: tensor for part in parts for name, tensor in part.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return read_layout(shapes, {**PLAIN, **config}, where="folder x")


def test_modules_come_sorted_with_pefts_scaling():
    modules = layout(linear("layer.1.value"), linear("layer.0.query", shape=(4, 3))).modules
    assert list(modules) == ["layer.0.query", "layer.1.value"]
    spec = modules["layer.0.query"]
    assert (spec.rank, spec.shape, spec.scaling) == (2, (4, 3), 4.0)


def test_embeddings_and_convolutions_are_matrices_with_a_layout():
    modules = layout(embedding("words"), convolution("pixels", shape=(5, 3, 3, 2))).modules
    assert (modules["words"].shape, modules["words"].layout) == ((6, 11), Layout(is_embedding=True))
    assert (modules["pixels"].shape, modules["pixels"].layout) == ((5, 18), Layout(kernel=(3, 2)))


def test_rslora_scales_by_the_root_of_the_rank():
    assert layout(linear("m"), use_rslora=True).modules["m"].scaling == 8 / math.sqrt(2)


@pytest.mark.parametrize("pattern", ["a.query", "query", "^a.query", r"^a\.query", r".*a\.que.*"])
def test_patterns_set_rank_and_alpha_of_the_modules_that_match(pattern):
    modules = layout(
        linear("a.query", rank=5),
        linear("a.value"),
        rank_pattern={pattern: 5},
        alpha_pattern={pattern: 10},
    ).modules
    assert (modules["a.query"].rank, modules["a.query"].scaling) == (5, 2.0)
    assert (modules["a.value"].rank, modules["a.value"].scaling) == (2, 4.0)


def test_a_pattern_matches_tails_and_not_parts_of_a_name():
    modules = layout(linear("a.query"), alpha_pattern={"uery": 2, "y.query": 2}).modules
    assert modules["a.query"].scaling == 4.0


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "LOHA"},
        {"peft_type": None},
        {"use_dora": True},
        {"lora_bias": True},
        {"bias": "all"},
        {"trainable_token_indices": [1]},
        {"target_parameters": ["experts"]},
        {"layer_replication": [[0, 1]]},
        {"use_qalora": True},
        {"ensure_weight_tying": True},
        {"arrow_config": {"k": 1}},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
        {"init_lora_weights": "lora_ga"},
        {"peft_type": "ADALORA"},
        {"bias": "lora_only"},
        {"use_bdlora": {"nblocks": 2}},
        {"kasa_config": {"beta": 0.1}},
        {"monteclora_config": {"num_samples": 2}},
        {"alora_invocation_tokens": [1]},
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
        {"alpha_pattern": {r"(a)\2": 1}},
        {"alpha_pattern": {"(": 1}},
        {"modules_to_save": "classifier"},
        {"modules_to_save": [""]},
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
        layout(linear("m", rank=3))


def test_a_convolution_in_groups_is_refused():
    factors = convolution("m", rank=2)
    factors["base_model.model.m.lora_B.weight"] = torch.ones(5, 1, 1, 1)
    with pytest.raises(ShapeMismatch, match="without groups"):
        layout(factors)


def test_a_lone_factor_a_foreign_tensor_or_no_tensor_is_refused():
    lone = linear("m")
    del lone["base_model.model.m.lora_B.weight"]
    with pytest.raises(ShapeMismatch, match="one of its two factors"):
        layout(lone)
    for name in ("base_model.model.head.weight", "head.weight", "base_model.model.m.lora_B.bias"):
        with pytest.raises(InputError, match="no LoRA factor"):
            layout(linear("m"), {name: torch.ones(2)})
    with pytest.raises(InputError, match="no LoRA factor"):
        layout()
    with pytest.raises(InputError, match="adapted twice"):
        layout(linear("m"), embedding("m"))


def test_whole_modules_and_copies_of_the_base_are_told_apart():
    found = layout(
        embedding("words"),
        {
            "base_model.model.words.base_layer.weight": torch.ones(11, 6),
            "base_model.model.classifier.dense.bias": torch.ones(3),
        },
        modules_to_save=["classifier"],
    )
    assert found.whole == {"classifier.dense.bias": "base_model.model.classifier.dense.bias"}
    assert found.copies == {"words.weight": "base_model.model.words.base_layer.weight"}
    assert not found.is_linear
    assert layout(linear("m")).is_linear
