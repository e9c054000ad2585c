"""Adapter folders as deltas in memory: small adapters read and written whole. Touches files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rpe_core.delta import PREFIX, LowRankDelta, peft_names, peft_shapes
from rpe_core.errors import InputError, shown_name
from rpe_core.merging.adapters import CONFIG, WEIGHTS, AdapterFolder
from rpe_core.merging.checkpoint import Checkpoint
from rpe_core.merging.configs import is_machine_path, peft_config
from rpe_core.merging.manifest import MANIFEST
from rpe_core.merging.reading import TensorFile
from rpe_core.merging.rounding import is_finite
from rpe_core.merging.writing import TensorWriter, appearing, write_json

MAGNITUDE = "lora_magnitude_vector"  # PEFT's name of DoRA's lengths


@dataclass(frozen=True)
class AdapterFiles:
    """A PEFT LoRA as read: its configuration, its deltas, the sha256 of its weights file.

    `whole` holds the tensors of modules_to_save by the base's own names: what they became, not what
    was added.
    """

    config: dict[str, Any]
    deltas: dict[str, LowRankDelta]
    whole: dict[str, torch.Tensor]
    weights_sha256: str


def read_adapter(folder: Path) -> AdapterFiles:
    """Read a PEFT LoRA of linear layers into memory; safetensors only, nothing is executed.

    Raises:
        InputError: a file is missing, oversized, truncated or corrupt, a number is not finite, or
            the adapter is none of linear layers that can be merged exactly.
    """
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
    tensors = {**_fp32_tensors(deltas), **_fp32_whole(whole or {})}
    tensors |= _fp32_whole({f"{m}.{MAGNITUDE}": t for m, t in (magnitudes or {}).items()})
    config = peft_config(
        {module: delta.rank for module, delta in deltas.items()},
        base_name=base_name,
        task_type=task_type,
        target_modules=target_modules,
        modules_to_save=modules_to_save,
        fan_in_fan_out=fan_in_fan_out,
        use_dora=bool(magnitudes),
    )
    with appearing(Path(folder)) as part:
        sha256 = _write_weights(part / WEIGHTS, tensors)
        write_json(part / CONFIG, config)
        if manifest is not None:
            write_json(part / MANIFEST, {**manifest, "weights_sha256": sha256})
    return sha256


def _write_weights(file: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write tensors in the order of their names; the sha256 of the file."""
    shapes = {name: tuple(tensors[name].shape) for name in sorted(tensors)}
    writer = TensorWriter(file, shapes, dtype=torch.float32)
    try:
        for name in shapes:
            writer.write(name, 0, tensors[name])
        writer.finish()
    finally:
        writer.close()
    return TensorFile(file, what="The adapter written").sha256()


def _fp32_tensors(deltas: Mapping[str, LowRankDelta]) -> dict[str, torch.Tensor]:
    tensors = {}
    for module, delta in deltas.items():
        names = peft_names(module, delta.layout)
        shapes = peft_shapes(delta.shape, delta.rank, delta.layout)
        factors = (delta.a, delta.scaling * delta.b.double())
        for name, factor, shape in zip(names, factors, shapes, strict=True):
            tensors[name] = _fp32(factor, f"module {shown_name(module)}").reshape(shape)
    return tensors


def _fp32_whole(whole: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {PREFIX + name: _fp32(t, f"tensor {shown_name(name)}") for name, t in whole.items()}


def _fp32(tensor: torch.Tensor, where: str) -> torch.Tensor:
    made = tensor.detach().cpu().float().contiguous()
    if not is_finite(made):
        raise InputError("A delta holds NaN, infinity or more than fp32 can hold.", where=where)
    return made
