"""SoRA: W0 x + s B (g * A x); a proximal step closes gates for good (arXiv 2311.11696).

A: (r, d_in), g: (r,), B: (d_out, r). After each step |g| shrinks by the threshold xi, and what is
below is zero. What closed gates lead to is cut away: A'= A[K], B' = (B g)[:, K] with K the open
ones, exactly. With stages, xi rises from `threshold` to `last_threshold`.
"""

from __future__ import annotations

import math

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional

from rpe_core.adapters.method import ParameterPace, layers_of
from rpe_core.adapters.methods.lora import NAME, Lora, delta_of
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError


class GatedFactor(nn.Linear):
    """B with its gates: x -> B (g * x); gates begin as N(0, 1), as in the authors' code."""

    def __init__(self, factor: nn.Linear) -> None:
        super().__init__(factor.in_features, factor.out_features, bias=False)
        self.weight = factor.weight
        self.gate = nn.Parameter(torch.randn(factor.in_features, device=factor.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """(..., r) to (..., d_out)."""
        return functional.linear(x * self.gate, self.weight)


class Sora(Lora):
    """LoRA whose rank is found in training, module by module."""

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Put LoRA on the model, then a gate before each B.

        Raises:
            InputError: LoRA does not fit, or the stages take more epochs than there are.
        """
        threshold_at(0, recipe)
        super().attach(model, recipe)
        for layer in layers_of(model, LoraLayer).values():
            layer.lora_B[NAME] = GatedFactor(layer.lora_B[NAME])

    def pace(self, name: str, recipe: Recipe) -> ParameterPace:
        """Gates have a rate of their own and no decay: they would all fade by themselves."""
        if not name.endswith(".gate"):
            return super().pace(name, recipe)
        rate = recipe.options["gate_learning_rate"]
        return ParameterPace(rate / recipe.learning_rate if rate else 1.0, 0.0)

    def penalty(self, model: nn.Module, recipe: Recipe) -> Tensor | None:
        """`penalty` times the mean |g|, beside the proximal step."""
        factor = recipe.options["penalty"]
        gates = torch.cat([gate.abs() for gate in _gates(model)]) if factor else None
        return None if gates is None else factor * gates.mean()

    def proximal(self, name: str, value: Tensor, recipe: Recipe, *, epoch: int) -> Tensor:
        """The proximal step of the l1 norm, on gates alone."""
        if not name.endswith(".gate"):
            return value
        return soft_threshold(
            value, threshold_at(epoch, recipe), is_legacy=recipe.options["legacy"]
        )

    def asks_training_score(self, recipe: Recipe, *, epoch: int) -> bool:
        """At the end of each stage: rank against what is learnt and what carries over."""
        is_last = epoch + 1 == recipe.epochs or stage_of(epoch, recipe) < stage_of(
            epoch + 1, recipe
        )
        return recipe.options["n_stages"] > 1 and is_last

    def facts(self, model: nn.Module, recipe: Recipe, *, epoch: int) -> dict[str, float]:
        """The stage (from 0), its threshold, and how many gates are open of how many."""
        gates = torch.cat([gate.detach() for gate in _gates(model)])
        return {
            "stage": stage_of(epoch, recipe),
            "threshold": threshold_at(epoch, recipe),
            "rank": int((gates != 0).sum()),
            "rank_at_most": gates.numel(),
        }

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """The open part of each module; one whose gates are all closed is left out."""
        deltas = {}
        for name, layer in layers_of(model, LoraLayer).items():
            delta, gate = delta_of(layer), layer.lora_B[NAME].gate.detach().cpu()
            is_open = gate != 0
            if is_open.any():
                b = (delta.b.double() * gate.double())[:, is_open].to(delta.b.dtype)
                deltas[name] = LowRankDelta(delta.a[is_open], b, delta.scaling)
        return deltas


def soft_threshold(gate: Tensor, threshold: float, *, is_legacy: bool = False) -> Tensor:
    """sign(g) max(|g| - xi, 0), the proximal step of xi |g|.

    The authors' code subtracts, adds and cuts in place, one after the other: in effect it closes
    gates below 2 xi. `is_legacy` does the same.

    >>> soft_threshold(torch.tensor([-0.5, 0.1, 0.3]), 0.2)
    tensor([-0.3000,  0.0000,  0.1000])
    >>> soft_threshold(torch.tensor([-0.5, 0.1, 0.3]), 0.2, is_legacy=True)
    tensor([-0.3000,  0.0000,  0.0000])
    """
    kept = functional.softshrink(gate, threshold)
    return torch.where(gate.abs() < 2 * threshold, 0.0, kept) if is_legacy else kept


def stage_of(epoch: int, recipe: Recipe) -> int:
    """The stage of an epoch: the first one is long, the others have `stage_epochs` each."""
    options = recipe.options
    first = recipe.epochs - (options["n_stages"] - 1) * options["stage_epochs"]
    if first < 1:
        raise InputError(
            "The stages take more epochs than the recipe has.",
            where="options",
            expected="epochs above (n_stages - 1) * stage_epochs",
        )
    return 0 if epoch < first else 1 + (epoch - first) // options["stage_epochs"]


def threshold_at(epoch: int, recipe: Recipe) -> float:
    """Xi in an epoch: between the first and the last threshold by the spacing of the stages.

    `linear` in xi; `exp_linear` in log xi; `log_linear` in exp xi.

    Raises:
        InputError: stages without a last threshold, one below the first, or a spacing from zero.
    """
    first, last, n = (recipe.options[key] for key in ("threshold", "last_threshold", "n_stages"))
    stage = stage_of(epoch, recipe)
    if n == 1 and last is None:
        return float(first)
    spacing = recipe.options["spacing"]
    if n == 1 or last is None or last < first or (spacing == "exp_linear" and first == 0):
        raise InputError(
            "The thresholds of the stages do not fit.",
            where="options",
            expected="last_threshold, above threshold, with n_stages of 2 or more;"
            " a threshold above 0 for exp_linear",
        )
    share = stage / (n - 1)
    if spacing == "exp_linear":
        return float(math.exp(math.log(first) * (1 - share) + math.log(last) * share))
    if spacing == "log_linear":
        return float(math.log(math.exp(first) * (1 - share) + math.exp(last) * share))
    return float(first * (1 - share) + last * share)


def _gates(model: nn.Module) -> list[nn.Parameter]:
    return [factor.gate for factor in layers_of(model, GatedFactor).values()]


METHOD = Sora()
