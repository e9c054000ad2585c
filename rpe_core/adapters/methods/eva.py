"""EVA: LoRA that begins along the inputs' principal components, ranks given to where they vary.

arXiv 2410.07170 (NeurIPS 2025); PEFT's incremental PCA and layers. Of all components of N modules
the N r that explain most of their module's variance are kept, so that a module has from 0 to rho r
of them. A is what a module kept, B is zero, and the scaling stays the recipe's. A module that has
no part in the features begins as plain LoRA of rank r, as PEFT has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import copy
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from rpe_core.adapters.input_statistics import InputStatistics, require_statistics
from rpe_core.adapters.method import layers_of
from rpe_core.adapters.methods.lora import NAME, Lora
from rpe_core.adapters.recipe import Recipe


class Eva(Lora):
    """LoRA whose ranks and A come from the data."""

    def initialise(
        self, model: nn.Module, recipe: Recipe, statistics: InputStatistics | None
    ) -> None:
        """Give each module its rank and its A; one of rank 0 is the base's own again.

        Raises:
            InputError: there are no statistics, or they are of other modules.
        """
        layers = layers_of(model, LoraLayer)
        widths = {name: int(layer.in_features) for name, layer in layers.items()}
        by_layer = require_statistics(statistics, widths, method="eva")
        layers = {name: layer for name, layer in layers.items() if len(by_layer.ratios[name])}
        ranks = redistribute(
            {name: by_layer.ratios[name][: layers[name].out_features] for name in layers},
            budget=recipe.r * len(layers),
        )
        config = copy(cast(Any, model).peft_config[NAME])
        config.init_lora_weights = "eva"  # PEFT's word for: B is zero, A comes from elsewhere
        for name, layer in layers.items():
            if not ranks[name]:
                model.set_submodule(name, layer.get_base_layer())
                continue
            share = ranks[name] / recipe.r
            alpha = recipe.alpha * (share**0.5 if recipe.use_rslora else share)
            layer.update_layer(NAME, ranks[name], alpha, config=config)
            a = layer.lora_A[NAME].weight
            a.data = by_layer.components[name][: ranks[name]].to(a.device, copy=True)


def redistribute(ratios: Mapping[str, Tensor], *, budget: int) -> dict[str, int]:
    """Ranks by module: how many of its components are among the `budget` largest of all.

    Each of `ratios` is (k,), falling. Of equal ones the earlier module's counts.

    >>> ratios = {"a": torch.tensor([0.6, 0.3, 0.05]), "b": torch.tensor([0.2, 0.1, 0.1])}
    >>> redistribute(ratios, budget=4)
    {'a': 2, 'b': 2}
    >>> redistribute(ratios, budget=2)
    {'a': 2, 'b': 0}
    """
    owners = [name for name, of_layer in ratios.items() for _ in of_layer]
    order = torch.cat(list(ratios.values())).argsort(descending=True, stable=True)
    kept = Counter(owners[i] for i in order[:budget].tolist())
    return {name: kept[name] for name in ratios}


METHOD = Eva()
