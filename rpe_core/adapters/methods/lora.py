"""LoRA: W0 x + s B A x, A (r, d_in), B (d_out, r); s = alpha/r, with rsLoRA alpha/sqrt(r)."""

from __future__ import annotations

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.eva import UNSUPPORTED_LORA_MODULES
from torch import nn

from rpe_core.adapters.method import AdapterMethod, layers_of
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, shown_name

NAME = "default"


class Lora(AdapterMethod):
    """Plain LoRA: A random from the global generator, B zero."""

    use_dora = False

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Let PEFT put its factors on the target modules.

        Raises:
            InputError: if no module of the model has a target name, or is no linear layer.
        """
        config = LoraConfig(
            r=recipe.r,
            lora_alpha=recipe.alpha,
            target_modules=list(recipe.target_modules) or None,
            lora_dropout=recipe.dropout,
            use_rslora=recipe.use_rslora,
            use_dora=self.use_dora,
            bias="none",
        )
        try:
            inject_adapter_in_model(config, model, adapter_name=NAME)
        except ValueError:
            raise no_target("LoRA") from None
        layers = layers_of(model, LoraLayer)
        if any(isinstance(layer, UNSUPPORTED_LORA_MODULES) for layer in layers.values()):
            raise no_target("LoRA")
        for name, layer in layers.items():
            smaller = min(layer.in_features, layer.out_features)
            if recipe.r > smaller:
                raise InputError(
                    "The rank is more than a module has.",
                    where="r",
                    expected=f"at most {smaller}, the smaller side of {shown_name(name)}",
                )

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """The factors, on the CPU, detached from the model."""
        return {name: delta_of(layer) for name, layer in layers_of(model, LoraLayer).items()}


def delta_of(layer: LoraLayer) -> LowRankDelta:
    """What the factors of a layer add to its weight."""
    return LowRankDelta(
        a=layer.lora_A[NAME].weight.detach().cpu().clone(),
        b=layer.lora_B[NAME].weight.detach().cpu().clone(),
        scaling=float(layer.scaling[NAME]),
    )


def no_target(method: str) -> InputError:
    """The refusal where the target modules are not those of the model."""
    return InputError(
        f"{method} does not fit the base model.",
        where="target_modules",
        expected="names of linear layers of the base; PEFT knows those of few architectures",
    )


METHOD = Lora()
