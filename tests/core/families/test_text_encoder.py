import logging
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from rpe_core.delta import LowRankDelta
from rpe_core.errors import UnknownName
from rpe_core.families import attachment, text_encoder
from rpe_core.families.table import FAMILIES, Family, family_source, load_family
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from rpe_core.training.seeding import own_random_state
from tests.pico import LABELS, pico_encoder, pico_texts

ODD = [
    "",
    " ",
    "\n\t",
    "x" * 3_000_000,
    "scan " * 5000,
    "日本語 é 🫀 ﷽",
    "a\udc80b",
    "\x00",
    "[MASK]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico_encoder(tmp_path_factory.mktemp("pico") / "base")


@pytest.fixture
def base(folder):
    return text_encoder.load(str(folder), max_tokens=32)


@pytest.fixture
def texts():
    return pico_texts(np.random.default_rng(0), 60)


def features_of(base, items, batch_size=32):
    found = np.full((len(items), 32), np.nan, dtype=np.float32)
    for indices, features in text_encoder.encode(base, items, batch_size=batch_size):
        assert np.isnan(found[indices]).all(), "an index came twice"
        assert features.dtype == np.float32
        found[indices] = features
    return found


def adapter_folder(place, *, seed=0, modules=("query", "value"), size=0.5):
    generator = torch.Generator().manual_seed(seed)
    deltas = {
        f"encoder.layer.{layer}.attention.self.{module}": LowRankDelta(
            torch.randn(4, 32, generator=generator),
            size * torch.randn(32, 4, generator=generator),
            0.5,
        )
        for layer in (0, 1)
        for module in modules
    }
    write_adapter(place, deltas, base_name="pico", task_type=None)
    return str(place)


def test_a_feature_is_the_masked_mean_of_the_last_hidden_state(base, folder, texts):
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = features_of(base, texts[0][:5])
    for text, feature in zip(texts[0][:5], found, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**tokens).last_hidden_state[0]
        np.testing.assert_allclose(feature, hidden.mean(dim=0).numpy(), atol=1e-6)


@pytest.mark.parametrize("batch_size", [2, 7, 1000])
def test_results_do_not_depend_on_the_batch_size(base, texts, batch_size):
    items = [*texts[0], *ODD]
    one = features_of(base, items, 1)
    length = np.linalg.norm(one, axis=1).max()
    np.testing.assert_allclose(features_of(base, items, batch_size), one, atol=1e-6 * length)
    task = text_encoder.prepare(base, {"labels": LABELS})
    np.testing.assert_allclose(
        text_encoder.predict(base, task, items, batch_size=batch_size),
        text_encoder.predict(base, task, items, batch_size=1),
        atol=1e-5,
    )


def test_windows_are_seamless(base, texts, monkeypatch):
    whole = features_of(base, texts[0])
    monkeypatch.setattr(text_encoder, "WINDOW", 7)
    np.testing.assert_allclose(features_of(base, texts[0]), whole, atol=1e-6)
    assert (text_encoder.sizes(base, texts[0]) > 2).all()


def test_the_number_of_threads_changes_no_bit(base, texts, monkeypatch):
    monkeypatch.setattr(text_encoder, "CHUNK_TOKENS", 64)
    task, found = text_encoder.prepare(base, {"labels": LABELS}), []
    for threads in (1, 2):
        with own_random_state(0, threads=threads):
            found.append((features_of(base, texts[0]), text_encoder.predict(base, task, texts[0])))
            assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_chunks_keep_every_row_in_order_small_and_hardly_padded():
    rng = np.random.default_rng(0)
    rows = [[index] * length for index, length in enumerate(np.sort(rng.integers(1, 97, 500)))]
    chunks = list(text_encoder._chunks(rows, 32, text_encoder.CHUNK_TOKENS))
    assert [row for chunk in chunks for row in chunk] == rows
    assert max(map(len, chunks)) == 32
    for chunk in chunks[:-1]:
        size, text = len(chunk) * len(chunk[-1]), sum(map(len, chunk))
        assert size <= text_encoder.CHUNK_TOKENS
        assert size <= text_encoder.PADDING * text or text <= 2 * text_encoder.FEW_TOKENS
    assert list(text_encoder._chunks(rows, None, None)) == [rows]


def test_a_gradient_does_not_depend_on_the_chunks(base, texts, monkeypatch):
    task = text_encoder.prepare(base, {"labels": LABELS})
    weight = base.model.get_submodule("encoder.layer.0.attention.self.query").weight
    weight.requires_grad_()
    found = []
    for chunk_tokens in (text_encoder.CHUNK_TOKENS, 64):
        monkeypatch.setattr(text_encoder, "CHUNK_TOKENS", chunk_tokens)
        text_encoder.forward(base, task, *texts)[0].backward()
        found.append(weight.grad)
        weight.grad = None
    assert float(found[0].norm()) > 0
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-5)


def test_odd_texts_have_finite_features_and_probabilities(base):
    assert np.isfinite(features_of(base, ODD)).all()
    probabilities = text_encoder.predict(base, text_encoder.prepare(base, {"labels": LABELS}), ODD)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)
    assert text_encoder.sizes(base, ODD).max() == 32


def test_no_item_at_all(base):
    task = text_encoder.prepare(base, {"labels": LABELS})
    assert list(text_encoder.encode(base, [])) == []
    assert text_encoder.predict(base, task, []).shape == (0, 3)


def test_batches_are_sorted_by_length_and_repeat(base, texts):
    sizes = text_encoder.sizes(base, texts[0])
    first = [indices for indices, _ in text_encoder.encode(base, texts[0], batch_size=8)]
    again = [indices for indices, _ in text_encoder.encode(base, texts[0], batch_size=8)]
    order = np.concatenate(first)
    assert (np.diff(sizes[order]) >= 0).all()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_probabilities_are_a_softmax_of_twenty_cosines(base, texts):
    task = text_encoder.prepare(base, {"labels": LABELS})
    anchors = features_of(base, list(LABELS.values()))
    features = features_of(base, texts[0])
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, anchors)]
    logits = 20 * unit[0] @ unit[1].T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = text_encoder.predict(base, task, texts[0])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    truth = [task.labels.index(label) for label in texts[1]]
    nats = -np.log(expected[np.arange(len(truth)), truth]).mean()
    loss = text_encoder.forward(base, task, *texts)[0]
    assert float(loss) == pytest.approx(nats, abs=1e-5)
    assert text_encoder.validate(base, task, *texts)["loss"] == pytest.approx(nats, abs=1e-5)


def test_beside_the_loss_stand_features_and_logits(base, texts):
    task = text_encoder.prepare(base, {"labels": LABELS})
    _, features, logits = text_encoder.forward(base, task, *texts)
    np.testing.assert_allclose(features.detach(), features_of(base, texts[0]), atol=1e-5)
    cosines = torch.nn.functional.normalize(features, dim=-1) @ task.anchors.T
    torch.testing.assert_close(logits, 20 * cosines)


def test_label_features_are_the_anchors_and_varied_ones_the_mean_over_templates(base):
    task = text_encoder.prepare(base, {"labels": LABELS})
    torch.testing.assert_close(text_encoder.label_features(base, task), task.anchors)
    varied = text_encoder.label_features(base, task, is_varied=True)
    for prompt, found in zip(LABELS.values(), varied, strict=True):
        rows = features_of(base, [one.format(prompt) for one in text_encoder.TEMPLATES])
        mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(found.detach(), mean / np.linalg.norm(mean), atol=1e-5)


def test_scores_per_item(base):
    task = text_encoder.prepare(base, {"labels": LABELS})
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
    found = text_encoder.score(task, probabilities, ["treatment", "causes"])
    assert {name: values.tolist() for name, values in found.items()} == {
        "correct": [1, 0],
        "predicted": [0, 2],
        "target": [0, 1],
    }


def test_an_unknown_target_is_named_by_its_index_only(base):
    task = text_encoder.prepare(base, {"labels": LABELS})
    with pytest.raises(ValueError, match="item 1 ") as caught:
        text_encoder.forward(base, task, ["a", "b"], ["causes", "Jane Roe"])
    assert "Jane" not in str(caught.value)


def test_attach_changes_predictions_and_detach_restores_every_bit(base, texts, tmp_path):
    task = text_encoder.prepare(base, {"labels": LABELS})
    weights = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    before, features = text_encoder.predict(base, task, texts[0]), features_of(base, texts[0])
    state = torch.get_rng_state()
    for seed in (0, 1):
        attachment.attach(base, adapter_folder(tmp_path / f"a{seed}", seed=seed))
        assert np.abs(text_encoder.predict(base, task, texts[0]) - before).max() > 0.01
        np.testing.assert_array_equal(features_of(base, texts[0]), features)
        np.testing.assert_array_equal(
            text_encoder.prepare(base, {"labels": LABELS}).anchors, task.anchors
        )
        assert np.abs(text_encoder.predict(base, task, texts[0]) - before).max() > 0.01
        attachment.detach(base)
        np.testing.assert_array_equal(text_encoder.predict(base, task, texts[0]), before)
    after = base.model.state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    assert torch.equal(torch.get_rng_state(), state), "attaching drew from the global generator"


def test_attached_equals_the_dense_sum(base, texts, tmp_path):
    place = adapter_folder(tmp_path / "a")
    task = text_encoder.prepare(base, {"labels": LABELS})
    attachment.attach(base, place)
    attached = text_encoder.predict(base, task, texts[0])
    attachment.detach(base)
    for name, delta in read_adapter(tmp_path / "a").deltas.items():
        base.model.get_submodule(name).weight.data += delta.dense()
    np.testing.assert_allclose(text_encoder.predict(base, task, texts[0]), attached, atol=1e-5)


def test_one_adapter_at_a_time_and_safetensors_only(base, tmp_path):
    place = adapter_folder(tmp_path / "a")
    attachment.attach(base, place)
    with pytest.raises(ValueError, match="already"):
        attachment.attach(base, place)
    attachment.detach(base)
    attachment.detach(base)
    (tmp_path / "a" / "adapter_model.safetensors").rename(tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        attachment.attach(base, place)


def test_a_folder_of_pickles_or_of_other_weights_is_refused(folder, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    weights = load_file(pickled / "model.safetensors")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        text_encoder.load(str(pickled), max_tokens=32)
    lacking = {name: weight for name, weight in weights.items() if "layer.1" not in name}
    save_file(lacking, pickled / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights"):
        text_encoder.load(str(pickled), max_tokens=32)


@pytest.mark.parametrize("max_tokens", [0, 3, 65])
def test_max_tokens_must_fit_the_encoder(folder, max_tokens):
    with pytest.raises(ValueError, match="between 4 and 64"):
        text_encoder.load(str(folder), max_tokens=max_tokens)


def test_a_task_needs_two_labels(base):
    with pytest.raises(ValueError, match="two labels"):
        text_encoder.prepare(base, {"labels": {"only": "one"}})


def test_the_base_is_frozen_in_evaluation_mode(base):
    assert not base.model.training
    assert not any(weight.requires_grad for weight in base.model.parameters())


def test_bfloat16_gives_float32_features(folder, texts):
    base = text_encoder.load(str(folder), max_tokens=32, dtype="bfloat16")
    exact = text_encoder.load(str(folder), max_tokens=32)
    np.testing.assert_allclose(features_of(base, texts[0]), features_of(exact, texts[0]), atol=0.1)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_all_that_is_asked(name):
    family = load_family(name)
    asked = [verb for verb in vars(Family) if not verb.startswith("_")]
    assert len(asked) > 8
    assert all(callable(getattr(family, verb)) for verb in asked)
    assert FAMILIES[name].poolings


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_stands_alone(name):
    source = family_source(name)
    assert "rpe_core" not in source
    assert "catalog" not in source
    module = types.ModuleType("shipped")
    sys.modules["shipped"] = module  # dataclasses look their module up
    try:
        exec(compile(source, "model.py", "exec"), module.__dict__)
    finally:
        del sys.modules["shipped"]
    assert callable(module.load)


def test_an_unknown_family_is_told_with_the_known_ones():
    with pytest.raises(UnknownName, match="text-encoder"):
        load_family("text-encodr")
    with pytest.raises(UnknownName):
        family_source("nothing")


def test_nothing_is_logged_about_texts(base, texts, caplog):
    with caplog.at_level(logging.DEBUG):
        features_of(base, ["Jane Roe of Springfield " * 200])
    assert "Jane" not in caplog.text
