"""The clip family: zero-shot labels of images, LoRA in both encoders, preprocessing, features."""

import io
import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel

from rpe_core.adapters import injection
from rpe_core.adapters.recipe import Recipe
from rpe_core.families import attachment, clip, shared
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from rpe_core.training.loop import train
from rpe_core.training.resume import from_tensors, to_tensors
from rpe_core.training.seeding import own_random_state
from tests.pico import SHAPES, pico_clip, pico_encoder, pico_pictures

RECIPE = Recipe("lora", 4, 8.0, 2, 1e-2, 4, seed=0, target_modules=("q_proj", "v_proj"))
TEXT = tuple(f"text_model.encoder.layers.{i}.self_attn.q_proj" for i in (0, 1))
VISION = tuple(name.replace("text_", "vision_") for name in TEXT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico_clip(tmp_path_factory.mktemp("pico") / "clip")


@pytest.fixture(scope="module")
def base(folder):
    return clip.load(str(folder))


@pytest.fixture(scope="module")
def task(base):
    return clip.prepare(base, {"labels": SHAPES})


@pytest.fixture(scope="module")
def pictures():
    return pico_pictures(np.random.default_rng(0), 30)


@pytest.fixture(scope="module")
def volumes():
    """Items of other sizes, slices, channels and types of numbers."""
    rng = np.random.default_rng(1)
    return [
        rng.integers(0, 4096, (5, 40, 48, 1)).astype(np.uint16),
        rng.integers(0, 256, (1, 90, 70, 3), dtype=np.uint8),
        rng.normal(size=(3, 33, 20, 1)),
        rng.integers(0, 256, (7, 9), dtype=np.uint8),
    ]


def features_of(base, items, **how):
    found = list(clip.encode(base, items, **how))
    assert [int(i[0]) for i, _ in found] == list(range(len(items)))
    return np.concatenate([features for _, features in found])


def run(base, task, pictures, recipe=RECIPE, **more):
    images, kinds = pictures
    split = (images[:20], kinds[:20], images[20:], kinds[20:])
    return train(clip, base, task, *split, recipe, **more)


def written(place, adapter):
    write_adapter(place, adapter.deltas, base_name="pico", task_type=None)
    return place


def logits_of(base, task, pictures):
    with torch.no_grad():
        return clip.forward(base, task, *pictures)[2]


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_logits_are_those_of_transformers(base, task, folder, pictures):
    model, tokenizer = (
        CLIPModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    tokens = tokenizer(list(SHAPES.values()), padding=True, return_tensors="pt")
    pixels = torch.cat([clip._pixels(base, image, (0.0, 255.0)) for image in pictures[0]])
    ids = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = model(pixel_values=pixels, **ids).logits_per_image
    loss, features, logits = clip.forward(base, task, *pictures)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert features.shape == (30, 16)
    np.testing.assert_allclose(features.detach(), features_of(base, pictures[0]), atol=1e-5)
    truth = torch.tensor([list(SHAPES).index(kind) for kind in pictures[1]])
    assert float(loss) == pytest.approx(float(functional.cross_entropy(expected, truth)), abs=1e-4)
    found = clip.predict(base, task, pictures[0])
    np.testing.assert_allclose(found, expected.double().softmax(dim=-1).numpy(), atol=1e-5)
    told = clip.validate(base, task, *pictures)
    assert told["loss"] == pytest.approx(float(loss), abs=1e-4)
    answers = clip.answers(task, found)
    assert told["score"] == np.mean(answers["label"] == np.array(pictures[1]))
    np.testing.assert_array_equal(answers["score"], found.max(axis=1))


@pytest.mark.parametrize("size", [(40, 48), (90, 33), (32, 32), (20, 70)])
def test_pixels_are_those_of_the_authors_preprocessing(base, size):
    """Its resizing rounds to whole grey values, so it is met to about one of them."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    kernel = np.ones((5, 5)) / 25  # pictures are smoother than noise
    smooth = np.stack([_filtered(image[..., c], kernel) for c in range(3)], axis=-1).astype(
        np.uint8
    )
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    expected = np.asarray(processor(images=smooth, return_tensors="np")["pixel_values"])
    found = clip._pixels(base, smooth[None], (0.0, 255.0))
    np.testing.assert_allclose(found.numpy(), expected, atol=1.6 / 255 / min(clip.DEVIATION))


def _filtered(rows, kernel):
    padded = np.pad(rows.astype(float), 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
    return (windows * kernel).sum(axis=(-1, -2))


@pytest.mark.parametrize("batch_size", [2, 16])
def test_results_do_not_depend_on_the_batch_size(base, task, pictures, volumes, batch_size):
    items = [*volumes, *pictures[0][:3]]
    one, many = (features_of(base, items, batch_size=n) for n in (1, batch_size))
    assert one.dtype == np.float32
    np.testing.assert_allclose(many, one, atol=1e-6 * np.abs(one).max())
    both = [clip.predict(base, task, items, batch_size=n) for n in (1, batch_size)]
    np.testing.assert_allclose(*both, atol=1e-5)
    np.testing.assert_array_equal(clip.predict(base, task, [npy(i) for i in items]),
                                  clip.predict(base, task, items))  # fmt: skip


def test_the_number_of_threads_changes_no_bit(base, pictures, volumes):
    items, found = [*volumes, *pictures[0]], []
    for threads in (1, 2):
        with own_random_state(0, threads=threads):
            task = clip.prepare(base, {"labels": SHAPES})
            predicted = clip.predict(base, task, items, batch_size=4)
            found.append((task.anchors.numpy(), features_of(base, items), predicted))
            assert torch.get_num_threads() == threads
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_volume_is_the_mean_of_its_slices(base, task, volumes):
    image = (volumes[0] // 16).astype(np.uint8)
    alone = features_of(base, [image[i : i + 1] for i in range(len(image))])
    np.testing.assert_allclose(features_of(base, [image])[0], alone.mean(axis=0), atol=1e-5)
    few = image[: shared.SLICES]
    state = torch.get_rng_state()
    loss = clip.forward(base, task, [few], ["disc"])[0]
    assert torch.equal(torch.get_rng_state(), state), "no slice is drawn where all are looked at"
    assert float(loss) == pytest.approx(
        clip.validate(base, task, [few], ["disc"])["loss"], abs=1e-4
    )
    with own_random_state(0, threads=1):
        drawn = clip.forward(base, task, [image], ["disc"])[1]
    with own_random_state(0, threads=1):
        chosen = torch.randperm(5)[: shared.SLICES].numpy()
    np.testing.assert_allclose(drawn[0].detach(), alone[chosen].mean(axis=0), atol=1e-5)


def test_windows_percentiles_and_bytes_become_zero_to_one(base):
    grey = np.linspace(0, 255, 32 * 32).astype(np.uint8).reshape(1, 32, 32, 1)
    wide = grey.astype(np.float64) * 10 - 500
    byte, windowed = (
        clip._pixels(base, image, shared.value_limits(image, window))
        for image, window in ((grey, ()), (wide, (-500, 2050)))
    )
    torch.testing.assert_close(byte, windowed, atol=1e-5, rtol=0)
    assert shared.value_limits(wide, ()) == tuple(np.percentile(wide, (0.5, 99.5)))
    flat = clip._pixels(base, np.full((1, 8, 8, 1), 7.0), (7.0, 7.0))
    assert torch.isfinite(flat).all()
    channels = byte * torch.tensor(clip.DEVIATION)[:, None, None]
    channels = channels + torch.tensor(clip.MEAN)[:, None, None]
    assert torch.allclose(channels[:, 0], channels[:, 2], atol=1e-6), "grey becomes RGB"


def test_the_window_is_the_tasks_and_no_feature_of_the_library_sees_it(base, volumes):
    plain, windowed = (
        clip.prepare(base, {"labels": SHAPES, **more}) for more in ({}, {"window": [0, 600]})
    )
    apart = clip.predict(base, plain, volumes[:1]) - clip.predict(base, windowed, volumes[:1])
    assert np.abs(apart).max() > 1e-4


def test_an_elongated_image_takes_no_memory(base):
    line = np.random.default_rng(0).integers(0, 256, (1, 1, 2_000_000, 1), dtype=np.uint8)
    assert clip._pixels(base, line, (0.0, 255.0)).shape == (1, 3, 32, 32)


def test_items_are_indexed_one_by_one(base, task, pictures):
    class Lazy:
        read: list[int] = []

        def __len__(self):
            return 2

        def __getitem__(self, index):
            self.read.append(index)
            return pictures[0][index]

    assert len(clip.predict(base, task, Lazy())) == 2
    assert len(features_of(base, Lazy())) == 2
    assert Lazy.read == [0, 1, 0, 1]
    assert clip.predict(base, task, []).shape == (0, 3)
    assert list(clip.encode(base, [])) == []


@pytest.mark.parametrize("modules", [(), VISION, TEXT], ids=["both", "vision", "text"])
def test_trained_logits_are_those_of_the_exported_adapter(base, task, pictures, tmp_path, modules):
    recipe = replace(RECIPE, target_modules=modules or RECIPE.target_modules)
    before, features = logits_of(base, task, pictures), features_of(base, pictures[0])
    with own_random_state(0, threads=1):
        injected = injection.attach(base.model, recipe)
        with torch.no_grad():
            for parameter in injected.parameters.values():
                parameter.normal_(0.0, 0.2)
    live, deltas = logits_of(base, task, pictures), injected.export()
    labels = clip.label_features(base, task).detach()
    injection.detach(injected)
    assert torch.equal(logits_of(base, task, pictures), before)
    write_adapter(tmp_path / "a", deltas, base_name="pico", task_type=None)
    attachment.attach(base, str(tmp_path / "a"))
    filed, predicted = logits_of(base, task, pictures), clip.predict(base, task, pictures[0])
    np.testing.assert_array_equal(features_of(base, pictures[0]), features)
    assert torch.equal(clip.prepare(base, {"labels": SHAPES}).anchors, task.anchors)
    attachment.detach(base)
    torch.testing.assert_close(filed, live, atol=1e-5, rtol=0)
    np.testing.assert_allclose(predicted, live.double().softmax(-1).numpy(), atol=1e-5)
    assert float((live - before).abs().max()) > 0.1
    moved = float((labels - task.anchors).abs().max())
    assert (moved > 0.01) == (modules != VISION), "labels are the adapted text encoder's"


def test_training_learns_shapes_and_gives_the_base_back(base, task, pictures, folder, tmp_path):
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    first = clip.validate(base, task, pictures[0][20:], pictures[1][20:])
    found = [run(base, task, pictures, replace(RECIPE, epochs=n, seed=n)) for n in (4, 1)]
    assert found[0].validation_score > max(0.8, first["score"])
    assert found[0].n_parameters == 2 * 2 * 2 * 4 * (32 + 32), "encoders, layers, q and v"
    after = base.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
    members = [(written(tmp_path / f"{i}", one), w)
               for i, (one, w) in enumerate(zip(found, (1.3, -0.3), strict=True))]  # fmt: skip
    merge(members, tmp_path / "merged", base=folder)
    attachment.attach(base, str(tmp_path / "merged"))
    merged = logits_of(base, task, pictures)
    attachment.detach(base)
    exact = clip.load(str(folder))
    for place, weight in members:
        for name, delta in read_adapter(place).deltas.items():
            exact.model.get_submodule(name).weight.data += weight * delta.dense()
    exact.text.clear()  # a stranger to this text encoder, so that it is asked for the labels
    torch.testing.assert_close(logits_of(exact, task, pictures), merged, atol=1e-4, rtol=0)


def test_a_resumed_training_ends_bit_for_bit_like_an_undisturbed_one(base, task, pictures):
    spared = {"micro_batch_size": 2, "gradient_checkpointing": True, "dropout": 0.1}
    recipe, states = replace(RECIPE, **spared), []
    whole = run(base, task, pictures, recipe, on_checkpoint=states.append)
    torch.rand(3)  # another process has another random state
    again = run(base, task, pictures, recipe, resume=from_tensors(*to_tensors(states[0])))
    assert again.history == whole.history
    for name, delta in whole.deltas.items():
        assert torch.equal(again.deltas[name].a, delta.a)
        assert torch.equal(again.deltas[name].b, delta.b)
    assert not any(module.training for module in base.model.modules())


def test_label_features_are_the_anchors_and_varied_ones_the_mean_over_templates(base, task):
    torch.testing.assert_close(clip.label_features(base, task), task.anchors)
    np.testing.assert_allclose(task.anchors.norm(dim=-1), 1.0, atol=1e-6)
    varied = clip.label_features(base, task, is_varied=True)
    for prompt, found in zip(SHAPES.values(), varied, strict=True):
        mean = clip._texts(base, [one.format(prompt) for one in clip.TEMPLATES]).mean(dim=0)
        torch.testing.assert_close(found, functional.normalize(mean, dim=-1))


def test_scores_per_item(task):
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
    found = clip.score(task, probabilities, ["disc", "bars"])
    assert {name: values.tolist() for name, values in found.items()} == {
        "correct": [1, 0],
        "predicted": [0, 2],
        "target": [0, 1],
    }


def test_bfloat16_gives_float32_features_near_the_exact_ones(folder, base, task, pictures):
    narrow = clip.load(str(folder), dtype="bfloat16")
    found, exact = features_of(narrow, pictures[0]), features_of(base, pictures[0])
    cosines = (found * exact).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(exact, axis=1)
    assert found.dtype == np.float32
    assert cosines.min() > 0.99
    assert (
        logits_of(narrow, clip.prepare(narrow, {"labels": SHAPES}), pictures).dtype == torch.float32
    )


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        ({"labels": {"only": "one"}}, "two labels"),
        ({"labels": {"a": "a", "Jane": "word " * 30}}, "prompt of label 2 is longer than 24"),
        ({"labels": {"a": "a", "Jane": "x" * 3_000_000}}, "prompt of label 2 is longer than 24"),
        ({"labels": SHAPES, "window": [240, -160]}, "lower one first"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(base, declared, match):
    with pytest.raises(ValueError, match=match) as refused:
        clip.prepare(base, declared)
    assert "Jane" not in str(refused.value)


@pytest.mark.parametrize(
    "item",
    [b"not a file", np.zeros((2, 2, 2, 2), np.uint8), np.zeros((0, 4)), np.array([["a"]]),
     np.array([[np.nan, 1.0]]), np.zeros(3)],
)  # fmt: skip
def test_what_is_no_image_is_refused(base, task, item):
    with pytest.raises(ValueError, match=r"item|image"):
        clip.predict(base, task, [item])


def test_an_unknown_target_is_named_by_its_index_only(base, task, pictures):
    with pytest.raises(ValueError, match="item 1 ") as caught:
        clip.forward(base, task, pictures[0][:2], ["disc", "Jane Roe"])
    assert "Jane" not in str(caught.value)


def test_folders_that_are_no_clip_or_lack_weights_are_refused(folder, tmp_path):
    lacking = pico_clip(tmp_path / "lacking")
    state = load_file(lacking / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if "layers.1.self_attn" not in name}
    save_file(kept, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights"):
        clip.load(str(lacking))
    with pytest.raises(ValueError, match="no tokens"):
        clip.load(str(folder), max_tokens=77)
    with pytest.raises(ValueError, match="no CLIP"):
        clip.load(str(pico_encoder(tmp_path / "encoder")))
    (lacking / "model.safetensors").rename(lacking / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        clip.load(str(lacking))


@pytest.mark.parametrize("crop", [32, {"height": 32, "width": 32}])
@pytest.mark.parametrize("size", [40, {"shortest_edge": 40}])
def test_preprocessing_is_the_folders_own_where_it_has_one(folder, tmp_path, size, crop):
    own = shutil.copytree(folder, tmp_path / "own")
    told = {"size": size, "crop_size": crop, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (own / clip.PREPROCESSING).write_text(json.dumps(told))
    base = clip.load(str(own))
    assert (base.shorter, base.mean, base.deviation) == (40, (0.5,) * 3, (0.25,) * 3)
    pixels = clip._pixels(base, np.full((1, 50, 60, 1), 255, np.uint8), (0.0, 255.0))
    torch.testing.assert_close(pixels, torch.full((1, 3, 32, 32), 2.0))


@pytest.mark.parametrize(
    "told", [{"size": 24}, {"crop_size": 24}, {"size": {"height": 32, "width": 32}}]
)
def test_another_preprocessing_is_refused(folder, tmp_path, told):
    own = shutil.copytree(folder, tmp_path / "own")
    (own / clip.PREPROCESSING).write_text(json.dumps(told))
    with pytest.raises(ValueError, match="does not crop 32 pixels"):
        clip.load(str(own))


def test_nothing_is_logged_about_labels(base, caplog):
    with caplog.at_level(logging.DEBUG):
        clip.prepare(base, {"labels": {"Jane": "Jane Roe", "b": "of Springfield"}})
    assert "Jane" not in caplog.text


def test_a_clip_of_real_size_has_the_modules_that_a_recipe_names():
    with torch.device("meta"):
        model = CLIPModel(CLIPConfig())  # ViT-B/32
    names = dict(model.named_modules())
    adapted = [name for name in names if name.endswith((".q_proj", ".v_proj"))]
    assert len(adapted) == 2 * (12 + 12), "of both encoders"
    assert names["visual_projection"].weight.shape == (512, 768)
