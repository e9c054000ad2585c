"""CorDA: LoRA that begins at the part of W0 that its inputs use most, or least (arXiv 2406.05223).

With C = E[x x^T] of a module's inputs and U S V^T = W0 C, the part is U_r S_r V_r^T C^-1: of the
first r triplets (`ipm`, to learn the new task) or the last (`kpm`, to keep what the base knows).
As with PiSSA it stays in the base, and the adapter is one LoRA of rank 2r. C is made to have a mean
diagonal of one, and what is added to it until it can be inverted is PEFT's rule. A module that has
no part in the features begins as PiSSA: its C is the identity.
"""

from __future__ import annotations

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from rpe_core.adapters.input_statistics import InputStatistics, require_statistics
from rpe_core.adapters.method import layers_of
from rpe_core.adapters.methods.lora import NAME
from rpe_core.adapters.methods.lora_inits import Shifted
from rpe_core.adapters.recipe import Recipe

_DAMPING, _INVERSE_ERROR = 0.01, 0.05


class Corda(Shifted):
    """LoRA whose first factors come from the weights and the data."""

    name = "CorDA"

    def initialise(
        self, model: nn.Module, recipe: Recipe, statistics: InputStatistics | None
    ) -> None:
        """Begin each module at its part of the weight.

        Raises:
            InputError: there are no statistics, they are of other modules, a target is no linear
                layer, or its weight is quantised.
        """
        layers = layers_of(model, LoraLayer)
        widths = {name: int(layer.in_features) for name, layer in layers.items()}
        moments = require_statistics(statistics, widths, method="corda").moments

        def begin(name: str, layer: LoraLayer) -> None:
            moment = moments[name] if len(moments[name]) else torch.eye(layer.in_features)
            weight = layer.get_base_layer().weight
            a, b = factors(weight, moment.to(weight.device), recipe.r, recipe.options["mode"])
            share = float(layer.scaling[NAME]) ** -0.5
            layer.lora_A[NAME].weight.data = (share * a).float()
            layer.lora_B[NAME].weight.data = (share * b).float()

        self.shift(model, begin)


def factors(weight: Tensor, moment: Tensor, r: int, mode: str) -> tuple[Tensor, Tensor]:
    """A (r, d_in) and B (d_out, r), float64, of a weight (d_out, d_in) under C (d_in, d_in).

    >>> a, b = factors(torch.diag(torch.tensor([3.0, 2.0])), torch.eye(2), 1, "ipm")
    >>> (b @ a).round(decimals=6).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    c, inverse = _invertible(moment.double() / moment.double().diagonal().mean())
    u, s, vh = torch.linalg.svd(weight.double() @ c, full_matrices=False)
    chosen = slice(None, r) if mode == "ipm" else slice(-r, None)
    root = s[chosen].sqrt()
    return root[:, None] * (vh[chosen] @ inverse), u[:, chosen] * root


def _invertible(c: Tensor) -> tuple[Tensor, Tensor]:
    """C with as much of the identity as it takes, and its inverse."""
    damping, eye = _DAMPING, torch.eye(len(c), dtype=c.dtype, device=c.device)
    while True:
        damped = c + damping * eye
        inverse = torch.linalg.inv(damped)
        if float(torch.dist(damped @ inverse, eye)) < _INVERSE_ERROR:
            return damped, inverse
        damping *= 2


METHOD = Corda()
