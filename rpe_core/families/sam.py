"""Segment Anything: masks without prompts, adapted by LoRA and a decoder of its own. Nothing ours.

The registry ships `shared` and this source inside each model version, so they stand on torch,
transformers, peft and numpy alone. Faults are ValueError, and no message holds a pixel.

An item is an image (slices, height, width, channels), or the bytes of a .npy file of one; a target
is its mask (slices, height, width) of class indices with the spacing in mm. Items are looked at one
by one, so they may be read when they are indexed. SAM 2 is not served: its decoder takes features
of three resolutions from another encoder, which would be a second path.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import SamModel

from rpe_core.families.shared import (
    SLICES,
    Doubles,
    Floats,
    ForwardPass,
    Image,
    Integers,
    SlicePlace,
    compute_in_turn,
    load_frozen,
    mean_by_item,
    read_image,
    require_image_model,
    require_window,
    scale_values,
    slices_at_once,
    stack_slices,
    value_limits,
    without_adapter,
)

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the images SAM was trained on
GRID = 4  # rows and columns of the spatial pooling
CROSS_ENTROPY, DICE, SMOOTH = 0.2, 0.8, 1e-5  # the loss of MA-SAM
TRANSFORMS = ("flip_rows", "flip_columns", "quarter_turns", "brightness")
CONTRAST, SHIFT = 0.4, 0.2  # width of what brightness multiplies by, about 1, and adds, about 0
IGNORED = -100  # a pixel of padding

Masks = npt.NDArray[np.object_]
Target = tuple[npt.NDArray[np.uint8], tuple[float, float, float]]


@dataclass
class Base:
    """A frozen SAM in evaluation mode; `adapter` is attached."""

    model: Any
    dtype: torch.dtype
    device: str
    adapter: PeftModel | None = None

    @property
    def side(self) -> int:
        """Height and width of the square that the encoder sees, in pixels."""
        return int(self.model.config.vision_config.image_size)

    @property
    def grid(self) -> int:
        """Rows of the encoder's map; the decoder's masks have four times as many."""
        return self.side // int(self.model.config.vision_config.patch_size)


@dataclass(frozen=True)
class Task:
    """Names of classes 1 .. K (0 is background), the window of values, and transforms."""

    classes: tuple[str, ...]
    window: tuple[float, ...]
    transforms: tuple[str, ...]


def load(folder: str, *, max_tokens: int = 0, dtype: str = "float32", device: str = "cpu") -> Base:
    """Load a frozen SAM from a local folder: safetensors only, no network, no remote code.

    Raises:
        OSError: if the folder lacks a file.
        ValueError: if it holds another architecture or lacks weights, or if images are to have
            tokens.
    """
    require_image_model(folder, "sam", max_tokens)
    model = load_frozen(SamModel, folder, {"dtype": getattr(torch, dtype)})
    return Base(model.to(device).eval(), getattr(torch, dtype), device)


def encode(
    base: Base, items: Sequence[Any], *, pooling: str = "mean", batch_size: int = 16
) -> Iterator[tuple[Integers, Floats]]:
    """The mean of an item's slices of the encoder's map, under the frozen base.

    Of a map only what shows the image counts, no padding. It is averaged whole (`mean`, d channels)
    or over a grid of 4 x 4 fields (`grid`, 16 d). No window of a task has part in it, and the
    number of threads changes no bit.

    Yields:
        Indices (1,) and features (1, d), in the order of items.
    """
    with without_adapter(base):
        stacks = _stacks(base, (), items, batch_size)
        features = compute_in_turn(base, partial(_slice_features, base, pooling), stacks)
        for i, feature in mean_by_item(features):
            yield np.array([i]), feature[None].astype(np.float32)


def prepare(base: Base, task: Mapping[str, Any]) -> Task:
    """Check that the decoder has a mask for each class; nothing is computed.

    Raises:
        ValueError: if it has not, or the task names transforms or a window that there are not.
    """
    prepared = Task(*(tuple(task.get(name, ())) for name in ("classes", "window", "transforms")))
    most = int(base.model.config.mask_decoder_config.num_multimask_outputs)
    if not 1 <= len(prepared.classes) <= most:
        raise ValueError(f"the decoder has masks for 1 to {most} classes, beside the background")
    if unknown := set(prepared.transforms) - set(TRANSFORMS):
        raise ValueError(f"{len(unknown)} transforms are none of {', '.join(TRANSFORMS)}")
    require_window(prepared.window)
    return prepared


def sizes(base: Base, items: Sequence[Any]) -> Integers:
    """One each, shape (n,): a step looks at as many slices of every case."""
    return np.ones(len(items), dtype=np.int64)


def forward(base: Base, task: Task, items: Sequence[Any], targets: Sequence[Target]) -> ForwardPass:
    """0.2 cross entropy + 0.8 Dice loss over some random slices of each item (MA-SAM, 2023).

    Beside it the mean map of each slice, (b, d), and the logits of pixels that count, (m, 1 + K).
    Slices and the task's transforms are drawn from torch's global generator. Dice sums over the
    slices of the call, so that it is that of a micro batch where a step is cut into some.
    """
    pixels, truth, shapes = [], [], []
    for i in range(len(items)):
        image, mask = read_image(items[i]), targets[i][0]
        chosen = torch.randperm(len(image))[:SLICES].numpy()
        channels = _channels(image, value_limits(image, task.window), chosen)
        drawn = _varied(channels, torch.from_numpy(mask[chosen]), task.transforms)
        pixels.append(_pixels(base, drawn[0]))
        truth.append(_truth(base, drawn[1]))
        shapes += [drawn[1].shape[1:]] * len(chosen)
    maps, seen = _maps(base, torch.cat(pixels)), torch.cat(truth).to(base.device)
    means = [
        _pooled(base, *map_and_shape, "mean")
        for map_and_shape in zip(maps.float(), shapes, strict=True)
    ]
    logits = _logits(base, task, maps)
    counted = logits.movedim(1, -1)[seen != IGNORED]
    return ForwardPass(_loss_of(_sums(logits, seen)), torch.stack(means), counted)


def validate(
    base: Base, task: Task, items: Sequence[Any], targets: Sequence[Target], *, batch_size: int = 16
) -> dict[str, float]:
    """The loss over all slices of all items, nothing transformed, and mean Dice as the score."""
    total = torch.zeros(2 + 3 * (1 + len(task.classes)), dtype=torch.float64)
    scores = []
    for i in range(len(items)):
        mask = targets[i][0]
        predicted = np.empty_like(mask)
        for places, pixels in _stacks(base, task.window, [items[i]], batch_size):
            chosen = [j for _, j, _ in places]
            truth = _truth(base, torch.from_numpy(mask[chosen])).to(base.device)
            with torch.no_grad():
                logits = _logits(base, task, _maps(base, pixels))
            total += _sums(logits, truth).double().cpu()
            for j, row in zip(chosen, logits, strict=True):
                predicted[j] = _mask(base, row, mask.shape[1:])
        scores.append(np.mean([_dice(*pair) for pair in _pairs(task, predicted, mask)]))
    return {"loss": float(_loss_of(total)), "score": float(np.mean(scores))}


def predict(base: Base, task: Task, items: Sequence[Any], *, batch_size: int = 16) -> Masks:
    """The likeliest class of each pixel, shape (n,) of uint8 masks (slices, height, width)."""
    masks = np.empty(len(items), dtype=object)
    with torch.no_grad():
        for places, pixels in _stacks(base, task.window, items, batch_size):
            logits = _logits(base, task, _maps(base, pixels))
            for (i, j, shape), row in zip(places, logits, strict=True):
                if j == 0:
                    masks[i] = np.zeros(shape, dtype=np.uint8)
                masks[i][j] = _mask(base, row, shape[1:])
    return masks


def answers(task: Task, masks: Masks) -> dict[str, npt.NDArray[Any]]:
    """What a consumer is told: the bytes of a .npy file of each mask, shape (n,)."""
    files = np.empty(len(masks), dtype=object)
    for i, mask in enumerate(masks):
        file = io.BytesIO()
        np.save(file, mask, allow_pickle=False)
        files[i] = file.getvalue()
    return {"mask": files}


def score(task: Task, masks: Masks, targets: Sequence[Target]) -> dict[str, Doubles]:
    """Per item, each of shape (n,): `dice` and `hd95` in mm, means over classes, and of each class.

    Dice is 2 |P and T| / (|P| + |T|) over the whole item, 1 where both are empty. HD95 is the
    larger of the two 95th percentiles of distances from one surface to the other: 0 where both are
    empty, the diagonal of the item where one is.
    """
    scores = {f"{name}.{name_of_class}": np.zeros(len(masks)) for name in ("dice", "hd95")
             for name_of_class in task.classes}  # fmt: skip
    for i, mask in enumerate(masks):
        truth, spacing = targets[i]
        for name_of_class, pair in zip(task.classes, _pairs(task, mask, truth), strict=True):
            scores[f"dice.{name_of_class}"][i] = _dice(*pair)
            scores[f"hd95.{name_of_class}"][i] = _hd95(*pair, spacing)
    means = {
        name: np.mean([scores[f"{name}.{name_of_class}"] for name_of_class in task.classes], axis=0)
        for name in ("dice", "hd95")
    }
    return {**means, **scores}


def _channels(
    image: Image, limits: tuple[float, float], chosen: Sequence[int] | Integers
) -> Tensor:
    """Slices as (b, 3, height, width) from 0 to 1; a grey one between its two neighbours."""
    if image.shape[-1] == 1:
        near = np.asarray(chosen)[:, None] + np.array([-1, 0, 1])
        rows = image[near.clip(0, len(image) - 1), ..., 0]
    else:
        rows = np.moveaxis(image[np.asarray(chosen)], -1, 1)
    return scale_values(rows, limits)


def _varied(images: Tensor, masks: Tensor, transforms: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Images (b, 3, h, w) and masks (b, h, w) of one case, put through the same random changes."""
    if "flip_rows" in transforms and torch.rand(()) < 0.5:
        images, masks = images.flip(-2), masks.flip(-2)
    if "flip_columns" in transforms and torch.rand(()) < 0.5:
        images, masks = images.flip(-1), masks.flip(-1)
    if "quarter_turns" in transforms:
        turns = int(torch.randint(4, ()))
        images, masks = images.rot90(turns, (-2, -1)), masks.rot90(turns, (-2, -1))
    if "brightness" in transforms:
        contrast, shift = (torch.rand(2) - 0.5).tolist()
        images = (images * (1 + CONTRAST * contrast) + SHIFT * shift).clamp(0, 1)
    return images, masks


def _inside(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Height and width of an image whose longer side is made `side`."""
    longest = max(shape)
    height, width = (max(1, int(n * side / longest + 0.5)) for n in shape)
    return height, width


def _padded(rows: Tensor, side: int, value: int) -> Tensor:
    """Rows (..., h, w) in the upper left of a square."""
    height, width = rows.shape[-2:]
    return functional.pad(rows, (0, side - width, 0, side - height), value=value)


def _pixels(base: Base, images: Tensor) -> Tensor:
    """What the encoder sees of images (b, 3, h, w): resized, standardised and padded."""
    size = _inside(images.shape[-2:], base.side)
    fitted = functional.interpolate(images, size, mode="bilinear", antialias=True)
    mean, deviation = (torch.tensor(rgb)[:, None, None] for rgb in (MEAN, DEVIATION))
    return _padded((fitted - mean) / deviation, base.side, 0)


def _truth(base: Base, masks: Tensor) -> Tensor:
    """Masks (b, h, w) on the decoder's grid, by the nearest pixel, padding ignored."""
    size = _inside(masks.shape[-2:], 4 * base.grid)
    fitted = functional.interpolate(masks[:, None].float(), size, mode="nearest-exact")[:, 0]
    return _padded(fitted.long(), 4 * base.grid, IGNORED)


def _stacks(
    base: Base, window: Sequence[float], items: Sequence[Any], batch_size: int
) -> Iterator[tuple[list[SlicePlace], Tensor]]:
    """All slices, some at a time: their places and the pixels of each."""

    def pixels_of(image: Image, limits: tuple[float, float], j: int) -> Tensor:
        return _pixels(base, _channels(image, limits, [j]))

    return stack_slices(items, window, pixels_of, slices_at_once(batch_size, base.grid**2))


def _slice_features(
    base: Base, pooling: str, stack: tuple[list[SlicePlace], Tensor]
) -> list[tuple[SlicePlace, Doubles]]:
    """The pooled map of each slice of a stack, with its place."""
    places, pixels = stack
    with torch.no_grad():  # each thread has a switch of its own
        return [
            (
                slice_place,
                _pooled(base, feature_map, slice_place[2][1:], pooling).double().cpu().numpy(),
            )
            for slice_place, feature_map in zip(places, _maps(base, pixels).float(), strict=True)
        ]


def _maps(base: Base, pixels: Tensor) -> Tensor:
    """The encoder's output, (b, channels, grid, grid)."""
    maps: Tensor = base.model.vision_encoder(pixels.to(base.device, base.dtype)).last_hidden_state
    return maps


def _pooled(base: Base, features: Tensor, shape: Sequence[int], pooling: str) -> Tensor:
    """A map (channels, grid, grid) as one vector; only fields that show the image."""
    height, width = (-(-n * base.grid // base.side) for n in _inside(shape, base.side))
    fields = 1 if pooling == "mean" else GRID
    return functional.adaptive_avg_pool2d(features[:, :height, :width], fields).flatten()


def _logits(base: Base, task: Task, maps: Tensor) -> Tensor:
    """Of background, 0, and of each class, a mask of the decoder: (b, 1 + K, 4 grid, 4 grid)."""
    model = base.model
    # where the decoder is trained whole, it stays in float32 on a narrower base
    dtype = model.mask_decoder.mask_tokens.weight.dtype
    position = model.get_image_wide_positional_embeddings().expand(len(maps), -1, -1, -1)
    no_mask = model.prompt_encoder(None, None, None, None)[1]
    given = (maps.to(dtype), position.to(dtype), None, no_mask.to(dtype), True)
    masks = model.mask_decoder(*given)[0][:, 0, : len(task.classes)].float()
    return torch.cat([torch.zeros_like(masks[:, :1]), masks], dim=1)


def _mask(base: Base, logits: Tensor, shape: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The likeliest class of each pixel at the image's own size, from logits (1 + K, L, L)."""
    height, width = _inside(shape, base.side)
    square = functional.interpolate(logits[None], (base.side, base.side), mode="bilinear")
    full = functional.interpolate(square[..., :height, :width], tuple(shape), mode="bilinear")
    return np.asarray(full[0].argmax(dim=0).to(torch.uint8).cpu().numpy())


def _sums(logits: Tensor, truth: Tensor) -> Tensor:
    """What adds up to the loss: cross entropy, pixels, and sum pt, sum pp, sum t by class."""
    entropy = functional.cross_entropy(logits, truth, ignore_index=IGNORED, reduction="sum")
    seen = (truth != IGNORED)[:, None]
    p = logits.softmax(dim=1) * seen
    t = functional.one_hot(truth.clamp(min=0), logits.shape[1]).movedim(-1, 1) * seen
    by_class = [part.sum(dim=(0, 2, 3)) for part in (p * t, p * p, t)]
    return torch.cat([torch.stack([entropy, seen.sum()]), *by_class])


def _loss_of(sums: Tensor) -> Tensor:
    both, predicted, true = sums[2:].chunk(3)
    dice = 1 - (2 * both + SMOOTH) / (predicted + true + SMOOTH)
    return CROSS_ENTROPY * sums[0] / sums[1] + DICE * dice.mean()


def _pairs(task: Task, mask: Image, truth: Image) -> Iterator[tuple[Image, Image]]:
    """Prediction and truth of each class, as booleans."""
    for index in range(1, 1 + len(task.classes)):
        yield mask == index, truth == index


def _dice(predicted: Image, truth: Image) -> float:
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


def _hd95(predicted: Image, truth: Image, spacing: Sequence[float]) -> float:
    """In mm, of volumes, or of flat images where there is a single slice."""
    # a consumer never scores, so what a version needs does not name it
    from scipy import ndimage

    if not (predicted.any() and truth.any()):
        is_same = predicted.any() == truth.any()
        extent = (np.array(predicted.shape) - 1) * np.asarray(spacing)
        return 0.0 if is_same else float(np.linalg.norm(extent))
    box = ndimage.find_objects((predicted | truth).astype(np.uint8))[0]
    masks, step = [predicted[box], truth[box]], list(spacing)
    if len(predicted) == 1:
        masks, step = [mask[0] for mask in masks], step[1:]
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    away = [ndimage.distance_transform_edt(~edge, sampling=step) for edge in edges]
    directed = (away[1][edges[0]], away[0][edges[1]])
    return float(max(np.percentile(distances, 95) for distances in directed))
