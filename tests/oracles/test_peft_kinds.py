"""PEFT 0.21.2 as the oracle for embeddings, convolutions, Conv1D, whole modules, and for a fold."""

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from rpe_core.merging.merge import merge

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    # PEFT tells that it saves embeddings, and cannot ask the hub for the base's configuration
    pytest.mark.filterwarnings("ignore::UserWarning:peft.*"),
]
WEIGHTS = (0.8, -0.35)
TOKENS = torch.tensor([[1, 5, 9, 3], [2, 2, 7, 0]])


class Mixed(nn.Module):
    """One layer of each kind, none of them square."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.linear = nn.Linear(6, 10)
        self.gpt = Conv1D(7, 10)
        self.pixels = nn.Conv2d(3, 5, (3, 2))
        self.dots = nn.Conv2d(5, 4, 1)

    def forward(self, tokens):
        pixels = self.dots(self.pixels(torch.ones(1, 3, 4, 4))).sum()
        return self.gpt(self.linear(self.words(tokens))) + pixels


def filled(model, seed):
    rng = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(model.named_parameters()):
        parameter.data = (0.3 * torch.randn(parameter.shape, generator=rng)).to(parameter.dtype)
    return model.eval()


def adapter(base, folder, seed, **config):
    model = get_peft_model(copy.deepcopy(base), LoraConfig(**{"r": 3, "lora_alpha": 5, **config}))
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name or "modules_to_save" in name:
            fresh = 0.3 * torch.randn(parameter.shape, generator=rng)
            parameter.data = fresh.to(parameter.dtype)
    model.save_pretrained(folder)
    return folder


def delta_weights(model, name="default"):
    return {
        module: layer.get_delta_weight(name).detach().double()
        for module, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }


def by_cat(base, folders):
    model = PeftModel.from_pretrained(copy.deepcopy(base), folders[0], adapter_name="a0")
    model.load_adapter(folders[1], adapter_name="a1")
    model.add_weighted_adapter(["a0", "a1"], list(WEIGHTS), "merged", combination_type="cat")
    model.set_adapter("merged")
    return model.eval()


KINDS = {
    "linear, embedding, convolutions": (["words", "linear", "pixels", "dots"], {}),
    "Conv1D": (["gpt"], {"fan_in_fan_out": True}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["concat", "svd", "dense"])
def test_every_kind_of_layer_is_merged_as_pefts_cat_merges_it(tmp_path, kind, method):
    targets, more = KINDS[kind]
    base = filled(Mixed(), 7)
    folders = [
        adapter(base, tmp_path / f"a{i}", i, target_modules=targets, r=i + 2, **more)
        for i in range(2)
    ]
    rank = 5 if method == "svd" else None
    merge(list(zip(folders, WEIGHTS, strict=True)), tmp_path / "out", method=method, rank=rank)
    ours = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "out").eval()
    theirs = by_cat(base, folders)
    found, exact = delta_weights(ours), delta_weights(theirs, "merged")
    assert set(found) == set(exact)
    for module, delta in exact.items():
        assert float((found[module] - delta).norm()) <= 2e-6 * float(delta.norm())
    with torch.no_grad():
        torch.testing.assert_close(ours(TOKENS), theirs(TOKENS), rtol=1e-4, atol=1e-4)


def llama(dtype):
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16,
        tie_word_embeddings=False,
    )
    return filled(LlamaForCausalLM(config), 3).to(dtype)


LINEAR = ["q_proj", "k_proj", "o_proj", "gate_proj", "down_proj"]


@pytest.mark.parametrize("shard", ["10KB", "1GB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fold_is_pefts_merge_and_unload(tmp_path, dtype, shard):
    base = llama(dtype)
    base.save_pretrained(tmp_path / "base", max_shard_size=shard)
    folders = [adapter(base, tmp_path / f"a{i}", i, target_modules=LINEAR) for i in range(2)]
    members = list(zip(folders, WEIGHTS, strict=True))
    merge(members, tmp_path / "out", method="fold", base=tmp_path / "base")
    ours = LlamaForCausalLM.from_pretrained(tmp_path / "out", dtype=dtype).eval()
    theirs = by_cat(base.float(), folders).merge_and_unload().to(dtype)
    unit = torch.finfo(dtype).eps
    for (name, found), (_, exact) in zip(
        sorted(ours.state_dict().items()), sorted(theirs.state_dict().items()), strict=True
    ):
        assert found.dtype == dtype
        assert float((found - exact).abs().max()) <= 2 * unit * float(exact.abs().max()), name
    with torch.no_grad():
        difference = (ours(TOKENS).logits - theirs(TOKENS).logits).abs().max()
    assert float(difference) <= 40 * unit


def test_modules_to_save_and_embeddings_load_in_peft_as_merged(tmp_path):
    base = llama(torch.float32)
    base.save_pretrained(tmp_path / "base")
    config = {"target_modules": ["embed_tokens", "q_proj"], "modules_to_save": ["lm_head"]}
    folders = [adapter(base, tmp_path / f"a{i}", i, **config) for i in range(2)]
    members = list(zip(folders, WEIGHTS, strict=True))
    merge(members, tmp_path / "out", base=tmp_path / "base")
    ours = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "out").eval()
    heads = [
        PeftModel.from_pretrained(copy.deepcopy(base), folder).base_model.model.lm_head
        for folder in folders
    ]
    start = base.lm_head.weight
    trained = [head.modules_to_save["default"].weight for head in heads]
    exact = start + sum(w * (one - start) for w, one in zip(WEIGHTS, trained, strict=True))
    found = ours.base_model.model.lm_head.modules_to_save["default"].weight
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)
    merge(members, tmp_path / "fold", method="fold", base=tmp_path / "base")
    folded = LlamaForCausalLM.from_pretrained(tmp_path / "fold").eval()
    with torch.no_grad():
        torch.testing.assert_close(folded(TOKENS).logits, ours(TOKENS).logits, rtol=1e-4, atol=1e-4)
