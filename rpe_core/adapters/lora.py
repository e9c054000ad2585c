"""LoRA: W0 x + s B A x, A (r, d_in), B (d_out, r); s = alpha/r, with rsLoRA alpha/sqrt(r)."""

from __future__ import annotations

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError

_NAME = "default"


def attach(model: nn.Module, recipe: Recipe) -> None:
    """Put trainable factors on the target modules: A random from the global generator, B zero.

    Raises:
        InputError: if no module of the model has one of the target names, or is no linear layer.
    """
    config = LoraConfig(
        r=recipe.r,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.target_modules) or None,
        lora_dropout=recipe.dropout,
        use_rslora=recipe.use_rslora,
        bias="none",
    )
    try:
        inject_adapter_in_model(config, model, adapter_name=_NAME)
    except ValueError:
        raise InputError(
            "LoRA does not fit the base model.",
            where="target_modules",
            expected="names of linear layers of the base; PEFT knows those of few architectures",
        ) from None


def export(model: nn.Module) -> dict[str, LowRankDelta]:
    """The trained factors per module name of the base, on the CPU, detached from the model."""
    return {
        name: LowRankDelta(
            a=module.lora_A[_NAME].weight.detach().cpu().clone(),
            b=module.lora_B[_NAME].weight.detach().cpu().clone(),
            scaling=float(module.scaling[_NAME]),
        )
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
