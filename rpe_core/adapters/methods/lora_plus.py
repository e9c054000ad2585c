"""LoRA+: LoRA whose B learns at a multiple of A's rate (arXiv 2402.12354)."""

from __future__ import annotations

from rpe_core.adapters.method import ParameterPace
from rpe_core.adapters.methods.lora import Lora
from rpe_core.adapters.recipe import Recipe


class LoraPlus(Lora):
    """The rate of the recipe is A's; B's is `b_rate_factor` times as high, 16 in the paper."""

    def pace(self, name: str, recipe: Recipe) -> ParameterPace:
        """B's parameters learn faster."""
        factor = recipe.options["b_rate_factor"] if ".lora_B." in name else 1.0
        return ParameterPace(factor, recipe.weight_decay)


METHOD = LoraPlus()
