"""Adapter folders as deltas in memory: small adapters read and written whole. Touches files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rpe_core.delta import PREFIX, LowRankDelta, peft_names, peft_shapes
from rpe_core.errors import InputError
from rpe_core.merging.base_names import is_machine_path
from rpe_core.merging.files.adapter_reader import CONFIG, WEIGHTS, AdapterFolder
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.files.configs import peft_config
from rpe_core.merging.files.writing import write_folder_whole, write_json, write_tensors
from rpe_core.merging.manifest import MANIFEST
from rpe_core.merging.prompts import PromptFolder, holds_prompts

MAGNITUDE = "lora_magnitude_vector"  # PEFT's name of DoRA's lengths


@dataclass(frozen=True)
class AdapterFiles:
    """A PEFT LoRA as read: its configuration, its deltas, the sha256 of its weights file.

    `whole` holds the tensors of modules_to_save by the base's own names: what they became, not what
    was added. Learned prompts, (n, width) by module, have neither.
    """

    config: dict[str, Any]
    deltas: dict[str, LowRankDelta]
    whole: dict[str, torch.Tensor]
    weights_sha256: str
    prompts: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The largest rank of a module, or how many tokens are learned for each; 0 without any."""
        return max(self._ranks, default=0)

    @property
    def total_rank(self) -> int:
        """The sum of these over all modules."""
        return sum(self._ranks)

    @property
    def _ranks(self) -> list[int]:
        ranks = [delta.rank for delta in self.deltas.values()]
        return ranks + [len(prompt) for prompt in self.prompts.values()]

    @property
    def n_parameters(self) -> int:
        """Numbers in its tensors."""
        factors = [t for delta in self.deltas.values() for t in (delta.a, delta.b)]
        return sum(t.numel() for t in (*factors, *self.whole.values(), *self.prompts.values()))


def read_adapter(folder: Path) -> AdapterFiles:
    """Read a PEFT LoRA of linear layers, or learned prompts; safetensors only, nothing is executed.

    Raises:
        InputError: a file is missing, oversized, truncated or corrupt, a number is not finite, or
            the adapter is none of linear layers that can be merged exactly.
    """
    if holds_prompts(folder):
        prompts = PromptFolder(Path(folder))
        return AdapterFiles(prompts.config, {}, {}, prompts.file.sha256(), prompts.prompts())
    adapter = AdapterFolder(Path(folder))
    if not adapter.layout.is_linear:
        raise InputError(
            "The adapter holds factors of other than linear layers.",
            where=str(folder),
            expected="no embedding, no convolution",
            remedy="`merge` takes them, module by module",
        )
    if fault := adapter.fault_in(adapter.tensors.specs):
        raise fault
    deltas = {}
    for module in adapter.layout.modules:
        delta = adapter.delta(module)
        deltas[module] = LowRankDelta(delta.a.clone(), delta.b.clone(), delta.scaling)
    whole = {key: adapter.tensors.read(name).clone() for key, name in adapter.layout.whole.items()}
    return AdapterFiles(adapter.config, deltas, whole, adapter.tensors.sha256())


def read_base_tensors(folder: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Tensors of a base's safetensors as views of its files, by the names that adapters use.

    Raises:
        InputError: there is no safetensors checkpoint, or one of them is not in it.
    """
    base = Checkpoint(folder)
    return {name: base.read(key) for name, key in base.locate(sorted(names)).items()}


def write_adapter(
    folder: Path,
    deltas: Mapping[str, LowRankDelta],
    *,
    base_name: str,
    task_type: str | None,
    target_modules: Sequence[str] | None = None,
    whole: Mapping[str, torch.Tensor] | None = None,
    modules_to_save: Sequence[str] = (),
    magnitudes: Mapping[str, torch.Tensor] | None = None,
    fan_in_fan_out: bool = False,
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """Write a plain PEFT LoRA folder and return the sha256 of its safetensors file.

    Each module's scaling is folded into B, so lora_alpha equals r. The bytes are a function of the
    arguments. The folder appears whole or not at all.

    Args:
        folder: where to; must not exist, or be empty. Its parent must exist.
        deltas: by module name; written in fp32.
        base_name: logical name of the base model, no path of this machine.
        task_type: PEFT's task type, or None.
        target_modules: names that PEFT expands to exactly these modules; by default all full names.
        whole: trained tensors of modules_to_save, by the base's own names; written in fp32.
        modules_to_save: names of the modules that these make up.
        magnitudes: trained lengths of rows (d_out,) by module: the adapter is a DoRA.
        fan_in_fan_out: whether the base stores these weights transposed (GPT-2's Conv1D).
        manifest: written as rpe_merge.json beside the adapter, with `weights_sha256` added.

    Raises:
        InputError: the place is taken, or a value does not fit fp32.
        WriteFailed: the place cannot be written to.
    """
    if not deltas or is_machine_path(base_name):
        expected = "at least one delta, and a logical base name instead of a path"
        raise InputError("The adapter cannot be written.", where=str(folder), expected=expected)
    tensors = {**_factors(deltas), **{PREFIX + name: t for name, t in (whole or {}).items()}}
    tensors |= {f"{PREFIX}{m}.{MAGNITUDE}": t for m, t in (magnitudes or {}).items()}
    config = peft_config(
        {module: delta.rank for module, delta in deltas.items()},
        base_name=base_name,
        task_type=task_type,
        target_modules=target_modules,
        modules_to_save=modules_to_save,
        fan_in_fan_out=fan_in_fan_out,
        use_dora=bool(magnitudes),
    )
    with write_folder_whole(Path(folder)) as part:
        sha256 = write_tensors(part / WEIGHTS, tensors)
        write_json(part / CONFIG, config)
        if manifest is not None:
            write_json(part / MANIFEST, {**manifest, "weights_sha256": sha256})
    return sha256


def _factors(deltas: Mapping[str, LowRankDelta]) -> dict[str, torch.Tensor]:
    tensors = {}
    for module, delta in deltas.items():
        names = peft_names(module, delta.layout)
        shapes = peft_shapes(delta.shape, delta.rank, delta.layout)
        factors = (delta.a, (delta.scaling * delta.b.double()).float())
        for name, factor, shape in zip(names, factors, shapes, strict=True):
            tensors[name] = factor.reshape(shape)
    return tensors
