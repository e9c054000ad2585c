"""What several base families do alike: loading, threads, labels, slices. Nothing of ours here.

The registry ships this source inside each model version, before the family's own, so it stands on
torch, transformers and numpy alone. Faults are ValueError, and no message holds a cell.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoConfig

# no network, no remote code
LOCAL_ONLY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
CHARACTERS_PER_TOKEN = 64  # a text is cut here before the tokenizer sees it: no cell is too long
WINDOW = 4096  # items held as tokens at a time
PERCENTILES = (0.5, 99.5)  # of an image without a window, unless it has 8 bits
SLICES = 4  # of a volume that a training step looks at
PATCHES_AT_ONCE = 1 << 14  # that are computed at a time

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Image = npt.NDArray[Any]
SlicePlace = tuple[int, int, tuple[int, ...]]  # item, slice, (slices, height, width) of the item


class ForwardPass(NamedTuple):
    """The mean training loss of a batch and what led to it, all of it differentiable.

    Features (b, d) are the encoder's, of each item or of parts of it; logits (m, c) are those of
    whatever the loss is a mean of: labels, target tokens, pixels.
    """

    loss: Tensor
    features: Tensor
    logits: Tensor


def load_frozen(kind: Any, folder: str, stored: Mapping[str, Any], *, optional: str = "") -> Any:
    """A frozen model of a class of transformers, from safetensors in a local folder.

    `stored` says how weights lie in memory; those named like `optional` may be missing.

    Raises:
        OSError: if the folder lacks a file.
        ValueError: if weights are missing.
    """
    model, loading = kind.from_pretrained(
        folder, use_safetensors=True, output_loading_info=True, **stored, **LOCAL_ONLY
    )
    if any(not optional or optional not in name for name in loading["missing_keys"]):
        raise ValueError("the folder lacks weights of its own architecture")
    model.requires_grad_(requires_grad=False)
    return model


def require_image_model(folder: str, model_type: str, max_tokens: int) -> Any:
    """The configuration of a model that reads images of three channels, and no tokens.

    Raises:
        OSError: if the folder lacks a file.
        ValueError: if it holds another architecture, or images are to have tokens.
    """
    config = AutoConfig.from_pretrained(folder, **LOCAL_ONLY)
    if config.model_type != model_type or config.vision_config.num_channels != 3:
        raise ValueError(f"the folder holds no {model_type.upper()} of three channels")
    if max_tokens:
        raise ValueError("an image has no tokens to limit: max_tokens must be 0")
    return config


def without_adapter(base: Any) -> AbstractContextManager[Any]:
    """The frozen base for a while, even where an adapter is attached."""
    disabled: AbstractContextManager[Any] = (
        nullcontext() if base.adapter is None else base.adapter.disable_adapter()
    )
    return disabled


def compute_in_turn(base: Any, work: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
    """What `work` makes of each part, in order; the number of threads changes no bit.

    On a processor each part is one thread's: many threads to one part would add in another order.
    """
    threads = torch.get_num_threads()
    if base.device != "cpu" or threads == 1:
        yield from map(work, parts)
        return
    waiting: deque[Any] = deque()
    try:
        with ThreadPoolExecutor(threads, "encode", torch.set_num_threads, (1,)) as pool:
            for part in parts:
                waiting.append(pool.submit(work, part))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)  # a worker's number had become that of new threads


def cut_texts(texts: Sequence[str], max_tokens: int) -> list[str]:
    """Texts as a tokenizer may have them; a lone surrogate counts as a question mark."""
    limit = CHARACTERS_PER_TOKEN * max_tokens
    return [text[:limit].encode("utf-8", "replace").decode() for text in texts]


def require_labels(labels: Mapping[str, str]) -> None:
    """Raise ValueError where there is nothing to choose from."""
    if len(labels) < 2:
        raise ValueError("a task needs at least two labels")


def target_indices(labels: Sequence[str], targets: Sequence[str]) -> Integers:
    """Where each target stands among the labels, shape (n,).

    Raises:
        ValueError: if a target is no label of the task; it names the item's index only.

    >>> target_indices(("no", "yes"), ["yes", "no", "yes"]).tolist()
    [1, 0, 1]
    """
    known = {label: index for index, label in enumerate(labels)}
    missing = [row for row, target in enumerate(targets) if target not in known]
    if missing:
        raise ValueError(f"item {missing[0]} has a target that is no label of the task")
    return np.array([known[target] for target in targets], dtype=np.int64)


def answer_labels(labels: Sequence[str], probabilities: Doubles) -> dict[str, npt.NDArray[Any]]:
    """The likeliest label and its probability, columns of shape (n,)."""
    names = np.array(labels, dtype=object)
    return {"label": names[probabilities.argmax(axis=1)], "score": probabilities.max(axis=1)}


def score_labels(
    labels: Sequence[str], probabilities: Doubles, targets: Sequence[str]
) -> dict[str, Integers]:
    """Per item, each of shape (n,): correct (0 or 1), predicted and target (label indices)."""
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    target = target_indices(labels, targets)
    correct = (predicted == target).astype(np.int64)
    return {"correct": correct, "predicted": predicted, "target": target}


def validate_labels(
    labels: Sequence[str], probabilities: Doubles, targets: Sequence[str]
) -> dict[str, float]:
    """Mean loss in nats, and accuracy as the score."""
    per_item = score_labels(labels, probabilities, targets)
    chosen = probabilities[np.arange(len(probabilities)), per_item["target"]]
    return {
        "loss": float(-np.log(np.maximum(chosen, np.finfo(float).tiny)).mean()),
        "score": float(per_item["correct"].mean()),
    }


def read_image(item: Any) -> Image:
    """An item, an array or the bytes of a .npy file, as (slices, height, width, channels)."""
    if isinstance(item, bytes | bytearray):
        try:
            item = np.load(io.BytesIO(item), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            raise ValueError("an item is no .npy file of numbers") from None
    image = np.asarray(item)
    image = image[None, ..., None] if image.ndim == 2 else image[None] if image.ndim == 3 else image
    if image.ndim != 4 or image.shape[-1] not in (1, 3) or not image.size:
        raise ValueError("an image has the shape (slices, height, width, 1 or 3 channels)")
    if image.dtype.kind not in "uif" or not np.isfinite(image).all():
        raise ValueError("an image holds finite numbers only")
    return image


def require_window(window: Sequence[float]) -> None:
    """Raise ValueError where a window of values is declared that is none."""
    if window and not (len(window) == 2 and window[0] < window[1]):
        raise ValueError("a window is two numbers, the lower one first")


def value_limits(image: Image, window: Sequence[float]) -> tuple[float, float]:
    """The values that become 0 and 1; without a window, of bytes all, of others the percentiles."""
    if not window and image.dtype == np.uint8:
        return 0.0, 255.0
    low, high = window or np.percentile(image, PERCENTILES)
    return float(low), float(high)


def scale_values(rows: Image, limits: tuple[float, float]) -> Tensor:
    """Values from 0 to 1, in float32.

    >>> scale_values(np.array([-1, 0, 1, 2, 5]), (0, 4)).tolist()
    [0.0, 0.0, 0.25, 0.5, 1.0]
    """
    low, high = limits
    scaled = (rows.astype(np.float32) - low) / (high - low if high > low else 1.0)
    return torch.from_numpy(scaled.clip(0.0, 1.0).astype(np.float32))


def stack_slices(
    items: Sequence[Any],
    window: Sequence[float],
    pixels_of: Callable[[Image, tuple[float, float], int], Tensor],
    most: int,
) -> Iterator[tuple[list[SlicePlace], Tensor]]:
    """All slices, at most `most` at a time: the place of each, and its pixels (b, 3, h, w).

    `pixels_of` makes (1, 3, h, w) of an image, its limits and the index of a slice.
    """
    places: list[SlicePlace] = []
    rows: list[Tensor] = []
    for i in range(len(items)):
        image = read_image(items[i])
        limits = value_limits(image, window)
        for j in range(len(image)):
            places.append((i, j, image.shape[:3]))
            rows.append(pixels_of(image, limits, j))
            if len(rows) == most:
                yield places, torch.cat(rows)
                places, rows = [], []
    if rows:
        yield places, torch.cat(rows)


def slices_at_once(batch_size: int, n_patches: int) -> int:
    """Slices of so many patches that are computed at a time.

    >>> slices_at_once(16, 64 * 64), slices_at_once(16, 7 * 7)
    (4, 16)
    """
    return max(1, min(batch_size, PATCHES_AT_ONCE // n_patches))


def mean_by_item(
    stacks: Iterable[Iterable[tuple[SlicePlace, Doubles]]],
) -> Iterator[tuple[int, Doubles]]:
    """Index of each item and the mean of its slices' features (d,), in their order."""
    total = np.zeros(0)
    for stack in stacks:
        for (i, j, shape), feature in stack:
            total = feature if j == 0 else total + feature
            if j == shape[0] - 1:
                yield i, total / shape[0]
