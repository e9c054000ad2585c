"""PEFT and transformers as the oracle of a fold into bases whose files and memory differ.

What was trained is PEFT's model with the adapter beside it. Its `merge_and_unload` is the same but
where the adapted weight is tied: there it changes both, in place, and warns of it.
"""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.merging.manifest import MANIFEST
from rpe_core.merging.merge import merge
from tests.foreign_bases import (
    N_TOKENS,
    TOKENS,
    WIDTH,
    adapted_by_peft,
    filled,
    furthest,
    linear_names,
    merged_by_peft,
    trained,
    written,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft.*"),
]
RENAMED = [
    *("gpt-neox", "mixtral", "gemma3", "paligemma", "llava", "mistral3", "qwen2-vl", "qwen2.5-vl"),
    *("vit", "vit-headless", "deit", "dinov2", "swin", "t5", "bart"),
]
EMBEDDINGS = {
    "falcon": "word_embeddings",
    "gpt-neox": "embed_in",
    "gpt-neox-tied": "embed_in",
    "gpt2": "wte",
    "openai-gpt": "tokens_embed",
}
LAYERS = {
    "falcon": "query_key_value",
    "gpt-neox": "query_key_value",
    "gpt-neox-tied": "query_key_value",
    "gpt2": "c_attn",
    "openai-gpt": "c_attn",
}
TIED = ["llama-tied", "gemma", "gpt-neox-tied", "opt", "falcon", "gpt2", "openai-gpt"]
COMPOSITES = ["gemma3", "paligemma", "mistral3"]
UNTIED = ["llama", "gpt-neox", "llava"]
WAYS = ["lora head", "lora embedding", "lora both", "save head", "save embedding", "save both"]


def way(kind, name):
    """What PEFT is told: a layer, and the output layer, the embedding or both, by LoRA or whole."""
    how, what = name.split()
    tensors = {
        "head": ["lm_head"],
        "embedding": [EMBEDDINGS.get(kind, "embed_tokens")],
        "both": ["lm_head", EMBEDDINGS.get(kind, "embed_tokens")],
    }[what]
    layers = [LAYERS.get(kind, "q_proj")]
    if how == "lora":
        return {"target_modules": layers + tensors}
    return {"target_modules": layers, "modules_to_save": tensors}


def logits(kind, model):
    more = {"token_type_ids": torch.zeros_like(TOKENS)} if kind in ("gemma3", "paligemma") else {}
    with torch.no_grad():
        return model(input_ids=TOKENS, **more).logits


def folded(model, folder, base, out, **how):
    """The report, and the new checkpoint as transformers loads it; it must tell of nothing odd."""
    report = merge([(folder, 1.0)], out, method="fold", base=base)
    made, found = type(model).from_pretrained(out, output_loading_info=True, **how)
    assert not found["missing_keys"]
    assert not found["mismatched_keys"]
    return report, made.eval()


@pytest.mark.parametrize("kind", RENAMED)
def test_every_linear_layer_is_found_in_the_files(tmp_path, kind):
    model = written(kind, tmp_path / "base")
    trained(model, tmp_path / "a", target_modules=linear_names(model))
    _, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    assert furthest(model, ours) > 0.1
    assert furthest(ours, merged_by_peft(model, tmp_path / "a")) < 1e-5


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("kind", [*TIED, *COMPOSITES, *UNTIED])
def test_embedding_and_output_layer_change_as_they_were_trained(tmp_path, kind, name):
    model = written(kind, tmp_path / "base")
    trained(model, tmp_path / "a", **way(kind, name))
    report, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    exact = logits(kind, adapted_by_peft(model, tmp_path / "a"))
    assert float((logits(kind, model) - exact).abs().max()) > 0.1
    torch.testing.assert_close(logits(kind, ours), exact, rtol=1e-5, atol=1e-5)
    is_tied = kind not in UNTIED
    assert report.is_untied == is_tied
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert config.get("text_config", {}).get("tie_word_embeddings") in (None, False)
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["is_untied"] == is_tied


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("kind", ["llama-tied", "gemma3", "gpt-neox"])
def test_an_adapter_of_them_counts_from_the_tied_weight(tmp_path, kind, name):
    model = written(kind, tmp_path / "base")
    trained(model, tmp_path / "a", **way(kind, name))
    for method in ("concat", "svd"):
        merge([(tmp_path / "a", 1.0)], tmp_path / method, method=method, base=tmp_path / "base")
        exact, ours = (adapted_by_peft(model, tmp_path / each) for each in ("a", method))
        torch.testing.assert_close(logits(kind, ours), logits(kind, exact), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama-tied", "gemma3"])
def test_in_a_sharded_checkpoint_the_index_names_both(tmp_path, kind):
    model = written(kind, tmp_path / "base", max_shard_size="10KB")
    trained(model, tmp_path / "a", **way(kind, "save embedding"))
    _, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    exact = logits(kind, adapted_by_peft(model, tmp_path / "a"))
    torch.testing.assert_close(logits(kind, ours), exact, rtol=1e-5, atol=1e-5)
    before, after = (
        json.loads((tmp_path / folder / "model.safetensors.index.json").read_text())
        for folder in ("base", "out")
    )
    (added,) = set(after["weight_map"]) - set(before["weight_map"])
    assert added.endswith("lm_head.weight")
    grown = after["metadata"]["total_size"] - before["metadata"]["total_size"]
    assert grown == 4 * N_TOKENS * WIDTH
    for file in set(after["weight_map"].values()):
        names = {name for name, home in after["weight_map"].items() if home == file}
        assert set(load_file(tmp_path / "out" / file)) == names


def test_a_layer_alone_leaves_the_tie_and_every_other_byte(tmp_path):
    model = written("llama-tied", tmp_path / "base")
    trained(model, tmp_path / "a", target_modules=["q_proj"])
    report, _ = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    assert not report.is_untied
    config = (tmp_path / "out" / "config.json").read_bytes()
    assert config == (tmp_path / "base" / "config.json").read_bytes()


@pytest.mark.parametrize("are_equal", [True, False])
def test_a_checkpoint_that_holds_both_is_tied_where_they_are_equal(tmp_path, are_equal):
    model = written("llama-tied", tmp_path / "base")
    state = load_file(tmp_path / "base" / "model.safetensors")
    words = state["model.embed_tokens.weight"]
    state["lm_head.weight"] = words.clone() if are_equal else words + 1.0
    save_file(state, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    model = type(model).from_pretrained(tmp_path / "base")
    trained(model, tmp_path / "a", **way("llama", "save embedding"))
    report, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    assert report.is_untied == are_equal
    exact = logits("llama", adapted_by_peft(model, tmp_path / "a"))
    torch.testing.assert_close(logits("llama", ours), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "gemma3"])
def test_an_old_configuration_that_says_nothing_is_that_of_a_tied_base(tmp_path, kind):
    model = written(kind, tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    for part in (config, config.get("text_config", {})):
        part.pop("tie_word_embeddings", None)
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    trained(model, tmp_path / "a", **way(kind, "save embedding"))
    report, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    assert report.is_untied
    exact = logits(kind, adapted_by_peft(model, tmp_path / "a"))
    torch.testing.assert_close(logits(kind, ours), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [*TIED, "gemma3", "llama"])
def test_a_configuration_without_architectures_is_that_of_a_decoder_by_its_names(tmp_path, kind):
    """As of a folder that a trainer wrote by hand; the adapter names no task either."""
    model = written(kind, tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    trained(model, tmp_path / "a", **way(kind, "save embedding"))
    report, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    exact = logits(kind, adapted_by_peft(model, tmp_path / "a"))
    torch.testing.assert_close(logits(kind, ours), exact, rtol=1e-5, atol=1e-5)
    assert report.is_untied == (kind != "llama")


def test_an_encoder_without_architectures_keeps_its_embedding_alone(tmp_path):
    model = filled(BertModel(written("bert", tmp_path / "own").config))
    model.save_pretrained(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    settings = {"target_modules": ["query"], "modules_to_save": ["word_embeddings"]}
    trained(model, tmp_path / "a", **settings)
    report, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    assert furthest(model, ours) > 0.1
    assert furthest(ours, merged_by_peft(model, tmp_path / "a")) < 1e-5
    assert not report.is_untied


@pytest.mark.parametrize("shard", ["1GB", "10KB"])
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt", "falcon", "llama-tied"])
def test_files_that_name_the_model_below_the_head(tmp_path, kind, name, shard):
    """As GPT-2's on the hub do: no prefix, though the configuration names a model with a head."""
    model = written(kind, tmp_path / "own")
    model.base_model.save_pretrained(tmp_path / "base", max_shard_size=shard)
    (tmp_path / "base" / "config.json").write_bytes((tmp_path / "own" / "config.json").read_bytes())
    model = type(model).from_pretrained(tmp_path / "base").eval()
    trained(model, tmp_path / "a", **way(kind, name))
    report, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    exact = logits(kind, adapted_by_peft(model, tmp_path / "a"))
    assert float((logits(kind, model) - exact).abs().max()) > 0.1
    torch.testing.assert_close(logits(kind, ours), exact, rtol=1e-5, atol=1e-5)
    assert report.is_untied


def test_one_file_goes_before_an_index_as_in_transformers(tmp_path):
    model = written("llama", tmp_path / "base")
    other = written("llama", tmp_path / "other", max_shard_size="10KB")
    for path in (tmp_path / "other").glob("model*"):
        path.rename(tmp_path / "base" / path.name)
    state = load_file(tmp_path / "base" / "model.safetensors")
    state["model.norm.weight"] += 1.0
    save_file(state, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    model = type(other).from_pretrained(tmp_path / "base").eval()
    trained(model, tmp_path / "a", target_modules=["q_proj"])
    report, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    exact = logits("llama", adapted_by_peft(model, tmp_path / "a"))
    torch.testing.assert_close(logits("llama", ours), exact, rtol=1e-5, atol=1e-5)
    assert "model.safetensors.index.json" in report.left_out


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("t5", {"target_modules": ["q"], "modules_to_save": ["lm_head"]}),
        ("bart", {"target_modules": ["shared"]}),
        ("bert", {"target_modules": ["query"], "modules_to_save": ["word_embeddings"]}),
    ],
)
def test_a_tie_of_more_than_two_is_refused(tmp_path, kind, config):
    model = written(kind, tmp_path / "base")
    trained(model, tmp_path / "a", **config)
    with pytest.raises(InputError, match="output layer too"):
        merge([(tmp_path / "a", 1.0)], tmp_path / "out", method="fold", base=tmp_path / "base")
    assert not (tmp_path / "out").exists()


CONV1D = ["gpt2", "gpt2-untied", "openai-gpt", "imagegpt", "gpt-bigcode"]
GPT2 = ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]


@pytest.mark.parametrize("flag", [None, True, False])
@pytest.mark.parametrize(
    "targets", [["attn.c_proj"], ["lm_head"], ["attn.c_proj", "lm_head"], [*GPT2, "lm_head"]]
)
@pytest.mark.parametrize("kind", CONV1D)
def test_a_weight_lies_as_its_layer_has_it_whatever_the_flag(tmp_path, kind, targets, flag):
    model = written(kind, tmp_path / "base")
    trained(model, tmp_path / "a", target_modules=targets)
    exact = logits(kind, adapted_by_peft(model, tmp_path / "a"))
    said(tmp_path / "a", flag)
    _, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    torch.testing.assert_close(logits(kind, ours), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "targets"),
    [("llama", ["q_proj", "o_proj"]), ("bert", ["query"]), ("vit", ["q_proj", "o_proj"])],
)
def test_a_square_linear_layer_is_never_turned(tmp_path, kind, targets):
    model = written(kind, tmp_path / "base")
    trained(model, tmp_path / "a", target_modules=targets)
    exact = merged_by_peft(model, tmp_path / "a")
    said(tmp_path / "a", True)
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    for names in (config, {**config, "model_type": "of_their_own"}):
        (tmp_path / "base" / "config.json").write_text(json.dumps(names))
        out = tmp_path / names["model_type"]
        merge([(tmp_path / "a", 1.0)], out, method="fold", base=tmp_path / "base")
        found, wanted = load_file(out / "model.safetensors"), tmp_path / "wanted"
        exact.save_pretrained(wanted)
        for key, tensor in load_file(wanted / "model.safetensors").items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "others"),
    [
        ("llama", ["v_proj"]),
        ("llama", ["k_proj", "down_proj"]),
        ("llama", ["lm_head"]),
        ("llama-biased", ["down_proj"]),
        ("llama-biased", ["lm_head"]),
    ],
)
def test_layers_beside_it_that_are_not_square_tell_of_a_linear_one(tmp_path, kind, others):
    model = written(kind, tmp_path / "base")
    trained(model, tmp_path / "a", target_modules=["q_proj", "o_proj", *others])
    exact = logits("llama", adapted_by_peft(model, tmp_path / "a"))
    said(tmp_path / "a", True)
    _, ours = folded(model, tmp_path / "a", tmp_path / "base", tmp_path / "out")
    torch.testing.assert_close(logits("llama", ours), exact, rtol=1e-5, atol=1e-5)


def test_a_model_of_another_name_with_such_layers_tells_by_its_biases(tmp_path):
    model = written("gpt2", tmp_path / "base")
    trained(model, tmp_path / "a", target_modules=["attn.c_proj"])
    exact = logits("gpt2", adapted_by_peft(model, tmp_path / "a"))
    said(tmp_path / "a", False)
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    told = json.dumps({**config, "model_type": "of_their_own"})
    (tmp_path / "base" / "config.json").write_text(told)
    merge([(tmp_path / "a", 1.0)], tmp_path / "out", method="fold", base=tmp_path / "base")
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    ours = type(model).from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(logits("gpt2", ours), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["concat", "svd", "dense", "fold"])
def test_members_may_differ_in_the_flag(tmp_path, method):
    model = written("gpt2-untied", tmp_path / "base")
    for i, flag in enumerate((True, False)):
        trained(model, tmp_path / f"a{i}", seed=i, target_modules=["c_attn", "attn.c_proj"])
        said(tmp_path / f"a{i}", flag)
    members = [(tmp_path / "a0", 0.6), (tmp_path / "a1", 0.4)]
    peft = adapted_by_peft(model, tmp_path / "a0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft.load_adapter(tmp_path / "a1", adapter_name="a1")
        peft.add_weighted_adapter(["default", "a1"], [0.6, 0.4], "both", combination_type="cat")
    peft.set_adapter("both")
    exact = logits("gpt2", peft)
    how = {"rank": 6} if method == "svd" else {}
    base = {"base": tmp_path / "base"} if method == "fold" else {}
    merge(members, tmp_path / "out", method=method, **how, **base)
    if method == "fold":
        ours = type(model).from_pretrained(tmp_path / "out").eval()
    else:
        ours = adapted_by_peft(model, tmp_path / "out")
    torch.testing.assert_close(logits("gpt2", ours), exact, rtol=1e-4, atol=1e-5)


def said(folder, flag):
    """Let the adapter say this of fan_in_fan_out, whatever PEFT left there."""
    if flag is None:
        return
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "fan_in_fan_out": flag}))


@pytest.mark.parametrize("method", ["concat", "fold"])
@pytest.mark.parametrize("kind", ["llama", "llama-tied", "gemma3"])
def test_a_resized_vocabulary_is_called_that(tmp_path, kind, method):
    model = written(kind, tmp_path / "base")
    model.resize_token_embeddings(N_TOKENS + 3)
    trained(model, tmp_path / "kept", target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    trained(model, tmp_path / "both", **way(kind, "lora both"))
    for name in ("kept", "both"):
        with pytest.raises(ShapeMismatch, match=r"trained with 43 tokens, the base has 40"):
            merge([(tmp_path / name, 1.0)], tmp_path / "o", method=method, base=tmp_path / "base")


def test_a_vocabulary_that_grew_beside_the_adapter_is_called_that(tmp_path):
    """PEFT saves both embeddings by itself then, and names them in no key of the configuration."""
    model = written("llama-tied", tmp_path / "base")
    model.resize_token_embeddings(N_TOKENS + 3)
    trained(model, tmp_path / "a", target_modules=["q_proj"])
    state = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert state["base_model.model.lm_head.weight"].shape == (N_TOKENS + 3, WIDTH)
    with pytest.raises(ShapeMismatch, match=r"trained with 43 tokens, the base has 40"):
        merge([(tmp_path / "a", 1.0)], tmp_path / "out", method="fold", base=tmp_path / "base")


@pytest.mark.parametrize("targets", [["q_proj"], ["v_proj"], "all-linear", ".*k_proj"])
def test_an_adapter_of_whole_tensors_alone_is_one_that_peft_loads(tmp_path, targets):
    model = written("llama", tmp_path / "base")
    for i, named in enumerate((["q_proj"], targets)):
        folder = tmp_path / f"a{i}"
        trained(model, folder, seed=i, target_modules=named, modules_to_save=["lm_head"])
        state = load_file(folder / "adapter_model.safetensors")
        kept = {name: tensor for name, tensor in state.items() if "lora_" not in name}
        save_file(kept, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = json.loads((folder / "adapter_config.json").read_text())
        told = json.dumps({**config, "target_modules": named})
        (folder / "adapter_config.json").write_text(told)
    members = [(tmp_path / "a0", 0.5), (tmp_path / "a1", 0.5)]
    one, two = (
        load_file(folder / "adapter_model.safetensors")["base_model.model.lm_head.weight"]
        for folder, _ in members
    )
    exact = {**model.state_dict(), "lm_head.weight": (one + two) / 2}
    for method in ("concat", "svd", "dense"):
        merge(members, tmp_path / method, method=method, base=tmp_path / "base")
        ours = logits("llama", adapted_by_peft(model, tmp_path / method))
        model.load_state_dict(exact)
        torch.testing.assert_close(ours, logits("llama", model), rtol=1e-5, atol=1e-5)
