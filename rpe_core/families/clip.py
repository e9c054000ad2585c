"""CLIP: images classified zero-shot by label prompts, adapted as one likes. Nothing of ours here.

The registry ships `shared` and this source inside each model version, so they stand on torch,
transformers, peft and numpy alone. Faults are ValueError, and no message holds a pixel or a label.

An item is an image (slices, height, width, channels), or the bytes of a .npy file of one; a target
is a label. Its feature is the projected embedding, of several slices their mean. Items are looked
at one by one, so they may be read when they are indexed.

Module names such as q_proj are those of both encoders, and an adapter may change both. Labels are
then what the adapted text encoder says of their prompts, in training and in prediction alike. One
that has learned words of its own, `n_words` of them, reads them before each prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer, CLIPModel

from rpe_core.families.shared import (
    CHARACTERS_PER_TOKEN,
    LOCAL_ONLY,
    SLICES,
    Doubles,
    Floats,
    ForwardPass,
    Image,
    Integers,
    SlicePlace,
    answer_labels,
    compute_in_turn,
    load_frozen,
    mean_by_item,
    read_image,
    require_image_model,
    require_labels,
    require_window,
    scale_values,
    score_labels,
    slices_at_once,
    stack_slices,
    target_indices,
    validate_labels,
    value_limits,
    without_adapter,
)

PREPROCESSING = "preprocessor_config.json"  # what its authors did to images, where a folder has it
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the images CLIP was trained on
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
LONGEST = 4  # sides: what lies farther from the middle of an elongated image is cropped anyway
WORDS_BEFORE = "a photo of a"  # where learned words begin, over and over if they are more
TEMPLATES = (  # what a label prompt may stand in; a training that guards features asks for them all
    "{}",
    "{}.",
    "an image: {}",
    "a picture that shows {}",
    "this is {}",
    "the image shows {}",
    "a good view of {}",
)


@dataclass
class Base:
    """A frozen CLIP in evaluation mode with its tokenizer; `adapter` is attached.

    An image's shorter side becomes `shorter` pixels, `text` is the text encoder as it was loaded.
    """

    model: Any
    tokenizer: Any
    shorter: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    text: list[nn.Module]
    dtype: torch.dtype
    device: str
    adapter: Any = None

    @property
    def side(self) -> int:
        """Height and width of the square that the image encoder sees, in pixels."""
        return int(self.model.config.vision_config.image_size)

    @property
    def n_patches(self) -> int:
        """Tokens of one slice."""
        return (self.side // int(self.model.config.vision_config.patch_size)) ** 2

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest prompt."""
        return int(self.model.config.text_config.max_position_embeddings)


@dataclass(frozen=True)
class Task:
    """Label names in the order of the outputs, prompts, frozen anchors (n_labels, d), a window."""

    labels: tuple[str, ...]
    prompts: tuple[str, ...]
    anchors: Tensor
    window: tuple[float, ...]


def load(folder: str, *, max_tokens: int = 0, dtype: str = "float32", device: str = "cpu") -> Base:
    """Load a frozen CLIP from a local folder: safetensors only, no network, no remote code.

    Raises:
        OSError: if the folder lacks a file.
        ValueError: if it holds another architecture or lacks weights, its preprocessing is another,
            or images are to have tokens.
    """
    config = require_image_model(folder, "clip", max_tokens)
    how = _preprocessing(Path(folder) / PREPROCESSING, int(config.vision_config.image_size))
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **LOCAL_ONLY)
    model = load_frozen(CLIPModel, folder, {"dtype": getattr(torch, dtype)}).to(device).eval()
    return Base(model, tokenizer, *how, _text_modules(model), getattr(torch, dtype), device)


def encode(
    base: Base, items: Sequence[Any], *, pooling: str = "projection", batch_size: int = 16
) -> Iterator[tuple[Integers, Floats]]:
    """The projected embedding under the frozen base, not normalised, the mean over all slices.

    No window and no label of a task has part in it, and the number of threads changes no bit.

    Yields:
        Indices (1,) and features (1, d), in the order of items.
    """
    with without_adapter(base):
        for i, feature in _item_features(base, (), items, batch_size):
            yield np.array([i]), feature[None].astype(np.float32)


def prepare(base: Base, task: Mapping[str, Any]) -> Task:
    """Embed the prompts of `task["labels"]` (name -> prompt) once by the frozen base: unit anchors.

    Raises:
        ValueError: if there are fewer than two labels, a prompt is longer than the text encoder
            reads, or the window is none.
    """
    labels: Mapping[str, str] = task["labels"]
    window, prompts = tuple(task.get("window", ())), tuple(labels.values())
    require_labels(labels)
    require_window(window)
    _require_short(base, prompts)
    with without_adapter(base):
        (anchors,) = compute_in_turn(base, partial(torch.no_grad()(_texts), base), [prompts])
    return Task(tuple(labels), prompts, anchors, window)


def sizes(base: Base, items: Sequence[Any]) -> Integers:
    """One each, shape (n,): all images are brought to the same size."""
    return np.ones(len(items), dtype=np.int64)


def forward(base: Base, task: Task, items: Sequence[Any], targets: Sequence[str]) -> ForwardPass:
    """Mean cross entropy in nats of exp(logit_scale) cos(feature, label) against the target labels.

    Beside it the features (b, d), not normalised, and the logits (b, n_labels). Of an item of more
    than SLICES slices, some random ones are looked at, drawn from torch's global generator.

    Raises:
        ValueError: if a target is no label of the task; it names the item's index only.
    """
    truth = torch.as_tensor(target_indices(task.labels, targets), device=base.device)
    pixels = []
    for i in range(len(items)):
        image = read_image(items[i])
        chosen = torch.arange(len(image))
        if len(image) > SLICES:
            chosen = torch.randperm(len(image))[:SLICES]
        pixels.append(_pixels(base, image[chosen.numpy()], value_limits(image, task.window)))
    slices = _embedded(base, torch.cat(pixels))
    by_item = torch.split(slices, [len(part) for part in pixels])
    features = torch.stack([part.mean(dim=0) for part in by_item])
    logits = _logits(base, features, _labels(base, task))
    return ForwardPass(functional.cross_entropy(logits, truth), features, logits)


def label_features(base: Base, task: Task, *, is_varied: bool = False) -> Tensor:
    """Unit features (n_labels, d) of the label prompts under the model as it now is.

    Where they are varied, the mean over all TEMPLATES that a prompt may stand in, made a unit.
    Prompts that are too long for learned words to stand before them are a ValueError.
    """
    if _words_before(base):  # else `prepare` has looked
        _require_short(base, task.prompts)
    templates = TEMPLATES if is_varied else ("{}",)
    texts = [template.format(prompt) for template in templates for prompt in task.prompts]
    mean = _texts(base, texts).reshape(len(templates), len(task.prompts), -1).mean(dim=0)
    return functional.normalize(mean, dim=-1)


def validate(
    base: Base, task: Task, items: Sequence[Any], targets: Sequence[str]
) -> dict[str, float]:
    """What training watches, over all slices: mean loss in nats, and accuracy as the score."""
    return validate_labels(task.labels, predict(base, task, items), targets)


def predict(base: Base, task: Task, items: Sequence[Any], *, batch_size: int = 16) -> Doubles:
    """Probabilities, shape (n, n_labels), rows in the order of items, columns of task.labels.

    Thread count changes no bit; the batch size less than a feature's float32 noise, sharpened.
    """
    features = np.zeros((len(items), int(base.model.config.projection_dim)), dtype=np.float32)
    for i, feature in _item_features(base, task.window, items, batch_size):
        features[i] = feature
    (probabilities,) = compute_in_turn(base, partial(_probabilities, base, task), [features])
    return np.asarray(probabilities)


def answers(task: Task, probabilities: Doubles) -> dict[str, npt.NDArray[Any]]:
    """What a consumer is told: the likeliest label and its probability, columns of shape (n,)."""
    return answer_labels(task.labels, probabilities)


def score(task: Task, probabilities: Doubles, targets: Sequence[str]) -> dict[str, Integers]:
    """Per item, each of shape (n,): correct (0 or 1), predicted and target (label indices)."""
    return score_labels(task.labels, probabilities, targets)


def _preprocessing(file: Path, side: int) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """The shorter side that an image is brought to, mean and deviation of each channel."""
    declared = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    sizes = [declared.get(name, side) for name in ("size", "crop_size")]
    shorter, crop = (
        size.get("shortest_edge", size.get("height")) if isinstance(size, dict) else size
        for size in sizes
    )
    is_square = isinstance(sizes[0], dict) and "height" in sizes[0]
    if is_square or crop != side or not isinstance(shorter, int) or shorter < side:
        raise ValueError(f"{PREPROCESSING} does not crop {side} pixels from the shorter side")
    mean, deviation = declared.get("image_mean", MEAN), declared.get("image_std", DEVIATION)
    return shorter, tuple(map(float, mean)), tuple(map(float, deviation))


def _pixels(base: Base, slices: Image, limits: tuple[float, float]) -> Tensor:
    """What the encoder sees of slices (b, h, w, 1 or 3): (b, 3, side, side); grey becomes RGB.

    The shorter side is resized, bicubic, and the middle cropped, as in the authors' preprocessing.
    """
    height, width = slices.shape[1:3]
    most = LONGEST * min(height, width)
    rows = _middle(np.moveaxis(slices, -1, 1), min(height, most), min(width, most))
    values = scale_values(rows, limits)
    size = [base.shorter * n // min(rows.shape[-2:]) for n in rows.shape[-2:]]
    fitted = functional.interpolate(values, size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
    mean, deviation = (torch.tensor(c)[:, None, None] for c in (base.mean, base.deviation))
    normalised: Tensor = (_middle(fitted, base.side, base.side) - mean) / deviation
    return normalised


def _middle(rows: Any, height: int, width: int) -> Any:
    """The middle of rows (..., h, w)."""
    top, left = (rows.shape[-2] - height) // 2, (rows.shape[-1] - width) // 2
    return rows[..., top : top + height, left : left + width]


def _item_features(
    base: Base, window: Sequence[float], items: Sequence[Any], batch_size: int
) -> Iterator[tuple[int, Doubles]]:
    """Index and feature (d,) of each item under the model as it now is, in their order."""

    def pixels_of(image: Image, limits: tuple[float, float], j: int) -> Tensor:
        return _pixels(base, image[j : j + 1], limits)

    stacks = stack_slices(items, window, pixels_of, slices_at_once(batch_size, base.n_patches))
    return mean_by_item(compute_in_turn(base, partial(_slice_features, base), stacks))


def _slice_features(
    base: Base, stack: tuple[list[SlicePlace], Tensor]
) -> list[tuple[SlicePlace, Doubles]]:
    """The embedding of each slice of a stack, with its place."""
    places, pixels = stack
    with torch.no_grad():  # each thread has a switch of its own
        return list(zip(places, _embedded(base, pixels).double().cpu().numpy(), strict=True))


def _embedded(base: Base, pixels: Tensor) -> Tensor:
    """The projected embedding of images, (b, d), in float32."""
    seen = base.model.vision_model(pixel_values=pixels.to(base.device, base.dtype))
    embedded: Tensor = base.model.visual_projection(seen.pooler_output).float()
    return embedded


def _texts(base: Base, texts: Sequence[str]) -> Tensor:
    """Unit features of texts, (n, d), in float32."""
    before = _words_before(base)
    rows = _tokens(base, texts, base.max_tokens - len(before))
    rows = [row[:1] + before + row[1:] for row in rows]
    longest, end = max(map(len, rows)), base.tokenizer.eos_token_id
    # no token sees what follows it, and of several ends the first is looked at
    ids = torch.tensor([row + [end] * (longest - len(row)) for row in rows], device=base.device)
    read = base.model.text_model(input_ids=ids)
    return functional.normalize(base.model.text_projection(read.pooler_output).float(), dim=-1)


def _words_before(base: Base) -> list[int]:
    """The tokens that learned words begin at; none where the text encoder has no such words."""
    n = getattr(base.model.text_model.embeddings.token_embedding, "n_words", 0)
    words = _tokens(base, [WORDS_BEFORE], base.max_tokens)[0][1:-1] if n else []
    return [words[i % len(words)] for i in range(n)]


def _require_short(base: Base, prompts: Sequence[str]) -> None:
    """Raise ValueError where a label prompt is longer than the text encoder reads."""
    most = base.max_tokens - len(_words_before(base))
    for i, prompt in enumerate(prompts, start=1):
        is_long = len(prompt) > CHARACTERS_PER_TOKEN * most
        if is_long or len(_tokens(base, [prompt], most + 1)[0]) > most:
            raise ValueError(f"the prompt of label {i} is longer than {most} tokens")


def _tokens(base: Base, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    encoded = base.tokenizer(list(texts), truncation=True, max_length=max_tokens)
    rows: list[list[int]] = encoded["input_ids"]
    return rows


def _text_modules(model: Any) -> list[nn.Module]:
    """All modules that a prompt goes through."""
    return [*model.text_model.modules(), *model.text_projection.modules()]


def _labels(base: Base, task: Task) -> Tensor:
    """Unit features of the labels: computed anew where an adapter has put modules of its own in."""
    if _text_modules(base.model) == base.text:
        return task.anchors
    return label_features(base, task)


def _logits(base: Base, features: Tensor, labels: Tensor) -> Tensor:
    scale = base.model.logit_scale.float().exp()
    logits: Tensor = scale * functional.normalize(features, dim=-1) @ labels.T
    return logits


def _probabilities(base: Base, task: Task, features: Floats) -> Doubles:
    with torch.no_grad():
        logits = _logits(base, torch.from_numpy(features).to(base.device), _labels(base, task))
        probabilities: Doubles = torch.softmax(logits.double(), dim=-1).cpu().numpy()
    return probabilities
