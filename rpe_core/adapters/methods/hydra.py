"""Hydra: W0 x + b + s B_p A_p x + s B_s A_s W0 x, a parallel and a sequential branch.

arXiv 2309.06922, with the sequential branch on W0 x without the bias, so that what is added is
linear in x: one LoRA of rank r_p + r_s with A = [A_p; A_s W0], B = s [B_p, B_s], exactly.
"""

from __future__ import annotations

import math

import torch
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from rpe_core.adapters.method import layers_of
from rpe_core.adapters.methods.lora import NAME, Lora
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError


class HydraLinear(nn.Module):
    """A linear layer with both branches; A_p, B_p and s are those of a LoRA on it."""

    def __init__(self, layer: LoraLayer, rank: int) -> None:
        super().__init__()
        self.base_layer = layer.get_base_layer()
        self.dropout = layer.lora_dropout[NAME]
        self.scaling = float(layer.scaling[NAME])
        self.parallel_a, self.parallel_b = layer.lora_A[NAME], layer.lora_B[NAME]
        d_out, device = self.parallel_b.out_features, self.parallel_b.weight.device
        self.sequential_a = nn.Linear(d_out, rank, bias=False, device=device)
        self.sequential_b = nn.Linear(rank, d_out, bias=False, device=device)
        nn.init.kaiming_uniform_(self.sequential_a.weight, a=math.sqrt(5))
        nn.init.zeros_(self.sequential_b.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) to (..., d_out)."""
        whole: Tensor = self.base_layer(x)
        bias = self.base_layer.bias
        through = (whole if bias is None else whole - bias).to(self.sequential_a.weight.dtype)
        beside = x.to(self.parallel_a.weight.dtype)
        added = self.parallel_b(self.parallel_a(self.dropout(beside)))
        added = added + self.sequential_b(self.sequential_a(self.dropout(through)))
        scaled: Tensor = self.scaling * added
        return whole + scaled.to(whole.dtype)

    def export(self) -> LowRankDelta:
        """Both branches as one LoRA, on the W0 that inference multiplies by."""
        w0 = dequantize_module_weight(self.base_layer).detach().double()
        behind = self.sequential_a.weight.detach().double() @ w0
        a = torch.cat([self.parallel_a.weight.detach().double(), behind])
        b = torch.cat([self.parallel_b.weight.detach(), self.sequential_b.weight.detach()], dim=1)
        return LowRankDelta(a.to(b.dtype).cpu(), b.cpu().clone(), self.scaling)


class Hydra(Lora):
    """`r` is the rank of the parallel branch, `sequential_r` (by default the same) the other's."""

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Put LoRA on the model, then both branches in its place.

        Raises:
            InputError: LoRA does not fit, or a target is another layer than a linear one.
        """
        super().attach(model, recipe)
        for name, layer in layers_of(model, LoraLayer).items():
            if not hasattr(layer.get_base_layer(), "in_features"):
                raise InputError(
                    "Hydra does not fit the base model.",
                    where="target_modules",
                    expected="names of linear layers",
                )
            rank = recipe.options["sequential_r"] or recipe.r
            model.set_submodule(name, HydraLinear(layer, rank))

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """One LoRA of rank r_p + r_s for each module."""
        return {name: layer.export() for name, layer in layers_of(model, HydraLinear).items()}


METHOD = Hydra()
