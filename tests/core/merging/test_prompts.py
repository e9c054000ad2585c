"""Learned prompts: where they stand in both encoders, what is filed, and how they are merged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from rpe_core.adapters import injection
from rpe_core.adapters.budget import fit_rank
from rpe_core.adapters.injection import count_parameters
from rpe_core.adapters.methods.promptsrc import epoch_weights
from rpe_core.adapters.peft_merge import merge_with_peft
from rpe_core.adapters.recipe import Recipe
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.families import attachment, clip
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from rpe_core.merging.prompts import write_prompts
from rpe_core.training.loop import train
from rpe_core.training.resume import ResumeState, from_tensors, to_tensors
from rpe_core.training.seeding import own_random_state
from tests.core.adapters.test_adapter_methods import PLACES, Place, recipe_of
from tests.pico import SHAPES, pico_clip, pico_pictures

NAMES = {
    "text_model.embeddings.token_embedding",
    "text_model.encoder.layers.1",
    "vision_model.pre_layrnorm",
    "vision_model.encoder.layers.1",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return PLACES["clip"](tmp_path_factory.mktemp("pico") / "clip", "float32")


def prompts_recipe(r: int = 3, **changes: Any) -> Recipe:
    return recipe_of("prompts", r, (), **changes)


def random_prompts(seed: int, n: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(n, 32, generator=generator) for name in sorted(NAMES)}


def filed(folder: Path, seed: int, n: int = 3) -> Path:
    write_prompts(folder, random_prompts(seed, n), base_name="pico")
    return folder


def lora(folder: Path, place: Place) -> Path:
    with own_random_state(0, threads=1):
        injected = injection.attach(place.base.model, recipe_of("lora", 2, place.targets))
    deltas = injected.export()
    injection.detach(injected)
    write_adapter(folder, deltas, base_name="pico", task_type=None)
    return folder


def trained(place: Place, recipe: Recipe, **more: Any) -> Any:
    images, kinds = place.rows
    split = (images[:8], kinds[:8], images[8:], kinds[8:])
    return train(clip, place.base, place.task, *split, recipe, **more)


def logits_under(place: Place, folder: Path) -> Tensor:
    attachment.attach(place.base, str(folder))
    with torch.no_grad():
        found = place.logits()
    attachment.detach(place.base)
    return found


def text_by_the_paper(base: clip.Base, prompt: str, own: dict[str, Tensor]) -> Tensor:
    """[start, words before + theirs, words of the label, end], fresh words in the second layer."""
    text, n = base.model.text_model, 3
    start, *words, end = base.tokenizer(prompt)["input_ids"]
    before = base.tokenizer(clip.WORDS_BEFORE)["input_ids"][1 : 1 + n]
    embed = text.embeddings.token_embedding.weight
    rows = torch.cat([
        embed[[start]], embed[before] + own["text_model.embeddings.token_embedding"],
        embed[[*words, end]],
    ])  # fmt: skip
    rows = rows + text.embeddings.position_embedding.weight[: len(rows)]
    mask = torch.full((len(rows), len(rows)), float("-inf")).triu(1)[None, None]
    rows = text.encoder.layers[0](rows[None], mask)
    rows = torch.cat([rows[:, :1], own["text_model.encoder.layers.1"][None], rows[:, 1 + n :]], 1)
    rows = text.encoder.layers[1](rows, mask)
    found = base.model.text_projection(text.final_layer_norm(rows)[0, -1])
    return functional.normalize(found, dim=-1)


def image_by_the_paper(base: clip.Base, pixels: Tensor, own: dict[str, Tensor]) -> Tensor:
    """[class, patches, theirs] through the first norm and layer, fresh ones in the second."""
    vision, n = base.model.vision_model, 3
    rows = torch.cat([vision.embeddings(pixels), own["vision_model.pre_layrnorm"][None]], dim=1)
    rows = vision.encoder.layers[0](vision.pre_layrnorm(rows), None)
    rows = torch.cat([rows[:, :-n], own["vision_model.encoder.layers.1"][None]], dim=1)
    rows = vision.encoder.layers[1](rows, None)
    found: Tensor = base.model.visual_projection(vision.post_layernorm(rows[:, 0]))[0]
    return found


def test_both_encoders_see_them_where_the_paper_puts_them(place: Place, tmp_path: Path) -> None:
    """Independent formulas, token by token, from arXiv 2307.06948 section 3.1."""
    base, own = place.base, random_prompts(0)
    images = place.rows[0][:2]
    with torch.no_grad():
        texts = torch.stack([text_by_the_paper(base, said, own) for said in SHAPES.values()])
        pixels = [clip._pixels(base, image, (0.0, 255.0)) for image in images]
        features = torch.stack([image_by_the_paper(base, one, own) for one in pixels])
    attachment.attach(base, str(filed(tmp_path / "a", 0)))
    with torch.no_grad():
        labels = clip.label_features(base, place.task)
        _, found, _ = clip.forward(base, place.task, images, place.rows[1][:2])
    attachment.detach(base)
    torch.testing.assert_close(labels, texts, atol=1e-5, rtol=0)
    torch.testing.assert_close(found, features, atol=1e-5, rtol=0)


def test_words_begin_as_those_of_a_photo(place: Place) -> None:
    """The first words are a change of those that the text begins with; 0 is no change."""
    bare, base = dict(place.base.model.named_modules()), place.base
    with torch.no_grad():
        expected = clip._texts(base, [f"a photo of a {said}" for said in SHAPES.values()])
        attachment.put_prompts(base.model, {attachment.WORDS: torch.zeros(4, 32)})
        found = clip.label_features(base, place.task)
    injection.put_back(base.model, bare)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_what_is_filed_is_what_was_trained_and_learns(tmp_path: Path) -> None:
    base = clip.load(str(pico_clip(tmp_path / "base")))
    task = clip.prepare(base, {"labels": SHAPES})
    images, kinds = pico_pictures(np.random.default_rng(0), 36)
    split = (images[:24], kinds[:24], images[24:], kinds[24:])
    no_terms = {"text_weight": 0.0, "feature_weight": 0.0, "logit_weight": 0.0}
    first = clip.validate(base, task, *split[2:])
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    changes = {"epochs": 10, "learning_rate": 0.05, "options": {"depth": 2, **no_terms}}
    found = train(clip, base, task, *split, prompts_recipe(4, **changes))
    assert found.validation_score is not None
    assert found.validation_score > first["score"] + 0.2
    assert (found.rank, found.n_parameters, found.deltas) == (4, 4 * 4 * 32, {})
    assert set(found.prompts) == NAMES
    assert base.model.state_dict().keys() == state.keys()
    features = np.concatenate([f for _, f in clip.encode(base, images)])
    write_prompts(tmp_path / "a", found.prompts, base_name="pico")
    attachment.attach(base, str(tmp_path / "a"))
    told = clip.validate(base, task, *split[2:])
    under = np.concatenate([f for _, f in clip.encode(base, images)])
    anchors = clip.prepare(base, {"labels": SHAPES}).anchors
    attachment.detach(base)
    assert told["loss"] == pytest.approx(found.validation_loss, abs=1e-5)
    np.testing.assert_array_equal(under, features)  # a representation is the frozen base's
    assert torch.equal(anchors, task.anchors)
    after = base.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


def test_the_average_of_the_epochs_is_exact(place: Place) -> None:
    recipe, states = prompts_recipe(epochs=4), list[ResumeState]()
    found = trained(place, recipe, on_checkpoint=states.append)
    # the last state is the average already: its own epoch is what the others leave of it
    *early, last = epoch_weights(recipe)
    assert sum([*early, last]) == pytest.approx(1.0, abs=1e-12)
    kept = states[-2].kept
    for name, tensor in kept.items():
        expected = sum(w * s.parameters[name] for w, s in zip(early, states, strict=False))
        torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=0)
        module = name.removesuffix(".prompt")
        final = (found.prompts[module] - tensor) / last  # the parameters after the last step
        assert float((final - states[-2].parameters[name]).abs().max()) < 4 * 1e-3
    assert states[-1].kept == {}
    assert {row["left_out_ratio"] for row in found.history if "left_out_ratio" in row} == {0.0}


def test_a_resumed_training_ends_bit_for_bit_like_an_undisturbed_one(place: Place) -> None:
    recipe = prompts_recipe(epochs=3, micro_batch_size=2, gradient_checkpointing=True)
    states: list[ResumeState] = []
    whole = trained(place, recipe, on_checkpoint=states.append)
    torch.rand(3)  # another process has another random state
    again = trained(place, recipe, resume=from_tensors(*to_tensors(states[0])))
    assert again.history == whole.history
    assert all(torch.equal(again.prompts[name], whole.prompts[name]) for name in NAMES)


def test_the_frozen_twin_has_no_prompts(place: Place) -> None:
    """The terms pull towards the base: the heavier they weigh, the nearer the features stay."""
    moved = []
    with torch.no_grad():
        frozen = functional.normalize(clip.forward(place.base, place.task, *place.rows)[1], dim=-1)
    for weight in (0.0, 1000.0):
        options = {"depth": 2, "feature_weight": weight, "text_weight": weight}
        recipe = prompts_recipe(epochs=6, learning_rate=0.02, options=options)
        bare = dict(place.base.model.named_modules())
        attachment.put_prompts(place.base.model, trained(place, recipe).prompts)
        with torch.no_grad():
            features = clip.forward(place.base, place.task, *place.rows)[1]
        injection.put_back(place.base.model, bare)
        moved.append(float((functional.normalize(features, dim=-1) - frozen).abs().mean()))
    assert moved[1] < 0.7 * moved[0]


@pytest.mark.parametrize("method", ["concat", "dense"])
def test_a_merge_is_the_weighted_sum(place: Place, tmp_path: Path, method: str) -> None:
    weights = (0.7, -0.2, 0.5)
    members = [(filed(tmp_path / f"{i}", i), weight) for i, weight in enumerate(weights)]
    report = merge(members, tmp_path / "merged", method=method)
    found = read_adapter(tmp_path / "merged")
    for name in NAMES:
        exact = sum(w * random_prompts(i)[name].double() for i, w in enumerate(weights))
        error = (found.prompts[name].double() - exact).norm() / exact.norm()
        assert error <= 1e-6
    assert found.weights_sha256 == report.weights_sha256
    assert (report.rank, report.is_servable, found.rank, found.total_rank) == (3, False, 3, 12)
    told = json.loads((tmp_path / "merged" / "rpe_merge.json").read_text())
    assert [member["weight"] for member in told["members"]] == list(weights)
    assert told["weights_sha256"] == report.weights_sha256
    again = merge(members, tmp_path / "again", method=method)
    assert again.weights_sha256 == report.weights_sha256
    logits = logits_under(place, tmp_path / "merged")
    assert float((logits - logits_under(place, tmp_path / "0")).abs().max()) > 0.02


def test_one_member_of_weight_one_is_itself(tmp_path: Path) -> None:
    merge([(filed(tmp_path / "a", 0), 1.0)], tmp_path / "merged")
    first, second = (load_file(tmp_path / f / "adapter_model.safetensors") for f in ("a", "merged"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_prompts_are_never_mixed_with_lora(place: Place, tmp_path: Path) -> None:
    a, b = filed(tmp_path / "a", 0), lora(tmp_path / "b", place)
    for members in ([(a, 0.5), (b, 0.5)], [(b, 0.5), (a, 0.5)]):
        with pytest.raises(InputError, match="prompt"):
            merge(members, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"method": "svd"}, "cannot be merged by svd"),
        ({"method": "svd", "rank": 2}, "no rank"),
        ({"method": "fold"}, "never mixed"),
        ({"dtype": "bfloat16"}, "no rank, energy or dtype"),
    ],
)
def test_ways_to_merge_that_prompts_do_not_have(
    tmp_path: Path, how: dict[str, Any], match: str
) -> None:
    members = [(filed(tmp_path / "a", 0), 0.5), (filed(tmp_path / "b", 1), 0.5)]
    with pytest.raises(InputError, match=match) as refused:
        merge(members, tmp_path / "merged", **how)
    assert refused.value.expected or "it is exact" in refused.value.what
    with pytest.raises(InputError, match="no baseline"):
        merge_with_peft(members, tmp_path / "merged", method="ties")
    assert not (tmp_path / "merged").exists()


def spoil(folder: Path, kind: str) -> None:
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    if kind == "another base":
        config.write_text(config.read_text().replace('"pico"', '"other"'))
    elif kind == "another number of tokens":
        tensors = {key: tensor[:2].clone() for key, tensor in tensors.items()}
    elif kind == "fewer modules":
        del tensors[name]
    elif kind == "uneven":
        tensors[name] = tensors[name][:1].clone()
    elif kind == "no prompt":
        tensors["text_model.final_layer_norm.weight"] = torch.ones(3, 32)
    elif kind == "not finite":
        tensors[name][0, 0] = float("nan")
    elif kind == "empty":
        tensors = {key: tensor[:0].clone() for key, tensor in tensors.items()}
    elif kind == "whole numbers":
        tensors[name] = tensors[name].long()
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-4])
        return
    save_file(tensors, weights)


@pytest.mark.parametrize(
    ("kind", "error", "match"),
    [
        ("another base", InputError, "different bases"),
        ("another number of tokens", ShapeMismatch, "another number of tokens"),
        ("fewer modules", ShapeMismatch, "other modules"),
        ("uneven", ShapeMismatch, "no learned prompt"),
        ("no prompt", ShapeMismatch, "no learned prompt"),
        ("not finite", InputError, "NaN"),
        ("empty", ShapeMismatch, "no learned prompt"),
        ("whole numbers", InputError, "no floating-point"),
        ("truncated", InputError, "no readable safetensors"),
    ],
)
def test_members_that_do_not_belong_together(
    tmp_path: Path, kind: str, error: type[InputError], match: str
) -> None:
    members = [(filed(tmp_path / "a", 0), 0.5), (filed(tmp_path / "b", 1), 0.5)]
    spoil(tmp_path / "b", kind)
    with pytest.raises(error, match=match) as refused:
        merge(members, tmp_path / "merged")
    assert refused.value.where
    assert refused.value.expected
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("prompts", "match"),
    [
        ({"text_model.encoder.layers.2": torch.ones(3, 32)}, "no place"),
        ({"text_model.encoder.layers.0": torch.ones(3, 32)}, "no place"),
        ({"vision_model.post_layernorm": torch.ones(3, 32)}, "no place"),
        ({"text_model.encoder.layers.1": torch.ones(3, 16)}, "no place"),
    ],
)
def test_prompts_of_another_base_are_refused_and_the_base_is_what_it_was(
    place: Place, tmp_path: Path, prompts: dict[str, Tensor], match: str
) -> None:
    before = [*place.base.model.named_modules()]
    good = {"vision_model.pre_layrnorm": torch.ones(3, 32)}
    write_prompts(tmp_path / "a", {**good, **prompts}, base_name="pico")
    with pytest.raises(ValueError, match=match):
        attachment.attach(place.base, str(tmp_path / "a"))
    assert place.base.adapter is None
    assert [*place.base.model.named_modules()] == before
    attachment.attach(place.base, str(filed(tmp_path / "b", 0)))
    with pytest.raises(ValueError, match="attached already"):
        attachment.attach(place.base, str(tmp_path / "b"))
    attachment.detach(place.base)
    assert [*place.base.model.named_modules()] == before


@pytest.mark.parametrize(
    ("r", "options", "where", "expected"),
    [
        (3, {"depth": 3}, "options.depth", "at most the 2 layers"),
        (22, {"depth": 2}, "r", "at most 21"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_step(
    place: Place, r: int, options: dict[str, Any], where: str, expected: str
) -> None:
    before = [*place.base.model.named_modules()]
    with pytest.raises(InputError) as refused:
        trained(place, prompts_recipe(r, options=options))
    assert refused.value.where == where
    assert expected in refused.value.expected
    assert [*place.base.model.named_modules()] == before


def test_a_label_without_room_for_words_before_it_is_refused_before_a_step(place: Place) -> None:
    said = {"round": "a round shape", "long": " ".join(["shape"] * 19)}
    task = clip.prepare(place.base, {"labels": said})
    images = place.rows[0]
    with pytest.raises(ValueError, match="label 2 is longer than 19 tokens"):
        train(clip, place.base, task, images[:8], ["round"] * 8, [], [], prompts_recipe(5))


def test_a_budget_gives_the_number_of_tokens(place: Place) -> None:
    assert count_parameters(place.base.model, prompts_recipe(3)) == 3 * 4 * 32
    found = fit_rank(place.base.model, lambda r: prompts_recipe(r), 5 * 4 * 32 + 10)
    assert found == 5


def test_the_folder_is_a_function_of_what_was_learned(tmp_path: Path) -> None:
    prompts = random_prompts(0)
    one = write_prompts(tmp_path / "a", prompts, base_name="pico")
    two = write_prompts(tmp_path / "b", dict(reversed(prompts.items())), base_name="pico")
    assert one == two
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for bad, how in ((prompts, "/home/jane/clip"), ({}, "pico")):
        with pytest.raises(InputError, match="cannot be written"):
            write_prompts(tmp_path / "c", bad, base_name=how)
    spoiled = {**prompts, "vision_model.pre_layrnorm": torch.full((3, 32), float("inf"))}
    with pytest.raises(InputError, match="more than fp32"):
        write_prompts(tmp_path / "c", spoiled, base_name="pico")
    assert not (tmp_path / "c").exists()
