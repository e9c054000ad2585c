"""What the target modules of a base are fed, in numbers; how it is gathered is in input_watch.py.

Nothing here needs PEFT: the numbers are kept and read by whoever trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from rpe_core.adapters.methods import ADAPTER_METHODS
from rpe_core.adapters.recipe import Recipe

_COMPONENTS, _RATIOS = ".components", ".explained_variance_ratio"


class InputAsk(NamedTuple):
    """What a recipe asks for: recipes of one base that ask for the same share what is gathered."""

    target_modules: tuple[str, ...]
    n_components: int
    tau: float


@dataclass(frozen=True)
class InputStatistics:
    """Principal components of the inputs of modules, by the modules' names in the base.

    `components[m]` is (k, d_in), float32, orthonormal rows, the largest variance first; `ratios[m]`
    is (k,), float64: the share of the inputs' total variance that lies along each. k is d_in where
    a module is narrower than what was asked for, and 0 where it has no part in a feature, as SAM's
    decoder.
    """

    components: Mapping[str, Tensor]
    ratios: Mapping[str, Tensor]

    def to_tensors(self) -> dict[str, Tensor]:
        """Flat names to tensors that share no memory, as safetensors wants them."""
        return {
            name + suffix: tensor.contiguous().clone()
            for suffix, found in ((_COMPONENTS, self.components), (_RATIOS, self.ratios))
            for name, tensor in found.items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> InputStatistics:
        """What `to_tensors` gave."""
        parts = [
            {name.removesuffix(end): one for name, one in tensors.items() if name.endswith(end)}
            for end in (_COMPONENTS, _RATIOS)
        ]
        return cls(*parts)


def asked_by(recipe: Recipe) -> InputAsk | None:
    """What a recipe asks for; None where its method needs to see no input."""
    if not ADAPTER_METHODS[recipe.method].asks_inputs:
        return None
    options = recipe.options
    n_components = round(options["rho"] * recipe.r)
    return InputAsk(recipe.target_modules, n_components, float(options["tau"]))
