"""MiSS, once Bone: W0 x + D^T S(x), where S sums x over blocks of length r (arXiv 2409.15371).

D: (r, d_out), zero at first; S(x)_j = sum of x_i over i mod r = j. Exactly a LoRA with the fixed
A[j, i] = 1 where i mod r = j, B = D^T and scale 1: adapters of one r share A, so their weighted sum
keeps the rank. `mini` trains (r, mini_r) numbers and repeats them over d_out. `bat`, the original
Bone, trains (d_out / r, r, r) numbers b and adds W0 b + b block by block: a delta of full rank,
filed as dW I with A the identity, so that the weighted sum of several is dense and no larger.
"""

from __future__ import annotations

import torch
from peft import MissConfig, inject_adapter_in_model
from peft.tuners.miss.layer import MissLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from rpe_core.adapters.method import AdapterMethod, layers_of
from rpe_core.adapters.methods.lora import NAME, no_target
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError


class Miss(AdapterMethod):
    """MiSS has no scale: `alpha` has to be `r`, and its learning rates are lower than LoRA's."""

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Let PEFT put D on the target modules.

        Raises:
            InputError: r is more than a module takes in, or does not divide both its sides, for
                bat; mini_r does not divide what it gives; no linear layer.
        """
        variant, mini_r = recipe.options["variant"], recipe.options["mini_r"]
        is_mini = variant == "mini"
        has_dropout = variant == "bat" and recipe.dropout > 0
        if has_dropout or is_mini != (mini_r is not None):
            raise InputError(
                "The recipe asks for what MiSS does not have.",
                where="recipe",
                expected="no dropout with variant bat; mini_r with variant mini and only there",
            )
        config = MissConfig(
            r=recipe.r,
            miss_dropout=recipe.dropout,
            mini_r=mini_r or 1,
            init_weights=True if variant == "full" else variant,
            target_modules=list(recipe.target_modules) or None,
            bias="none",
        )
        try:
            inject_adapter_in_model(config, model, adapter_name=NAME)
        except (TypeError, ValueError):  # PEFT's words for another layer, and for another size
            raise no_target(f"MiSS {variant} of this r") from None

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """The fixed A and B = D^T for each module; of bat the identity and dW."""
        return {name: _delta_of(layer) for name, layer in layers_of(model, MissLayer).items()}


def _delta_of(layer: MissLayer) -> LowRankDelta:
    d = layer.miss_block[NAME].detach()
    if d.ndim == 3:
        w0 = dequantize_module_weight(layer.get_base_layer()).detach().float()
        return LowRankDelta(torch.eye(w0.shape[1]), layer.get_delta_weight(NAME, w0).detach().cpu())
    b = d.cpu().repeat(1, layer.out_features // d.shape[1]).T.contiguous()
    return LowRankDelta(block_sums(len(d), layer.in_features), b)


def block_sums(r: int, d_in: int) -> Tensor:
    """A of MiSS, (r, d_in): ones where the column is the row modulo r.

    >>> block_sums(2, 5)
    tensor([[1., 0., 1., 0., 1.],
            [0., 1., 0., 1., 0.]])
    """
    return (torch.arange(d_in) % r == torch.arange(r)[:, None]).float()


METHOD = Miss()
