"""DoRA: m (W0 + s B A) / ||W0 + s B A||, the norm of each row of d_out (arXiv 2402.09353).

m: (d_out,), beside A: (r, d_in) and B: (d_out, r). What it adds to W0 is no product of small
factors, and weights on several m mean nothing: it is filed as PEFT's DoRA, serves by itself, and no
ensemble takes it in.
"""

from __future__ import annotations

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from rpe_core.adapters.method import layers_of
from rpe_core.adapters.methods.lora import NAME, Lora


class Dora(Lora):
    """LoRA for the direction of each row of the weight, a trained length for each."""

    use_dora = True

    def magnitudes(self, model: nn.Module) -> dict[str, Tensor]:
        """The m of each module."""
        return {
            name: layer.lora_magnitude_vector[NAME].weight.detach().cpu().clone()
            for name, layer in layers_of(model, LoraLayer).items()
        }


METHOD = Dora()
