"""Learned prompts in files: folders read and written, and their weighted sum. Touches files.

A folder is like PEFT's, with a type of its own that PEFT refuses. Its tensors "<module>.prompt"
have the shape (n, width), n the same in all of them, and adding up is number by number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.merging.base_names import is_machine_path
from rpe_core.merging.files.adapter_reader import CONFIG, WEIGHTS, not_finite, read_json
from rpe_core.merging.files.configs import check_agreement, common_base
from rpe_core.merging.files.hyperparameters import DEEP_PROMPTS
from rpe_core.merging.files.reading import TensorFile
from rpe_core.merging.files.writing import write_folder_whole, write_json, write_tensors
from rpe_core.merging.manifest import MANIFEST, MergeReport, members_of
from rpe_core.merging.rounding import is_finite
from rpe_core.merging.table import check_weights

METHODS = ("concat", "dense")  # the exact ones, which mean the same here
NOT_SERVABLE = "vLLM serves no learned prompts"
_SUFFIX = ".prompt"


class PromptFolder:
    """Learned prompts of a folder, judged by their header; numbers are read when they are used.

    Raises:
        InputError: a file is missing, oversized, truncated or corrupt, or holds no such prompts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, read_json(folder / CONFIG, what="adapter")
        if self.config.get("peft_type") != DEEP_PROMPTS:
            raise InputError(
                "The adapter is no learned prompt, and nothing else is added to one.",
                where=str(folder),
                expected="members of one recipe of prompts",
            )
        self.file = TensorFile(folder / WEIGHTS, what=f"The adapter's {WEIGHTS}")
        self.shapes = {name: spec.shape for name, spec in self.file.specs.items()}
        self.file.check_floating(self.shapes)
        shapes = self.shapes.values()
        is_named = all(name.endswith(_SUFFIX) for name in self.shapes)
        are_rows = all(len(shape) == 2 and 0 not in shape for shape in shapes)
        if not (is_named and are_rows and len({shape[0] for shape in shapes}) == 1):
            raise ShapeMismatch(
                "The adapter holds what is no learned prompt.",
                where=str(folder),
                expected=f"tensors <module>{_SUFFIX} (n, width), n the same in all",
            )

    @property
    def n_tokens(self) -> int:
        """How many tokens each module gets."""
        return next(iter(self.shapes.values()))[0]

    def read(self, name: str) -> torch.Tensor:
        """A tensor as a view of the file; InputError where a number is not finite."""
        prompt = self.file.read(name)
        if not is_finite(prompt):
            raise not_finite(name, self.folder)
        return prompt

    def prompts(self) -> dict[str, torch.Tensor]:
        """The prompts (n, width) by module, in memory."""
        return {name.removesuffix(_SUFFIX): self.read(name).clone() for name in sorted(self.shapes)}


def holds_prompts(folder: Path) -> bool:
    """Whether a folder says of itself that it holds learned prompts."""
    return read_json(Path(folder) / CONFIG, what="adapter").get("peft_type") == DEEP_PROMPTS


def write_prompts(
    folder: Path,
    prompts: Mapping[str, torch.Tensor],
    *,
    base_name: str,
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """Write prompts (n, width) by module in fp32; the sha256 of the safetensors file.

    The bytes are a function of the arguments, and the folder appears whole or not at all.

    Raises:
        InputError: the place is taken, a value does not fit fp32, or the base's name is a path.
        WriteFailed: the place cannot be written to.
    """
    if not prompts or is_machine_path(base_name):
        expected = "at least one prompt, and a logical base name instead of a path"
        raise InputError("The prompts cannot be written.", where=str(folder), expected=expected)
    with write_folder_whole(Path(folder)) as part:
        sha256 = write_tensors(
            part / WEIGHTS, {module + _SUFFIX: prompt for module, prompt in prompts.items()}
        )
        config = {
            "base_model_name_or_path": base_name,
            "n_tokens": len(next(iter(prompts.values()))),
            "peft_type": DEEP_PROMPTS,
            "target_modules": sorted(prompts),
        }
        write_json(part / CONFIG, config)
        if manifest is not None:
            write_json(part / MANIFEST, {**manifest, "weights_sha256": sha256})
    return sha256


def merge_prompts(
    members: Sequence[tuple[Path, float]],
    out: Path,
    *,
    method: str = "concat",
    is_base_confirmed: bool = False,
) -> MergeReport:
    """The weighted sum of learned prompts, exact, in fp64 and written in fp32.

    Raises:
        InputError: a member is no learned prompt or of another base, the method is none of METHODS,
            or `out` is taken. Nothing is written then.
        ShapeMismatch: members prompt other modules, or with another number of tokens.
        WriteFailed: the place cannot be written to.
    """
    weights = [float(weight) for _, weight in members]
    check_weights(weights)
    if method not in METHODS:
        raise InputError(
            f"Learned prompts cannot be merged by {method}.", expected=" or ".join(METHODS)
        )
    opened = [PromptFolder(Path(folder)) for folder, _ in members]
    configs = [member.config for member in opened]
    check_agreement(configs, is_base_confirmed=is_base_confirmed)
    first = opened[0]
    _check_shapes(opened)
    total = {
        name.removesuffix(_SUFFIX): _weighted_sum([m.read(name) for m in opened], weights)
        for name in first.shapes
    }
    inputs = members_of(weights, [member.file.sha256() for member in opened])
    facts = {"method": method, "rank": first.n_tokens, "relative_error": 0.0, "is_servable": False}
    sha256 = write_prompts(
        out,
        total,
        base_name=common_base(configs, is_confirmed=is_base_confirmed),
        manifest={**facts, "members": inputs, "not_servable": NOT_SERVABLE},
    )
    return MergeReport(
        method=method,
        rank=first.n_tokens,
        relative_error=0.0,
        weights_sha256=sha256,
        servable_rank=0,
        is_servable=False,
        not_servable=NOT_SERVABLE,
    )


def _check_shapes(opened: Sequence[PromptFolder]) -> None:
    for other in opened:
        if other.shapes != opened[0].shapes:
            raise ShapeMismatch(
                "Members prompt other modules, or with another number of tokens.",
                where=str(other.folder),
                expected="members of one recipe",
            )


def _weighted_sum(prompts: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    total = torch.zeros(prompts[0].shape, dtype=torch.float64)
    for prompt, weight in zip(prompts, weights, strict=True):
        total += weight * prompt.double()
    return total
