"""Adapter folders in, adapter folder out: the only files that the core touches."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rpe_core.delta import LowRankDelta, check_config, module_deltas, peft_names
from rpe_core.errors import InputError, shown_name
from rpe_core.merging.configs import (
    common_base,
    common_targets,
    common_text,
    is_machine_path,
    peft_config,
)
from rpe_core.merging.methods import merge_deltas

CONFIG, WEIGHTS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "rpe_merge.json"
SERVABLE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM can be told to serve
MAX_HEADER_BYTES = 16 << 20
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class AdapterFiles:
    """A plain PEFT LoRA as read: its configuration, its deltas, the sha256 of its weights file."""

    config: dict[str, Any]
    deltas: dict[str, LowRankDelta]
    weights_sha256: str


@dataclass(frozen=True)
class MergeReport:
    """What a merge made: largest rank, relative error, file hash, and the rank to serve it with.

    `servable_rank` is the smallest rank limit of vLLM that holds it, 0 where none does.
    """

    method: str
    rank: int
    relative_error: float
    weights_sha256: str
    servable_rank: int
    is_servable: bool


def read_adapter(folder: Path) -> AdapterFiles:
    """Read a PEFT adapter folder; safetensors only, nothing is executed.

    Raises:
        InputError: a file is missing, oversized, truncated or corrupt, or the adapter is none that
            can be merged exactly.
    """
    where = str(folder)
    config = _read_config(folder / CONFIG)
    check_config(config, where=where)
    path = folder / WEIGHTS
    if not path.is_file():
        found = " (a .bin file is never opened)" if list(folder.glob("*.bin")) else ""
        raise InputError(f"The adapter has no {WEIGHTS}{found}.", where=where)
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sha256 = _hash_file(path)
    except (
        SafetensorError,
        OSError,
        ValueError,
        RuntimeError,
        LookupError,
        TypeError,
        AttributeError,
    ):
        raise _corrupt(path) from None
    return AdapterFiles(config, module_deltas(state, config, where=where), sha256)


def write_adapter(
    folder: Path,
    deltas: Mapping[str, LowRankDelta],
    *,
    base_name: str,
    task_type: str | None,
    target_modules: Sequence[str] | None = None,
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
        fan_in_fan_out: whether the base stores these weights transposed (GPT-2's Conv1D).
        manifest: written as rpe_merge.json beside the adapter, with `weights_sha256` added.

    Raises:
        InputError: the place is taken or cannot be written, or a value does not fit fp32.
    """
    if not deltas or is_machine_path(base_name):
        expected = "at least one delta, and a logical base name instead of a path"
        raise InputError("The adapter cannot be written.", where=str(folder), expected=expected)
    tensors = _fp32_tensors(deltas)
    config = peft_config(
        {module: delta.rank for module, delta in deltas.items()},
        base_name=base_name,
        task_type=task_type,
        target_modules=target_modules,
        fan_in_fan_out=fan_in_fan_out,
    )
    return _appear(folder, config, tensors, manifest)


def merge_folders(
    members: Sequence[tuple[Path, float]],
    out: Path,
    *,
    method: str = "concat",
    rank: int | None = None,
) -> MergeReport:
    """Merge adapter folders by their weights into a new folder; the base model is never loaded.

    Beside the adapter it writes rpe_merge.json: inputs by hash, weights, method, error, ranks.

    Raises:
        UnknownName: the merge method is not known.
        InputError: a folder cannot be merged exactly, bases differ, or `out` is taken.
    """
    adapters = [(read_adapter(Path(folder)), float(weight)) for folder, weight in members]
    configs = [adapter.config for adapter, _ in adapters]
    base_name = common_base(configs)
    if len({bool(config.get("fan_in_fan_out")) for config in configs}) > 1:
        raise InputError("Members differ in fan_in_fan_out.", expected="adapters of one base")
    merged = merge_deltas(method, [(one.deltas, weight) for one, weight in adapters], rank=rank)
    servable = next((limit for limit in SERVABLE_RANKS if limit >= merged.rank), 0)
    is_covered = all(set(one.deltas) == set(merged.deltas) for one, _ in adapters)
    sha256 = write_adapter(
        Path(out),
        merged.deltas,
        base_name=base_name,
        task_type=common_text(configs, "task_type"),
        target_modules=common_targets(configs) if is_covered else None,
        fan_in_fan_out=bool(configs[0].get("fan_in_fan_out")),
        manifest={
            "method": method,
            "members": _inputs(adapters),
            "rank": merged.rank,
            "servable_rank": servable,
            "relative_error": merged.relative_error,
        },
    )
    return MergeReport(method, merged.rank, merged.relative_error, sha256, servable, servable > 0)


def _inputs(members: Sequence[tuple[AdapterFiles, float]]) -> list[dict[str, str | float]]:
    return [{"weights_sha256": one.weights_sha256, "weight": weight} for one, weight in members]


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        config = json.loads(text) if len(text) <= MAX_CONFIG_BYTES else None
    except FileNotFoundError:
        raise InputError(f"The adapter has no {CONFIG}.", where=str(path.parent)) from None
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise InputError(
            f"The adapter's {CONFIG} cannot be read.",
            where=str(path.parent),
            expected=f"a JSON object of at most {MAX_CONFIG_BYTES} bytes",
        )
    return config


def _check_header(path: Path) -> None:
    """Refuse by the first eight bytes what would make a reader allocate without bound."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        is_bounded = 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8)
    except OSError:
        is_bounded = False
    if not is_bounded:
        raise _corrupt(path)


def _corrupt(path: Path) -> InputError:
    return InputError(
        f"The adapter's {WEIGHTS} is no readable safetensors file.",
        where=str(path.parent),
        expected="a whole file with a header of at most 16 MiB",
        remedy="fetch or export the adapter again",
    )


def _fp32_tensors(deltas: Mapping[str, LowRankDelta]) -> dict[str, torch.Tensor]:
    tensors = {}
    for module in sorted(deltas):
        delta = deltas[module]
        name_a, name_b = peft_names(module)
        tensors[name_a] = delta.a.detach().cpu().float().clone().contiguous()
        scaled = delta.scaling * delta.b.detach().cpu().double()
        tensors[name_b] = scaled.float().contiguous()
        if not all(bool(torch.isfinite(tensors[name]).all()) for name in (name_a, name_b)):
            raise InputError(
                "A delta holds NaN, infinity or more than fp32 can hold.",
                where=f"module {shown_name(module)}",
            )
    return tensors


def _appear(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    manifest: Mapping[str, Any] | None,
) -> str:
    """Write beside the place and rename, so that nobody ever sees half an adapter."""
    if folder.is_symlink() or (folder.exists() and not _is_empty_folder(folder)):
        raise InputError(
            "The adapter's place is taken.", where=str(folder), remedy="choose a new folder"
        )
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
            part = Path(place) / "part"
            sha256 = _write_files(part, config, tensors, manifest)
            part.replace(folder)
    except (OSError, SafetensorError):
        raise InputError(
            "The adapter could not be written.",
            where=str(folder),
            remedy="check that the parent folder exists, its permissions and the free space",
        ) from None
    return sha256


def _write_files(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    manifest: Mapping[str, Any] | None,
) -> str:
    folder.mkdir()
    _write_json(folder / CONFIG, config)
    save_file(dict(tensors), folder / WEIGHTS, metadata={"format": "pt"})
    # safetensors writes for the owner only; the adapter is as readable as its configuration.
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)
    _sync(folder / WEIGHTS)
    sha256 = _hash_file(folder / WEIGHTS)
    if manifest is not None:
        _write_json(folder / MANIFEST, {**manifest, "weights_sha256": sha256})
    return sha256


def _is_empty_folder(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
