"""Adapters as trainers write them, by PEFT itself: on another class of the model, or wrapped."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.adapter_folders import CONFIG, WEIGHTS


def trained(model: nn.Module, folder: Path, *, seed: int = 1, **told: Any) -> PeftModel:
    """PEFT's LoRA on a model, every trained tensor drawn at random, saved as PEFT saves it."""
    made = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, **told}))
    rng = torch.Generator().manual_seed(seed)
    for name, weight in made.named_parameters():
        if weight.requires_grad:
            scale = 0.3 if "lora_" in name else 0.1
            weight.data = scale * torch.randn(weight.shape, generator=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of resized embeddings, which PEFT saves too
        made.eval().save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    return made


def rename(folder: Path, change: Callable[[str], str]) -> Path:
    """Write the tensors of an adapter anew, by other names."""
    state = load_file(folder / WEIGHTS)
    save_file({change(name): t for name, t in state.items()}, folder / WEIGHTS)
    return folder


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    """Other tensors by the same configuration."""
    made = change(load_file(folder / WEIGHTS))
    save_file({name: tensor.contiguous() for name, tensor in made.items()}, folder / WEIGHTS)
    return folder


def edit_config(folder: Path, **changes: Any) -> Path:
    """Keys of adapter_config.json, in the order given where a value is a mapping."""
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))
    return folder


def hidden(model: nn.Module, ids: Tensor) -> Tensor:
    """The last hidden state of a model, or of the encoder in it."""
    with torch.no_grad():
        found = model(input_ids=ids, output_hidden_states=True)
    states: Mapping[str, Any] = found
    return states["hidden_states"][-1]
