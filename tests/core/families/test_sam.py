"""The sam family: masks without prompts, LoRA and decoder together, z, Dice and HD95."""

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SamConfig, SamModel

from rpe_core.adapters.recipe import Recipe
from rpe_core.families import attachment, sam, shared
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from rpe_core.training.loop import train
from rpe_core.training.resume import from_tensors, to_tensors
from rpe_core.training.seeding import own_random_state
from tests.pico import pico_cases, pico_sam

TASK = {"classes": ["core", "rim"]}
RECIPE = Recipe(
    "lora", 4, 8.0, 2, 2e-2, 2, seed=0, target_modules=("qkv",), modules_to_save=("mask_decoder",)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico_sam(tmp_path_factory.mktemp("pico") / "sam")


@pytest.fixture(scope="module")
def base(folder):
    return sam.load(str(folder))


@pytest.fixture(scope="module")
def task(base):
    return sam.prepare(base, TASK)


@pytest.fixture(scope="module")
def cases():
    return pico_cases(np.random.default_rng(0), 5)


def test_the_number_of_threads_changes_no_feature(base, cases):
    found = []
    for threads in (1, 2):
        with own_random_state(0, threads=threads):
            found.append([one for _, one in sam.encode(base, cases[0], batch_size=2)])
            assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(*found)


def run(base, task, cases, recipe=RECIPE, **more):
    images, targets = cases
    split = (images[:4], targets[:4], images[4:], targets[4:])
    return train(sam, base, task, *split, recipe, **more)


@pytest.fixture(scope="module")
def trained(base, task, cases):
    turns = ((0, 6), (1, 1))
    return [run(base, task, cases, replace(RECIPE, seed=s, epochs=n)) for s, n in turns]


def written(place, adapter):
    saved = {"whole": adapter.whole, "modules_to_save": RECIPE.modules_to_save}
    write_adapter(place, adapter.deltas, base_name="pico", task_type=None, **saved)
    return place


def logits_of(base, task, image):
    (_, pixels), *_ = sam._stacks(base, task.window, [image], 16)
    with torch.no_grad():
        return sam._logits(base, task, sam._maps(base, pixels))


def features_of(base, items, **how):
    return np.concatenate([features for _, features in sam.encode(base, items, **how)])


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_training_learns_shapes_and_gives_the_base_back(base, task, cases, folder, trained):
    before = sam.validate(base, task, cases[0][4:], cases[1][4:])
    found = trained[0]
    assert found.validation_loss < before["loss"] - 0.2
    assert found.n_parameters == 2 * 4 * (32 + 96) + sum(t.numel() for t in found.whole.values())
    after, kept = base.model.state_dict(), load_file(folder / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in kept.items())
    assert not hasattr(base.model, "peft_config")


def test_merged_is_the_base_plus_weighted_changes_on_logits(
    base, task, cases, folder, trained, tmp_path
):
    places = [written(tmp_path / f"{i}", one) for i, one in enumerate(trained)]
    weights, image = (1.3, -0.3), cases[0][0]
    merge(list(zip(places, weights, strict=True)), tmp_path / "merged", base=folder)
    plain = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    frozen = logits_of(base, task, image)
    attachment.attach(base, str(tmp_path / "merged"))
    merged, z = logits_of(base, task, image), features_of(base, [image])
    attachment.detach(base)
    after = base.model.state_dict()
    assert list(after) == list(plain)
    assert all(torch.equal(after[name], plain[name]) for name in plain)
    np.testing.assert_array_equal(features_of(base, [image]), z)
    exact = sam.load(str(folder))
    own = dict(exact.model.named_parameters())
    for place, weight in zip(places, weights, strict=True):
        adapter = read_adapter(place)
        assert len(adapter.deltas) == 2
        for name, delta in adapter.deltas.items():
            own[f"{name}.weight"].data += weight * delta.dense()
        for name, tensor in adapter.whole.items():
            own[name].data += weight * (tensor - plain[name])
    torch.testing.assert_close(logits_of(exact, task, image), merged, atol=1e-4, rtol=0)
    assert (merged - frozen).abs().max() > 0.1


def test_an_attached_adapter_is_the_trained_model(base, task, cases, trained, tmp_path):
    attachment.attach(base, str(written(tmp_path / "a", trained[0])))
    found = sam.validate(base, task, cases[0][4:], cases[1][4:])
    attachment.detach(base)
    assert found["loss"] == pytest.approx(trained[0].validation_loss, abs=1e-5)
    assert found["score"] == pytest.approx(trained[0].validation_score, abs=1e-3)


def test_a_resumed_training_ends_bit_for_bit_like_an_undisturbed_one(base, cases):
    task = sam.prepare(base, {**TASK, "transforms": sam.TRANSFORMS})
    spared = {"micro_batch_size": 1, "gradient_checkpointing": True, "max_rows": 2}
    recipe, states = replace(RECIPE, **spared), []
    whole = run(base, task, cases, recipe, on_checkpoint=states.append)
    torch.rand(3)  # another process has another random state
    again = run(base, task, cases, recipe, resume=from_tensors(*to_tensors(states[0])))
    assert all(torch.equal(again.whole[name], tensor) for name, tensor in whole.whole.items())
    assert not any(module.training for module in base.model.modules())


def test_a_narrow_base_trains_a_decoder_in_float32(folder, cases, tmp_path):
    base = sam.load(str(folder), dtype="bfloat16")
    task = sam.prepare(base, TASK)
    found = run(base, task, cases, replace(RECIPE, epochs=1, max_rows=1))
    assert {tensor.dtype for tensor in found.whole.values()} == {torch.float32}
    attachment.attach(base, str(written(tmp_path / "a", found)))
    attached = sam.validate(base, task, cases[0][4:], cases[1][4:])
    attachment.detach(base)
    assert attached["loss"] == pytest.approx(found.validation_loss, abs=1e-3)


@pytest.mark.parametrize(("pooling", "width"), [("mean", 16), ("grid", 256)])
def test_z_does_not_depend_on_the_batch_size(base, cases, pooling, width):
    items = [*cases[0][:3], cases[0][0][:1, :30, :20]]
    one = features_of(base, items, pooling=pooling, batch_size=1)
    many = features_of(base, items, pooling=pooling, batch_size=16)
    assert one.shape == (4, width)
    np.testing.assert_allclose(one, many, atol=1e-6 * np.abs(many).max())
    assert [int(i[0]) for i, _ in sam.encode(base, items, pooling=pooling)] == list(range(4))


def test_a_feature_is_the_mean_map_of_the_slices(base, cases):
    image = cases[0][0]
    (_, pixels), *_ = sam._stacks(base, (), [image], 16)
    with torch.no_grad():
        maps = base.model.vision_encoder(pixels).last_hidden_state
    shown = maps[:, :, :7]  # 40 of 48 rows are 53 of 64, in fields of 8
    np.testing.assert_allclose(
        features_of(base, [image])[0], shown.mean(dim=(0, 2, 3)).numpy(), atol=1e-5
    )


def test_masks_come_in_order_at_their_own_size_whatever_the_batch(base, task, cases):
    rgb = np.random.default_rng(1).integers(0, 256, (1, 90, 70, 3), dtype=np.uint8)
    items = [cases[0][0], rgb, cases[0][1][:2]]
    found = sam.predict(base, task, items, batch_size=4)
    assert [mask.shape for mask in found] == [(3, 40, 48), (1, 90, 70), (2, 40, 48)]
    assert {mask.dtype for mask in found} == {np.dtype(np.uint8)}
    for item, mask in zip(items, found, strict=True):
        np.testing.assert_array_equal(sam.predict(base, task, [item], batch_size=1)[0], mask)
    files = [npy(items[0]), npy(rgb[0]), npy(items[2])]
    for file, mask in zip(sam.answers(task, sam.predict(base, task, files))["mask"], found,
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(np.load(io.BytesIO(file), allow_pickle=False), mask)


def test_items_are_indexed_one_by_one(base, task, cases):
    class Lazy:
        read: list[int] = []

        def __len__(self):
            return 2

        def __getitem__(self, index):
            self.read.append(index)
            return cases[0][index]

    assert len(sam.predict(base, task, Lazy())) == 2
    assert len(features_of(base, Lazy())) == 2
    assert Lazy.read == [0, 1, 0, 1]


def test_windows_percentiles_and_bytes_become_zero_to_one():
    ramp = np.linspace(0, 1000, 2 * 10 * 10).reshape(2, 10, 10, 1)
    scaled = sam._channels(ramp, shared.value_limits(ramp, ()), [0, 1])
    low, high = np.percentile(ramp, (0.5, 99.5))
    expected = ((ramp[..., 0] - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(scaled[:, 1], expected, atol=1e-6)
    ct = np.array([[-1000, -160], [40, 3000]], dtype=np.int16)[None, ..., None]
    seen = sam._channels(ct, shared.value_limits(ct, (-160, 240)), [0])
    np.testing.assert_allclose(seen[0, 1], [[0, 0], [0.5, 1]])
    grey = np.array([[0, 51], [102, 255]], dtype=np.uint8)[None, ..., None]
    for window, expected in (((), [[0, 0.2], [0.4, 1]]), ((0, 102), [[0, 0.5], [1, 1]])):
        seen = sam._channels(grey, shared.value_limits(grey, window), [0])
        np.testing.assert_allclose(seen[0, 0], expected)
    flat = np.full((1, 4, 4, 1), 7, dtype=np.uint16)
    assert not sam._channels(flat, shared.value_limits(flat, ()), [0]).any()


def test_a_grey_slice_has_its_neighbours_as_channels():
    volume = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    found = sam._channels(volume, (0.0, 255.0), [0, 2, 3])[..., 0, 0] * 255
    np.testing.assert_allclose(found, [[0, 0, 1], [1, 2, 3], [2, 3, 3]])
    np.testing.assert_allclose(sam._channels(volume[2:3], (0.0, 255.0), [0])[..., 0, 0] * 255, 2)


def test_transforms_move_image_and_mask_alike():
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.integers(0, 3, (2, 5, 7)).astype(np.uint8))
    images = mask[:, None].float().repeat(1, 3, 1, 1) / 4
    shapes, changed = set(), 0
    for _ in range(40):
        moved, same = sam._varied(images, mask, sam.TRANSFORMS[:3])
        assert torch.equal(moved[:, 0], same.float() / 4)
        shapes.add(tuple(same.shape))
        changed += not (same.shape == mask.shape and torch.equal(same, mask))
    assert shapes == {(2, 5, 7), (2, 7, 5)}
    assert changed > 20
    bright, same = sam._varied(images, mask, ("brightness",))
    assert torch.equal(same, mask)
    assert not torch.equal(bright, images)


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        ({"classes": list("abcd")}, "masks for 1 to 3 classes"),
        ({"classes": []}, "masks for 1 to 3"),
        ({**TASK, "transforms": ["shear"]}, "flip_rows"),
        ({**TASK, "window": [240, -160]}, "lower one first"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(base, declared, match):
    with pytest.raises(ValueError, match=match):
        sam.prepare(base, declared)


@pytest.mark.parametrize(
    "item",
    [b"not a file", np.zeros((2, 2, 2, 2), np.uint8), np.zeros((0, 4)), np.array([["a"]]),
     np.array([[np.nan, 1.0]]), np.zeros(3)],
)  # fmt: skip
def test_what_is_no_image_is_refused(base, task, item):
    with pytest.raises(ValueError, match=r"item|image"):
        sam.predict(base, task, [item])


def brute_hd95(one, other, spacing):
    """Distances from every surface voxel to every other, neighbours looked at one by one."""

    def surface(mask):
        axes = [axis for axis in range(3) if axis > 0 or len(mask) > 1]
        points = []
        for place in np.argwhere(mask):
            for axis, step in itertools.product(axes, (-1, 1)):
                near = place.copy()
                near[axis] += step
                is_out = not 0 <= near[axis] < mask.shape[axis]
                if is_out or not mask[tuple(near)]:
                    points.append(place * np.array(spacing))
                    break
        return np.array(points)

    a, b = surface(one), surface(other)
    apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return max(np.percentile(apart.min(axis=1), 95), np.percentile(apart.min(axis=0), 95))


@pytest.mark.parametrize("n_slices", [1, 5])
def test_dice_and_hd95_equal_brute_force(base, n_slices):
    task = sam.prepare(base, TASK)
    rng, spacing = np.random.default_rng(n_slices), (2.5, 0.5, 0.75)
    masks, truths = (
        [rng.choice(3, (n_slices, 9, 11), p=(0.6, 0.2, 0.2)).astype(np.uint8) for _ in range(3)]
        for _ in range(2)
    )
    found = sam.score(task, masks, [(truth, spacing) for truth in truths])
    for i, (mask, truth) in enumerate(zip(masks, truths, strict=True)):
        for index, name in enumerate(TASK["classes"], start=1):
            p, t = mask == index, truth == index
            assert found[f"dice.{name}"][i] == pytest.approx(
                2 * (p & t).sum() / (p.sum() + t.sum())
            )
            assert found[f"hd95.{name}"][i] == pytest.approx(brute_hd95(p, t, spacing))
    np.testing.assert_allclose(found["dice"], (found["dice.core"] + found["dice.rim"]) / 2)
    np.testing.assert_allclose(found["hd95"], (found["hd95.core"] + found["hd95.rim"]) / 2)


def test_empty_masks_have_scores_too(base):
    task = sam.prepare(base, {"classes": ["core"]})
    empty, dot = np.zeros((3, 5, 5), np.uint8), np.zeros((3, 5, 5), np.uint8)
    dot[1, 2, 2] = 1
    masks = np.empty(3, dtype=object)
    masks[:] = [empty, dot, empty]
    found = sam.score(task, masks, [(empty, (2.0, 1.0, 1.0)), (empty, (2.0, 1.0, 1.0)),
                                    (dot, (2.0, 1.0, 1.0))])  # fmt: skip
    np.testing.assert_allclose(found["dice"], [1, 0, 0])
    np.testing.assert_allclose(found["hd95"], [0, 48**0.5, 48**0.5])


def test_the_loss_is_cross_entropy_and_dice_of_what_shows_the_image(base, task, cases):
    image, (mask, _) = cases[0][0], cases[1][0]
    logits, truth = logits_of(base, task, image), sam._truth(base, torch.from_numpy(mask))
    rows = logits[:, :, :27].movedim(1, -1).reshape(-1, 3)  # 40 of 48 rows are 27 of 32
    kept = truth[:, :27].reshape(-1)
    assert (truth[:, 27:] == sam.IGNORED).all()
    p, t = rows.softmax(-1), torch.nn.functional.one_hot(kept, 3)
    entropy = -p[torch.arange(len(kept)), kept].log().mean()
    dice = (2 * (p * t).sum(0) + 1e-5) / ((p**2).sum(0) + t.sum(0) + 1e-5)
    expected = 0.2 * entropy + 0.8 * (1 - dice).mean()
    assert float(sam._loss_of(sam._sums(logits, truth))) == pytest.approx(float(expected), abs=1e-5)
    found = float(sam.forward(base, task, [image], [(mask, (1.0, 1.0, 1.0))])[0])
    assert found == pytest.approx(float(expected), abs=1e-5), "three slices are all looked at"


def test_beside_the_loss_stand_features_of_slices_and_logits_of_pixels(base, task, cases):
    images, masks = cases[0][:2], cases[1][:2]
    _, features, logits = sam.forward(base, task, images, masks)
    assert features.shape == (6, 16)
    encoded = dict(enumerate(row for _, rows in sam.encode(base, images) for row in rows))
    for i, mean in encoded.items():  # three slices are all looked at
        found = features[3 * i : 3 * i + 3].mean(dim=0).detach()
        torch.testing.assert_close(found, torch.from_numpy(mean), atol=1e-5, rtol=1e-5)
    assert logits.shape == (2 * 3 * 27 * 32, 3), "of what shows the image"


def test_folders_that_are_no_sam_or_lack_weights_are_refused(folder, tmp_path):
    lacking = pico_sam(tmp_path / "lacking")
    state = load_file(lacking / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if "layers.1.attn.qkv" not in name}
    save_file(kept, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights"):
        sam.load(str(lacking))
    with pytest.raises(ValueError, match="no tokens"):
        sam.load(str(folder), max_tokens=128)
    (lacking / "config.json").write_text('{"model_type": "sam2"}')
    with pytest.raises(ValueError, match="no SAM"):
        sam.load(str(lacking))


def test_a_sam_of_real_size_has_the_modules_that_a_recipe_names():
    with torch.device("meta"):
        model = SamModel(SamConfig())  # ViT-B, 1024 x 1024
    names = dict(model.named_modules())
    adapted = [name for name in names if name.endswith(".qkv")]
    assert len(adapted) == 12
    assert all(tuple(names[name].weight.shape) == (2304, 768) for name in adapted)
    assert not any(name.startswith("mask_decoder") for name in adapted)
    assert model.mask_decoder.mask_tokens.weight.shape == (4, 256)
