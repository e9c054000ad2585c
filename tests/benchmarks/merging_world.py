"""Adapters and checkpoints of real shapes and generated numbers, to measure the merge on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file

WEIGHTS = (0.6, 0.3, -0.1, 0.15, 0.05)
RANK, ALPHA = 16, 32
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
Shape = tuple[int, ...]
Members = list[tuple[Path, float]]


class Llama(NamedTuple):
    """The widths of a Llama, from which every shape follows."""

    layers: int
    width: int
    heads: int
    key_heads: int
    hidden: int
    vocabulary: int

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(d_out, d_in) of every linear layer of the blocks, by module name."""
        narrow = self.width * self.key_heads // self.heads
        outs = dict.fromkeys(ATTENTION, self.width) | {"k_proj": narrow, "v_proj": narrow}
        shapes = {f"self_attn.{name}": (d_out, self.width) for name, d_out in outs.items()}
        shapes |= {f"mlp.{name}": (self.hidden, self.width) for name in FEED_FORWARD}
        shapes["mlp.down_proj"] = (self.width, self.hidden)
        return {
            f"model.layers.{layer}.{name}": shape
            for layer in range(self.layers)
            for name, shape in shapes.items()
        }

    def config(self) -> dict[str, object]:
        """The numbers of config.json that transformers needs."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": True,
            "dtype": "bfloat16",
        }


LLAMA_8B = Llama(32, 4096, 32, 8, 14336, 128256)
LLAMA_1B = Llama(16, 2048, 32, 8, 8192, 128256)


def write_members(folder: Path, llama: Llama) -> Members:
    """LoRA folders of rank 16 in bf16 on every linear layer, with weights; their base beside them.

    Where there is no base yet it is nothing but a config.json, into which PEFT looks.
    """
    base = folder / "base"
    if not base.exists():
        write_config(base, llama)
    generator = torch.Generator().manual_seed(0)
    members = [(folder / f"adapter-{i}", weight) for i, weight in enumerate(WEIGHTS)]
    for place, _ in members:
        _write_adapter(place, llama.linear_shapes(), base, generator)
    return members


def write_config(folder: Path, llama: Llama) -> Path:
    """The config.json of a base."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(llama.config()), encoding="utf-8")
    return folder


def write_checkpoint(folder: Path, llama: Llama, *, shards: int) -> Path:
    """A base of this shape in bf16, in as many shards, with its index and configuration."""
    write_config(folder, llama)
    tensors = list(_base_shapes(llama))
    homes: dict[str, str] = {}
    generator = torch.Generator().manual_seed(1)
    for number in range(shards):
        name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        here = dict(tensors[number::shards])
        made = {key: _random(shape, 0.02, generator) for key, shape in here.items()}
        save_file(made, folder / name, metadata={"format": "pt"})
        homes |= dict.fromkeys(here, name)
    index = {"metadata": {}, "weight_map": homes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def _write_adapter(
    folder: Path, shapes: dict[str, tuple[int, int]], base: Path, generator: torch.Generator
) -> None:
    folder.mkdir(parents=True)
    tensors = {}
    for module, (d_out, d_in) in shapes.items():
        name = f"base_model.model.{module}.lora_"
        tensors[f"{name}A.weight"] = _random((RANK, d_in), d_in**-0.5, generator)
        tensors[f"{name}B.weight"] = _random((d_out, RANK), 0.01, generator)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({module.rpartition(".")[2] for module in shapes}),
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


def _base_shapes(llama: Llama) -> Iterator[tuple[str, Shape]]:
    yield "model.embed_tokens.weight", (llama.vocabulary, llama.width)
    for module, shape in llama.linear_shapes().items():
        yield f"{module}.weight", shape
    for layer in range(llama.layers):
        yield f"model.layers.{layer}.input_layernorm.weight", (llama.width,)
        yield f"model.layers.{layer}.post_attention_layernorm.weight", (llama.width,)
    yield "model.norm.weight", (llama.width,)


def _random(shape: Shape, scale: float, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator).mul_(scale).bfloat16()
