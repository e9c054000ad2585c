"""Pico bases of every family, what of them is adapted, and recipes of every method on them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rpe_core.adapters.input_statistics import InputStatistics, asked_by
from rpe_core.adapters.input_watch import InputWatch
from rpe_core.adapters.recipe import Recipe, check_recipe
from rpe_core.adapters.table import ADAPTER_METHODS
from rpe_core.families import causal_lm, clip, sam, text_encoder
from rpe_core.training.loop import train
from tests.pico import (
    LABELS,
    SHAPES,
    pico_cases,
    pico_clip,
    pico_encoder,
    pico_gpt2,
    pico_llama,
    pico_pictures,
    pico_sam,
    pico_texts,
)

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Place:
    """A pico base of a family, which of its modules are adapted, rows, and its logits."""

    family: Any
    base: Any
    task: Any
    targets: tuple[str, ...]
    rows: tuple[Any, Any]
    logits: Callable[[], Tensor]

    @property
    def is_exact(self) -> bool:
        return next(self.base.model.parameters()).dtype == torch.float32


def encoder_place(folder: Path, dtype: str) -> Place:
    base = text_encoder.load(str(pico_encoder(folder)), max_tokens=32, dtype=dtype)
    texts, labels = pico_texts(np.random.default_rng(0), 12)
    tokens = base.tokenizer(list(texts), padding=True, return_tensors="pt")
    task = text_encoder.prepare(base, {"labels": LABELS})
    targets = ("query", "intermediate.dense")
    return Place(
        text_encoder, base, task, targets, (texts, labels), lambda: base.model(**tokens)[0]
    )


def llama_place(folder: Path, dtype: str) -> Place:
    return language_place(pico_llama(folder), ("q_proj", "down_proj"), dtype)


def gpt2_place(folder: Path, dtype: str) -> Place:
    """Layers that store their weights transposed, attn.c_proj a square one."""
    return language_place(pico_gpt2(folder), ("c_attn", "c_proj"), dtype)


def language_place(folder: Path, targets: tuple[str, ...], dtype: str) -> Place:
    base = causal_lm.load(str(folder), max_tokens=64, dtype=dtype)
    texts, _ = pico_texts(np.random.default_rng(0), 12)
    task = causal_lm.prepare(base, {"prompt": "{input} :", "max_new_tokens": 8})
    return Place(causal_lm, base, task, targets, (texts, texts), logits_of(base, texts))


def logits_of(base: causal_lm.Base, texts: list[str]) -> Callable[[], Tensor]:
    tokens = base.tokenizer(list(texts), padding=True, return_tensors="pt")
    ids = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    return lambda: base.model(**ids).logits


def sam_place(folder: Path, dtype: str) -> Place:
    base = sam.load(str(pico_sam(folder)), dtype=dtype)
    task = sam.prepare(base, {"classes": ["core", "rim"]})
    images, masks = pico_cases(np.random.default_rng(0), 3)
    (_, pixels), *_ = sam._stacks(base, task.window, images[:1], 16)
    targets = ("qkv", "lin1")
    return Place(
        sam, base, task, targets, (images, masks),
        lambda: sam._logits(base, task, sam._maps(base, pixels)),
    )  # fmt: skip


def clip_place(folder: Path, dtype: str) -> Place:
    base = clip.load(str(pico_clip(folder)), dtype=dtype)
    task = clip.prepare(base, {"labels": SHAPES})
    images, kinds = pico_pictures(np.random.default_rng(0), 12)
    targets = ("q_proj", "fc2")  # of both encoders
    return Place(
        clip, base, task, targets, (images, kinds),
        lambda: clip.forward(base, task, images, kinds)[2],
    )  # fmt: skip


PLACES = {
    "text-encoder": encoder_place,
    "causal-lm": llama_place,
    "transposed": gpt2_place,
    "sam": sam_place,
    "clip": clip_place,
}
# what a method needs beside the fields that all recipes have
NEEDS: dict[str, dict[str, Any]] = {
    "sora": {"options": {"threshold": 0.05}},
    "hydra": {"options": {"sequential_r": 3}},
    "prompts": {"options": {"depth": 2}},
}


def recipe_of(method: str, r: int, targets: tuple[str, ...], **changes: Any) -> Recipe:
    entry = ADAPTER_METHODS[method]
    declared = {"method": method, "r": r, "alpha": 2 * r if entry.has_scale else r, "epochs": 1,
                "learning_rate": 1e-3, "batch_size": 4, "seed": 0}  # fmt: skip
    if "target_modules" not in entry.without:
        declared["target_modules"] = list(targets)
    recipe, faults = check_recipe({**declared, **NEEDS.get(method, {}), **changes})
    assert recipe is not None, faults
    return recipe


def gathered(place: Place, recipe: Recipe) -> InputStatistics | None:
    """What the method asks for of the place's own rows."""
    if asked_by(recipe) is None:
        return None
    watch = InputWatch(place.base.model, recipe)
    for _ in watch.over(place.family.encode(place.base, place.rows[0])):
        pass
    return watch.result()


def frozen(place: Place) -> Tensor:
    with torch.no_grad():
        return place.logits()


def trained_on(place: Place, recipe: Recipe, **more: Any) -> Any:
    texts, labels = place.rows
    split = (texts[:8], labels[:8], texts[8:], labels[8:])
    more = {"statistics": gathered(place, recipe), **more}
    return train(place.family, place.base, place.task, *split, recipe, **more)
