"""Modules trained whole beside LoRA: trained, written, attached by plain PEFT, merged, removed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file, save, save_file

from rpe_core.adapters.recipe import Recipe
from rpe_core.errors import InputError
from rpe_core.families import attachment, text_encoder
from rpe_core.merging.files.adapter_reader import WEIGHTS
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from rpe_core.training.loop import train
from rpe_core.training.resume import from_tensors, to_tensors
from tests.pico import LABELS, pico_encoder, pico_texts

SAVED = "encoder.layer.1.output"
NAMES = {f"{SAVED}.{p}" for p in ("dense.weight", "dense.bias", "LayerNorm.weight",
                                  "LayerNorm.bias")}  # fmt: skip
RECIPE = Recipe(
    "lora", 2, 4.0, 2, 5e-3, 16, seed=0, target_modules=("query",), modules_to_save=("1.output",),
    dropout=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico_encoder(tmp_path_factory.mktemp("pico") / "base")


@pytest.fixture(scope="module")
def base(folder):
    return text_encoder.load(str(folder), max_tokens=32)


@pytest.fixture(scope="module")
def task(base):
    return text_encoder.prepare(base, {"labels": LABELS})


@pytest.fixture(scope="module")
def first(base, task):
    """An adapter, the rows that it was trained on, and the base as it was before."""
    parts = parts_of(base.model)
    return *run(base, task), parts


def run(base, task, *, seed=0, recipe=RECIPE, **more):
    rng = np.random.default_rng(seed)
    rows = (*pico_texts(rng, 48), *pico_texts(rng, 16))
    return train(text_encoder, base, task, *rows, recipe, **more), rows


def written(place, trained):
    saved = {"whole": trained.whole, "modules_to_save": RECIPE.modules_to_save}
    write_adapter(place, trained.deltas, base_name="pico", task_type=None, **saved)
    return place


def parts_of(model):
    return list(model.named_modules()), {k: v.clone() for k, v in model.state_dict().items()}


def is_unchanged(model, parts):
    modules, weights = parts
    after = model.state_dict()
    return (
        all(a is b for (_, a), (_, b) in zip(model.named_modules(), modules, strict=True))
        and list(after) == list(weights)
        and all(torch.equal(after[name], weights[name]) for name in weights)
        and not any(parameter.requires_grad for parameter in model.parameters())
        and not hasattr(model, "peft_config")
    )


def test_what_is_trained_is_what_plain_peft_serves(base, task, first, tmp_path):
    trained, rows, parts = first
    assert is_unchanged(base.model, parts)
    assert set(trained.whole) == NAMES
    assert {tensor.dtype for tensor in trained.whole.values()} == {torch.float32}
    assert not torch.equal(trained.whole[f"{SAVED}.dense.bias"], parts[1][f"{SAVED}.dense.bias"])
    read = read_adapter(written(tmp_path / "a", trained))
    assert read.whole.keys() == NAMES
    assert read.config["modules_to_save"] == ["1.output"]
    attachment.attach(base, str(tmp_path / "a"))
    found = text_encoder.validate(base, task, *rows[2:])
    frozen = text_encoder.prepare(base, {"labels": LABELS})
    attachment.detach(base)
    assert found["loss"] == pytest.approx(trained.validation_loss, abs=1e-5)
    assert torch.equal(frozen.anchors, task.anchors), "features are those of the frozen base"
    assert is_unchanged(base.model, parts)


def test_a_resumed_training_ends_bit_for_bit_like_an_undisturbed_one(base, task, first):
    states = []
    run(base, task, on_checkpoint=states.append)
    tensors, values = to_tensors(states[0])
    kept = from_tensors(load(save(tensors)), json.loads(json.dumps(values)))
    again, _ = run(base, task, resume=kept)
    assert all(torch.equal(again.whole[name], tensor) for name, tensor in first[0].whole.items())


def test_merged_is_the_base_plus_the_weighted_changes(base, task, first, folder, tmp_path):
    runs = [first[:2], run(base, task, seed=1, recipe=replace(RECIPE, epochs=1))]
    places = [written(tmp_path / f"{i}", trained) for i, (trained, _) in enumerate(runs)]
    weights, rows = (1.3, -0.3), runs[0][1]
    merge(list(zip(places, weights, strict=True)), tmp_path / "merged", base=folder)
    attachment.attach(base, str(tmp_path / "merged"))
    merged = text_encoder.predict(base, task, rows[2])
    attachment.detach(base)
    exact = text_encoder.load(str(folder), max_tokens=32)
    own = dict(exact.model.named_parameters())
    before = {name: own[name].detach().clone() for name in NAMES}
    for (trained, _), weight in zip(runs, weights, strict=True):
        for name, delta in trained.deltas.items():
            own[f"{name}.weight"].data += weight * delta.dense()
        for name, tensor in trained.whole.items():
            own[name].data += weight * (tensor - before[name])
    np.testing.assert_allclose(text_encoder.predict(exact, task, rows[2]), merged, atol=1e-4)


def test_an_adapter_that_lacks_a_whole_tensor_leaves_the_base_as_it_was(base, first, tmp_path):
    trained, _, parts = first
    place = written(tmp_path / "a", trained)
    state = load_file(place / WEIGHTS)
    del state[f"base_model.model.{SAVED}.dense.bias"]
    save_file(state, place / WEIGHTS)
    with pytest.raises(ValueError, match="does not fit"):
        attachment.attach(base, str(place))
    assert is_unchanged(base.model, parts)


@pytest.mark.parametrize(
    "names",
    [
        ("nothing",),
        ("layer.1", "1.output"),  # one holds the other
        ("layer.1",),  # adapted inside
        ("embeddings",),  # buffers
    ],
)
def test_modules_that_cannot_be_trained_whole_are_refused(base, task, names):
    parts = parts_of(base.model)
    with pytest.raises(InputError, match="do not fit"):
        run(base, task, recipe=replace(RECIPE, modules_to_save=names))
    assert is_unchanged(base.model, parts)


def test_a_recipe_without_them_keeps_its_id():
    old = "945d78dcc5f8"
    assert replace(RECIPE, modules_to_save=()).recipe_id == old
    assert RECIPE.recipe_id != old
