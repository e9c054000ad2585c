"""PEFT 0.21.2 as the independent formula: `cat` agrees with us, `linear` is no weighted sum."""

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import BertConfig, BertModel

from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import read_adapter

# PEFT 0.21 asks transformers 5 for an attribute that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

WEIGHTS = (0.8, -0.35, 0.55)
TOKENS = torch.tensor([[1, 5, 9, 3], [2, 2, 7, 0]])


def _base():
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
    )
    model = BertModel(config).eval()
    rng = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng)
    return model


BASE = _base()


def _fill(model, seed):
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng)


def _adapter(folder, seed, **config):
    given = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"], **config}
    model = get_peft_model(copy.deepcopy(BASE), LoraConfig(**given))
    _fill(model, seed)
    model.save_pretrained(folder)
    return folder


def _loaded(folder):
    return PeftModel.from_pretrained(copy.deepcopy(BASE), folder).eval()


def _delta_weights(model, name="default"):
    return {
        module.removeprefix("base_model.model."): layer.get_delta_weight(name).double()
        for module, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }


def _dense_sum(folders, weights=WEIGHTS):
    total = {}
    for folder, weight in zip(folders, weights, strict=True):
        for module, delta in _delta_weights(_loaded(folder)).items():
            total[module] = total.get(module, 0.0) + weight * delta
    return total


def _error(found, exact):
    lost = sum(float((found[module] - exact[module]).square().sum()) for module in exact)
    return (lost / sum(float(delta.square().sum()) for delta in exact.values())) ** 0.5


def _by_peft(folders, combination_type, weights=WEIGHTS):
    model = PeftModel.from_pretrained(copy.deepcopy(BASE), folders[0], adapter_name="a0")
    for i, folder in enumerate(folders[1:], start=1):
        model.load_adapter(folder, adapter_name=f"a{i}")
    names = [f"a{i}" for i in range(len(folders))]
    model.add_weighted_adapter(names, list(weights), "merged", combination_type=combination_type)
    return _delta_weights(model, "merged")


KINDS = {
    "plain": [{}, {}, {}],
    "mixed ranks and alphas": [{"r": 2}, {"r": 4, "lora_alpha": 3}, {"r": 8, "lora_alpha": 32}],
    "rslora": [{"use_rslora": True}, {}, {"use_rslora": True, "r": 2}],
    "patterns": [
        {"rank_pattern": {"layer.0.attention.self.query": 6}},
        {"alpha_pattern": {"value": 1}},
        {"rank_pattern": {r"^encoder\.layer\.1.*\.value": 3}, "alpha_pattern": {"query": 5}},
    ],
    "other modules": [{}, {"target_modules": ["query"]}, {"target_modules": ["key", "value"]}],
    "one layer": [{"layers_to_transform": [0]}, {}, {"layers_to_transform": [1]}],
}


@pytest.fixture(params=sorted(KINDS))
def folders(request, tmp_path):
    configs = KINDS[request.param]
    return [str(_adapter(tmp_path / f"a{i}", i, **config)) for i, config in enumerate(configs)]


@pytest.mark.parametrize("method", ["concat", "svd", "dense"])
def test_a_merged_folder_loads_in_peft_and_is_the_weighted_sum(folders, tmp_path, method):
    rank = 16 if method == "svd" else None
    members = list(zip(folders, WEIGHTS, strict=True))
    merge(members, tmp_path / "out", method=method, rank=rank)
    merged, exact = _loaded(tmp_path / "out"), _dense_sum(folders)
    found = _delta_weights(merged)
    assert set(found) == set(exact)
    assert _error(found, exact) <= 1e-6


def test_the_merged_model_computes_what_the_dense_sum_computes(folders, tmp_path):
    merge(list(zip(folders, WEIGHTS, strict=True)), tmp_path / "out")
    by_hand = copy.deepcopy(BASE)
    with torch.no_grad():
        for module, delta in _dense_sum(folders).items():
            by_hand.get_submodule(module).weight += delta.float()
        expected = by_hand(TOKENS).last_hidden_state
        found = _loaded(tmp_path / "out")(TOKENS).last_hidden_state
        untouched = BASE(TOKENS).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float((found - untouched).abs().max()) > 0.01


def test_our_reading_of_an_adapter_is_peft_s(folders):
    for folder in folders:
        ours = read_adapter(Path(folder)).deltas
        theirs = _delta_weights(_loaded(folder))
        assert set(ours) == set(theirs)
        dense = {module: delta.dense(dtype=torch.float64) for module, delta in ours.items()}
        assert _error(dense, theirs) <= 1e-6


@pytest.mark.parametrize("kind", ["plain", "mixed ranks and alphas"])
def test_concat_is_peft_cat(tmp_path, kind):
    folders = [str(_adapter(tmp_path / f"a{i}", i, **c)) for i, c in enumerate(KINDS[kind])]
    merge(list(zip(folders, WEIGHTS, strict=True)), tmp_path / "out")
    ours = _delta_weights(_loaded(tmp_path / "out"))
    assert _error(ours, _by_peft(folders, "cat")) <= 1e-6


def test_peft_linear_is_far_from_the_weighted_sum(tmp_path):
    """Factors are added apart, so their products mix: more error than signal here (1.2 to 1.4)."""
    errors = []
    for seed in range(0, 30, 3):
        folders = [str(_adapter(tmp_path / f"a{seed + i}", seed + i)) for i in range(3)]
        exact = _dense_sum(folders, (0.5, 0.3, 0.2))
        errors.append(_error(_by_peft(folders, "linear", (0.5, 0.3, 0.2)), exact))
    print("PEFT linear, relative error:", [round(error, 2) for error in errors])
    assert min(errors) > 0.5


def test_peft_overscales_where_the_first_adapter_is_rslora_and_we_do_not(tmp_path):
    configs = ({"use_rslora": True}, {}, {})
    folders = [str(_adapter(tmp_path / f"a{i}", i, **c)) for i, c in enumerate(configs)]
    exact = _dense_sum(folders)
    theirs = _by_peft(folders, "cat")
    factor = {module: delta * 12**0.5 for module, delta in exact.items()}
    assert _error(theirs, factor) <= 1e-5
    merge(list(zip(folders, WEIGHTS, strict=True)), tmp_path / "out")
    assert _error(_delta_weights(_loaded(tmp_path / "out")), exact) <= 1e-6
