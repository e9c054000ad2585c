"""A served version of each family, registered with its base, for who tests what a consumer gets."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catalog.records import version_drafts
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.registry.model_versions import ModelVersionRef, RegisteredBase
from catalog.stores.registry.registry import Registry
from rpe_core.delta import LowRankDelta
from rpe_core.families.table import FAMILIES, load_family
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.records import BaseModel, TaskSpec
from tests.catalog.models import TASK, TEXTS, ensemble_facts
from tests.pico import (
    SHAPES,
    pico_cases,
    pico_clip,
    pico_encoder,
    pico_llama,
    pico_pictures,
    pico_sam,
)


@dataclass(frozen=True)
class Kind:
    """A family's pico base, a task of it, and how its adapted modules are called."""

    make: Callable[[Path], Path]
    task: TaskSpec
    module: str
    max_tokens: int


KINDS = {
    "text-encoder": Kind(pico_encoder, TASK, "query", 32),
    "causal-lm": Kind(
        pico_llama,
        TaskSpec("text-generation", "findings", "impression", prompt="{input} impression :",
                 max_new_tokens=4),
        "q_proj",
        64,
    ),
    "clip": Kind(
        pico_clip, TaskSpec("image-classification", "picture", "kind", dict(SHAPES)), "q_proj", 0
    ),
    "sam": Kind(
        pico_sam, TaskSpec("image-segmentation", "scan", "outline", classes=("core",)), "qkv", 0
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A version in the registry, and what it is made of."""

    ref: ModelVersionRef
    base_ref: ModelVersionRef
    base: BaseModel
    base_folder: Path
    task: TaskSpec
    adapter: Path


def serve(registry: Registry, root: Path, family: str) -> Served:
    """Register a base of a family and a version on it, whose adapter is random."""
    kind = KINDS[family]
    folder = kind.make(root / "base")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    digest = Artifacts.hash_files(files)
    base = BaseModel(
        f"pico-{family}", family, str(folder), "main", "float32", kind.max_tokens, digest
    )
    base_ref = registry.register(version_drafts.base_draft(base, files, model="pico", is_hub=False))
    adapter = root / "adapter"
    weights = _random_adapter(adapter, base, kind.module)
    draft = version_drafts.ensemble_draft(
        ensemble_facts(f"target-{family}", []),
        base,
        kind.task,
        registered_base=RegisteredBase(base_ref),
        folder=adapter,
        weights_sha256=weights,
    )
    return Served(registry.register(draft), base_ref, base, folder, kind.task, adapter)


def inputs_of(family: str, n: int) -> list[Any]:
    """n good inputs of a family's kind."""
    if family in ("text-encoder", "causal-lm"):
        return [TEXTS[i % len(TEXTS)] for i in range(n)]
    rng = np.random.default_rng(0)
    images = pico_cases(rng, n)[0] if family == "sam" else pico_pictures(rng, n)[0]
    return [npy(image) for image in images]


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _random_adapter(place: Path, base: BaseModel, module: str) -> str:
    model = load_family(base.family).load(base.model, max_tokens=base.max_tokens).model
    rng = torch.Generator().manual_seed(0)
    deltas = {
        name: LowRankDelta(
            torch.randn(2, part.in_features, generator=rng),
            torch.randn(part.out_features, 2, generator=rng),
            0.2,
        )
        for name, part in model.named_modules()
        if name.endswith(f".{module}")
    }
    peft_type = FAMILIES[base.family].peft_type
    return write_adapter(place, deltas, base_name=base.base_id, task_type=peft_type)
