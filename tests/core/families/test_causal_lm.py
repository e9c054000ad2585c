"""The causal-lm family: loss on answers only, greedy text, features of the input's own tokens."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.families import attachment, causal_lm
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from rpe_core.training.loop import train
from rpe_core.training.seeding import own_random_state
from tests.pico import pico_llama, pico_texts

TASK = {"prompt": "{input} impression :", "max_new_tokens": 8}
CHAT = "{% for m in messages %}{{ '<s> the ' + m['content'] }}{% endfor %} is :"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico_llama(tmp_path_factory.mktemp("pico") / "llama")


@pytest.fixture
def base(folder):
    return causal_lm.load(str(folder), max_tokens=64)


@pytest.fixture
def texts():
    return pico_texts(np.random.default_rng(0), 12)[0]


def features_of(base, items, batch_size=32):
    found = np.full((len(items), 32), np.nan, dtype=np.float32)
    for indices, features in causal_lm.encode(base, items, batch_size=batch_size):
        assert np.isnan(found[indices]).all(), "an index came twice"
        found[indices] = features
    return found


def test_the_number_of_threads_changes_no_feature(base, texts):
    found = []
    for threads in (1, 2):
        with own_random_state(0, threads=threads):
            found.append(features_of(base, texts, batch_size=1))
            assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(*found)


def adapter_folder(place, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    deltas = {
        f"model.layers.{layer}.self_attn.{module}": LowRankDelta(
            torch.randn(4, 32, generator=generator),
            0.3 * torch.randn(rows, 4, generator=generator),
            0.5,
        )
        for layer in (0, 1)
        for module, rows in (("q_proj", 32), ("v_proj", 16))
    }
    write_adapter(place, deltas, base_name="pico", task_type="CAUSAL_LM")
    return place


def test_a_feature_is_the_mean_state_of_the_inputs_own_tokens(base, folder, texts):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = features_of(base, texts, batch_size=5)
    for text, feature in zip(texts, found, strict=True):
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            hidden = model.model(**tokens).last_hidden_state[0]
        np.testing.assert_allclose(feature, hidden.mean(dim=0).numpy(), atol=1e-5)


def test_the_feature_is_the_frozen_bases_while_an_adapter_is_attached(base, texts, tmp_path):
    before = features_of(base, texts)
    attachment.attach(base, str(adapter_folder(tmp_path / "a")))
    np.testing.assert_array_equal(features_of(base, texts), before)


def test_the_loss_is_that_of_the_answers_tokens_and_the_end(base):
    task = causal_lm.prepare(base, TASK)
    texts, answers = ["red flat", "a clear scan"], ["scan", "image of cause"]
    found = causal_lm.forward(base, task, texts, answers)[0]
    total, n_tokens = 0.0, 0
    for text, answer in zip(texts, answers, strict=True):
        prompt = base.tokenizer(f"{text} impression :")["input_ids"]
        target = base.tokenizer(f"{answer} </s>", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = base.model(torch.tensor([prompt + target])).logits[0]
        chosen = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
        total -= float(chosen[range(len(target)), target].sum())
        n_tokens += len(target)
    assert n_tokens == 6
    assert float(found.detach()) == pytest.approx(total / n_tokens, abs=1e-5)


def test_beside_the_loss_stand_features_of_the_input_within_its_prompt(base):
    task = causal_lm.prepare(base, {**TASK, "prompt": "finding {input} impression :"})
    texts, answers = ["red flat", "a clear scan"], ["scan", "image of cause"]
    _, features, logits = causal_lm.forward(base, task, texts, answers)
    assert logits.shape == (6, base.model.config.vocab_size)
    for text, found in zip(texts, features, strict=True):
        tokens = torch.tensor([base.tokenizer(f"finding {text}")["input_ids"]])
        with torch.no_grad():
            hidden = base.model.get_decoder()(tokens).last_hidden_state[0]
        torch.testing.assert_close(found.detach(), hidden[2:].mean(dim=0), atol=1e-5, rtol=1e-5)


def test_validation_weighs_every_token_alike(base, texts):
    task, answers = causal_lm.prepare(base, TASK), ["scan", "image of cause"] * 6
    whole = causal_lm.validate(base, task, texts, answers, batch_size=12)
    parts = causal_lm.validate(base, task, texts, answers, batch_size=5)
    assert whole["loss"] == pytest.approx(parts["loss"], abs=1e-5)
    assert whole["loss"] == pytest.approx(
        float(causal_lm.forward(base, task, texts, answers)[0]), abs=1e-5
    )
    assert 0.0 <= whole["score"] <= 1.0


def test_text_is_what_greedy_steps_without_a_cache_give(base, texts):
    task = causal_lm.prepare(base, TASK)
    found = causal_lm.predict(base, task, texts, batch_size=5)
    for text, made in zip(texts, found, strict=True):
        tokens = base.tokenizer(f"{text} impression :")["input_ids"]
        start = len(tokens)
        while len(tokens) < start + 8 and tokens[-1] not in base.ends:
            with torch.no_grad():
                logits = base.model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
            tokens.append(int(logits.argmax()))
        assert made == base.tokenizer.decode(tokens[start:], skip_special_tokens=True).strip()


def test_a_text_ends_before_a_stop_text(base, texts):
    free = causal_lm.predict(base, causal_lm.prepare(base, TASK), texts)
    word = free[0].split()[1]
    cut = causal_lm.predict(base, causal_lm.prepare(base, {**TASK, "stop": [word]}), texts)
    assert cut[0] == free[0].split(word)[0].strip()


def test_the_chat_template_speaks_where_there_is_one(tmp_path, texts):
    base = causal_lm.load(str(pico_llama(tmp_path / "chat", chat_template=CHAT)), max_tokens=64)
    task = causal_lm.prepare(base, {"prompt": "red {input}", "max_new_tokens": 4})
    tokens = base.tokenizer.convert_ids_to_tokens
    assert tokens(task.before) == ["<s>", "the", "red"]
    assert tokens(task.after) == ["is", ":"]


def test_an_input_that_is_too_long_loses_its_end(base):
    task = causal_lm.prepare(base, TASK)
    long, cut = "scan " * 500, "scan " * 53  # 64 - 8 to be made - <s> - impression :
    assert len(causal_lm._prompts(base, task, [long])[0]) == 56
    assert causal_lm.predict(base, task, [long])[0] == causal_lm.predict(base, task, [cut])[0]
    assert float(causal_lm.forward(base, task, [long], ["scan " * 500])[0]) > 0


@pytest.mark.parametrize("odd", ["", " \n\t", "x" * 1_000_000, "日本語 é", "a\udc80b", "\x00"])
def test_odd_texts_are_answered(base, odd):
    task = causal_lm.prepare(base, TASK)
    assert isinstance(causal_lm.predict(base, task, [odd])[0], str)
    assert np.isfinite(features_of(base, [odd])).all()


def test_prompt_and_answer_must_leave_room(base):
    with pytest.raises(ValueError, match="max_new_tokens"):
        causal_lm.prepare(base, {**TASK, "max_new_tokens": 40})


def test_scores_are_rouge_l_of_stems_and_equality(base):
    task = causal_lm.prepare(base, TASK)
    texts = np.array(["the cat runs", "no  change", ""], dtype=object)
    found = causal_lm.score(task, texts, ["the cats were running", "no change", "scan"])
    np.testing.assert_allclose(found["rouge_l"], [6 / 7, 1.0, 0.0])  # 3 of 3 and 3 of 4 words
    np.testing.assert_array_equal(found["exact_match"], [0.0, 1.0, 0.0])


def test_merged_equals_the_base_plus_the_weighted_deltas_on_logits(base, texts, tmp_path):
    folders = [adapter_folder(tmp_path / name, seed=i) for i, name in enumerate("ab")]
    weights = (1.3, -0.3)
    merge(list(zip(folders, weights, strict=True)), tmp_path / "merged")
    tokens = torch.tensor([base.tokenizer(texts[0])["input_ids"]])
    attachment.attach(base, str(tmp_path / "merged"))
    with torch.no_grad():
        merged = base.model(tokens).logits
    attachment.detach(base)
    for folder, weight in zip(folders, weights, strict=True):
        for name, delta in read_adapter(folder).deltas.items():
            base.model.get_submodule(name).weight.data += weight * delta.dense()
    with torch.no_grad():
        torch.testing.assert_close(base.model(tokens).logits, merged, atol=1e-4, rtol=0)


def test_a_folder_without_its_weights_is_refused(folder, tmp_path):
    lacking = tmp_path / "lacking"
    pico_llama(lacking)
    weights = load_file(lacking / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "layers.1" not in name}
    save_file(kept, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights"):
        causal_lm.load(str(lacking), max_tokens=64)


def test_a_llama_of_real_size_has_the_names_that_an_adapter_names():
    config = LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=131_072,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {name: tuple(module.weight.shape) for name, module in model.named_modules()
              if name.startswith("model.layers.31.self_attn.")}  # fmt: skip
    assert shapes["model.layers.31.self_attn.v_proj"] == (1024, 4096)
    assert callable(model.get_decoder)


def test_a_base_in_4_bits_needs_its_package_and_then_trains_like_any_other(folder):
    if find_spec("bitsandbytes") is None:
        with pytest.raises(ValueError, match="bitsandbytes"):
            causal_lm.load(str(folder), max_tokens=48, dtype="nf4")
        return
    base = causal_lm.load(str(folder), max_tokens=48, dtype="nf4")
    task = causal_lm.prepare(base, TASK)
    before = causal_lm.predict(base, task, ["red scan"]).tolist()
    recipe = Recipe("lora", 2, 4, 2, 1e-2, 4, 0, ("q_proj", "v_proj"))
    trained = train(causal_lm, base, task, ["red"] * 8, ["scan"] * 8, [], [], recipe)
    assert all(delta.b.abs().max() > 0 for delta in trained.deltas.values())
    assert causal_lm.predict(base, task, ["red scan"]).tolist() == before
