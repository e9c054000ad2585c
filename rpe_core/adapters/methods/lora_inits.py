"""LoRA that begins at a part of W0: W0 x + s (B A - B0 A0) x, with PEFT's A0 and B0 of W0.

PiSSA (arXiv 2404.02948) begins at the first r singular triplets, OLoRA (arXiv 2406.01775) at the
first r columns of a QR decomposition. PEFT trains them on the rest W0 - s B0 A0 as base; here the
same is computed on W0 itself, so that the adapter applies to the unmodified base, as one LoRA of
rank 2r: [A; A0], [B, -B0].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional

from rpe_core.adapters.method import layers_of
from rpe_core.adapters.methods.lora import NAME, Lora, delta_of
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError


class ShiftedLinear(nn.Module):
    """A layer with LoRA, less what its factors began at."""

    first_a: Tensor
    first_b: Tensor

    def __init__(self, layer: LoraLayer) -> None:
        super().__init__()
        self.layer, self.scaling = layer, float(layer.scaling[NAME])
        start = delta_of(layer)
        self.register_buffer("first_a", start.a.to(layer.lora_A[NAME].weight.device))
        self.register_buffer("first_b", start.b.to(layer.lora_B[NAME].weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) to (..., d_out)."""
        whole: Tensor = self.layer(x)
        inner = functional.linear(x.to(self.first_a.dtype), self.first_a)
        start = self.scaling * functional.linear(inner, self.first_b)
        return whole - start.to(whole.dtype)

    def export(self) -> LowRankDelta:
        """The factors beside the negative of those that they began at."""
        now = delta_of(self.layer)
        a, b = self.first_a.detach().cpu(), self.first_b.detach().cpu()
        return LowRankDelta(torch.cat([now.a, a]), torch.cat([now.b, -b], dim=1), now.scaling)


class Shifted(Lora):
    """LoRA whose factors begin at a part of W0, which stays in the base."""

    name: str

    def shift(self, model: nn.Module, begin: Callable[[str, LoraLayer], None]) -> None:
        """Let each layer begin at its part of the weight, which stays as it is.

        Raises:
            InputError: a target is no linear layer, or its weight is quantised.
        """
        for name, layer in layers_of(model, LoraLayer).items():
            weight = layer.get_base_layer().weight
            if weight.ndim != 2 or not weight.is_floating_point():
                raise InputError(
                    f"{self.name} needs the numbers of each weight.",
                    where="target_modules",
                    expected="linear layers of a base in float32 or bfloat16",
                )
            kept, weight.data = weight.data, weight.data.clone()  # PEFT takes the part out of it
            begin(name, layer)
            weight.data = kept
            model.set_submodule(name, ShiftedLinear(layer))

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """One LoRA of rank 2r for each module."""
        return {name: layer.export() for name, layer in layers_of(model, ShiftedLinear).items()}


class Initialised(Shifted):
    """An initialisation that PEFT computes from the base's weights."""

    def __init__(self, name: str, begin: Callable[[LoraLayer], None]) -> None:
        self.name, self.begin = name, begin

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Put LoRA on the model and begin it at a part of each weight.

        Raises:
            InputError: LoRA does not fit, a target is no linear layer, or its weight is quantised.
        """
        super().attach(model, recipe)
        self.shift(model, lambda name, layer: self.begin(layer))
