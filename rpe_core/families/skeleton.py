"""A base's modules without their numbers: what adapters are judged against. Nothing of ours here.

It is drawn from config.json alone, by the class that the family loads, in milliseconds and next to
no memory. Faults are ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.pytorch_utils import Conv1D

from rpe_core.families.shared import LOCAL_ONLY

LINEAR, TRANSPOSED, EMBEDDING, CONVOLUTION = "linear", "transposed", "embedding", "convolution"
_KINDS = {
    nn.Linear: LINEAR,
    Conv1D: TRANSPOSED,
    nn.Embedding: EMBEDDING,
    nn.Conv1d: CONVOLUTION,
    nn.Conv2d: CONVOLUTION,
    nn.Conv3d: CONVOLUTION,
}


@dataclass
class Skeleton:
    """A base as `attachment.attach` takes it, whose weights are shapes."""

    model: nn.Module
    device: str = "cpu"
    adapter: Any = None

    def modules(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Name, kind and shape of the weight, as stored, of every module that LoRA can adapt."""
        for name, module in self.model.named_modules(remove_duplicate=False):
            for of, kind in _KINDS.items():
                if isinstance(module, of):
                    yield name, kind, tuple(module.weight.shape)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors by name."""
        return {name: tuple(tensor.shape) for name, tensor in self.model.state_dict().items()}

    def others(self) -> frozenset[str]:
        """What models of other kinds are called, of all that transformers knows."""
        config: Any = self.model.config
        own = {str(config.model_type).replace("-", "_"), str(self.model.base_model_prefix)}
        return frozenset({str(kind).replace("-", "_") for kind in CONFIG_MAPPING} - own)


def draw(folder: str, loads: str) -> Skeleton:
    """The modules that a class of transformers builds for the model in a folder.

    Raises:
        OSError: if the folder lacks a file.
        ValueError: if it holds another architecture.
    """
    config = AutoConfig.from_pretrained(folder, **LOCAL_ONLY)
    kind = getattr(transformers, loads)
    with torch.device("meta"):
        model = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
    return Skeleton(model.eval())
