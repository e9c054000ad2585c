"""PEFT adapter folders made on the spot, and an independent reading of them in fp64."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PLAIN = {
    "peft_type": "LORA",
    "base_model_name_or_path": "pico",
    "bias": "none",
    "fan_in_fan_out": False,
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["query", "value"],
    "rank_pattern": {},
    "alpha_pattern": {},
    "use_rslora": False,
    "task_type": None,
}


def write_folder(folder: Path, tensors: Mapping[str, torch.Tensor], **config: Any) -> Path:
    """A folder as PEFT writes it: tensors by PEFT's names, and its configuration."""
    folder.mkdir(parents=True)
    save_file(dict(tensors), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps({**PLAIN, **config}))
    return folder


def linear(
    module: str,
    *,
    rank: int = 2,
    shape: tuple[int, int] = (5, 6),
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, torch.Tensor]:
    """The factors of a linear layer of (d_out, d_in)."""
    return _factors(f"{module}.lora_{{}}.weight", (rank, shape[1]), (shape[0], rank), seed, dtype)


def embedding(
    module: str, *, rank: int = 2, shape: tuple[int, int] = (11, 6), seed: int = 0
) -> dict[str, torch.Tensor]:
    """The factors of an embedding of (n tokens, width)."""
    names = f"{module}.lora_embedding_{{}}"
    return _factors(names, (rank, shape[0]), (shape[1], rank), seed, torch.float32)


def convolution(
    module: str, *, rank: int = 2, shape: tuple[int, ...] = (5, 3, 3, 3), seed: int = 0
) -> dict[str, torch.Tensor]:
    """The factors of a convolution of (out channels, in channels, *kernel)."""
    ones = [1] * (len(shape) - 2)
    a, b = (rank, *shape[1:]), (shape[0], rank, *ones)
    return _factors(f"{module}.lora_{{}}.weight", a, b, seed, torch.float32)


def dense_deltas(folder: Path) -> dict[str, torch.Tensor]:
    """Module -> s B A in fp64, as a matrix."""
    return {module: b @ a for module, (b, a) in factors(folder).items()}


def factors(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Module -> s B and A in fp64; from the files alone and without any code of ours."""
    config = json.loads((folder / CONFIG).read_text())
    state = {name: tensor.double() for name, tensor in load_file(folder / WEIGHTS).items()}
    pairs = {}
    for name, a in state.items():
        if "_A" not in name:
            continue
        b = state[name.replace("_A", "_B")]
        module = name.removeprefix("base_model.model.").split(".lora_")[0]
        r = _pattern(config["rank_pattern"], module, config["r"])
        alpha = _pattern(config["alpha_pattern"], module, config["lora_alpha"])
        scaling = alpha / (math.sqrt(r) if config["use_rslora"] else r)
        pairs[module] = (scaling * b.reshape(-1, r), a.reshape(r, -1))
    return pairs


def dense_sum(members: list[tuple[Path, float]]) -> dict[str, torch.Tensor]:
    """Module -> sum of w_i dW_i in fp64; what a member lacks is zero."""
    total: dict[str, torch.Tensor] = {}
    for folder, weight in members:
        for module, delta in dense_deltas(folder).items():
            total[module] = total.get(module, 0.0) + weight * delta
    return total


def distance(found: Mapping[str, torch.Tensor], exact: Mapping[str, torch.Tensor]) -> float:
    """||found - exact||_F / ||exact||_F over all modules."""
    assert set(found) == set(exact)
    lost = sum(float((found[module] - exact[module]).square().sum()) for module in exact)
    return math.sqrt(lost / sum(float(delta.square().sum()) for delta in exact.values()))


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _factors(
    names: str, a: tuple[int, ...], b: tuple[int, ...], seed: int, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=rng).to(dtype) for shape in (a, b)]
    return {f"base_model.model.{names.format(x)}": t for x, t in zip("AB", made, strict=True)}


def _pattern(patterns: Mapping[str, int], module: str, default: int) -> int:
    """The value of the one pattern that is a tail of the module's name; tests use no more."""
    plain = {key.lstrip("^").replace("\\", ""): value for key, value in patterns.items()}
    fits = [value for key, value in plain.items() if f".{module}".endswith(f".{key}")]
    return fits[0] if fits else default
