"""MiSS, once Bone: W0 x + D^T S(x), where S sums x over blocks of length r (arXiv 2409.15371).

D: (r, d_out), zero at first; S(x)_j = sum of x_i over i mod r = j. Exactly a LoRA with the fixed
A[j, i] = 1 where i mod r = j, B = D^T and scale 1: adapters of one r share A, so their weighted sum
keeps the rank. `mini` trains (r, mini_r) numbers and repeats them over d_out.
"""

from __future__ import annotations

import torch
from peft import MissConfig, inject_adapter_in_model
from peft.tuners.miss.layer import MissLayer
from torch import Tensor, nn

from rpe_core.adapters.lora import NAME, no_target
from rpe_core.adapters.method import AdapterMethod
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError


class Miss(AdapterMethod):
    """MiSS has no scale: `alpha` has to be `r`, and its learning rates are lower than LoRA's."""

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Let PEFT put D on the target modules.

        Raises:
            InputError: a scale is asked for, r is more than a module takes in, mini_r does not
                divide what it gives, or a target is no linear layer of the model.
        """
        is_mini, mini_r = recipe.options["variant"] == "mini", recipe.options["mini_r"]
        if recipe.alpha != recipe.r or recipe.use_rslora or is_mini != (mini_r is not None):
            raise InputError(
                "The recipe asks for what MiSS does not have.",
                where="recipe",
                expected="alpha equal to r, no use_rslora; mini_r with variant mini and only there",
            )
        config = MissConfig(
            r=recipe.r,
            miss_dropout=recipe.dropout,
            mini_r=mini_r or 1,
            init_weights="mini" if is_mini else True,
            target_modules=list(recipe.target_modules) or None,
            bias="none",
        )
        try:
            inject_adapter_in_model(config, model, adapter_name=NAME)
        except ValueError:
            raise no_target("MiSS (r at most what a module takes in, mini_r dividing)") from None

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """The fixed A and B = D^T for each module."""
        found = {}
        for name, module in model.named_modules():
            if isinstance(module, MissLayer):
                d = module.miss_block[NAME].detach().cpu()
                b = d.repeat(1, module.out_features // d.shape[1]).T.contiguous()
                found[name] = LowRankDelta(block_sums(len(d), module.in_features), b)
        return found


def block_sums(r: int, d_in: int) -> Tensor:
    """A of MiSS, (r, d_in): ones where the column is the row modulo r.

    >>> block_sums(2, 5)
    tensor([[1., 0., 1., 0., 1.],
            [0., 1., 0., 1., 0.]])
    """
    return (torch.arange(d_in) % r == torch.arange(r)[:, None]).float()


METHOD = Miss()
