"""The prostate demo's base: a small SAM, pretrained to find what stands out in random phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flows.workspace.settings  # noqa: F401 - first: it switches telemetry off

# isort: split
import numpy as np
from transformers import SamConfig, SamModel

from catalog.examples.organ_phantoms import make_phantom
from flows.demos.child import pretrain_in, read_request
from rpe_core.families.table import load_family

TASK = {"classes": ["organ"], "transforms": ["flip_columns", "quarter_turns", "brightness"]}


def main(folder: Path) -> None:
    """Pretrain as request.json says and leave the model in `folder/model`."""
    request, how = read_request(folder)
    make_model(request).save_pretrained(folder / "model")
    family = load_family("sam")
    base = family.load(str(folder / "model"), max_tokens=0)
    base.model.requires_grad_(requires_grad=True)
    task = family.prepare(base, TASK)
    images, targets = _phantoms(seed=how.seed, **request["phantoms"])

    def loss_of(step: int) -> Any:
        chosen = np.random.default_rng([how.seed, step]).integers(
            len(images), size=request["batch_size"]
        )
        rows = [images[i] for i in chosen], [targets[i] for i in chosen]
        return family.forward(base, task, *rows).loss

    pretrain_in(folder, base.model, loss_of, how)
    base.model.save_pretrained(folder / "model")


def make_model(request: dict[str, Any]) -> SamModel:
    """The SAM before its first step; seeded by the process."""
    sizes = request["sizes"]
    return SamModel(
        SamConfig(
            vision_config={**sizes, **request["vision"]},
            prompt_encoder_config={**sizes, **request["prompts"]},
            mask_decoder_config=request["decoder"],
        )
    )


def _phantoms(*, n: int, matrix: int, seed: int) -> tuple[list[Any], list[Any]]:
    """Images and targets as the family takes them."""
    cases = [make_phantom(number, matrix=matrix, seed=seed) for number in range(n)]
    images = [image[..., None] for image, _, _ in cases]
    return images, [(mask, spacing) for _, mask, spacing in cases]
