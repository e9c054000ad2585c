"""What the target modules of a base are fed, in numbers; how it is gathered is in input_watch.py.

Nothing here needs PEFT: the numbers are kept and read by whoever trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from rpe_core.adapters.recipe import Recipe
from rpe_core.adapters.table import ADAPTER_METHODS, COMPONENTS, GRAMS
from rpe_core.errors import InputError
from rpe_core.input_gram import InputGram

_ENDS = (".components", ".explained_variance_ratio", ".second_moment")


class InputAsk(NamedTuple):
    """What is asked for: those who ask for the same of one base share what is gathered."""

    kind: str  # components, second moments, or Gram matrices
    target_modules: tuple[str, ...]
    n_components: int = 0
    tau: float = 0.0


@dataclass(frozen=True)
class InputStatistics:
    """Principal components, second moments or Gram matrices of the inputs of modules, by name.

    `components[m]` is (k, d_in), float32, orthonormal rows, the largest variance first; `ratios[m]`
    is (k,), float64: the share of the inputs' total variance that lies along each. k is d_in where
    a module is narrower than what was asked for, and 0 where it has no part in a feature, as SAM's
    decoder. `moments[m]` is E[x x^T], (d_in, d_in), float64, or (0, 0) of such a module. `grams[m]`
    are exact sums of x x^T, one object for modules that are fed the same; of no row of such a one.
    They have a file of their own (rpe_core/merging/files/gram_file.py).
    """

    components: Mapping[str, Tensor]
    ratios: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    grams: Mapping[str, InputGram] = field(default_factory=dict)

    def to_tensors(self) -> dict[str, Tensor]:
        """Flat names to tensors that share no memory, as safetensors wants them."""
        groups = (self.components, self.ratios, self.moments)
        return {
            name + end: tensor.contiguous().clone()
            for end, tensors_of_end in zip(_ENDS, groups, strict=True)
            for name, tensor in tensors_of_end.items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> InputStatistics:
        """What `to_tensors` gave."""
        components, ratios, moments = (
            {
                name.removesuffix(end): tensor
                for name, tensor in tensors.items()
                if name.endswith(end)
            }
            for end in _ENDS
        )
        return cls(components, ratios, moments)


def asked_by(recipe: Recipe) -> InputAsk | None:
    """What a recipe asks for; None where its method needs to see no input."""
    kind, options = ADAPTER_METHODS[recipe.method].asks_inputs, recipe.options
    if not kind:
        return None
    if kind != COMPONENTS:
        return InputAsk(kind, recipe.target_modules)
    n_components = round(options["rho"] * recipe.r)
    return InputAsk(kind, recipe.target_modules, n_components, float(options["tau"]))


def gram_ask(target_modules: tuple[str, ...]) -> InputAsk:
    """What a merge by RegMean asks of a member's modules."""
    return InputAsk(GRAMS, target_modules)


def require_statistics(
    statistics: InputStatistics | None, widths: Mapping[str, int], *, method: str
) -> InputStatistics:
    """The statistics, if they are of modules of these names and widths.

    Raises:
        InputError: there are none, or they are of others.
    """
    if statistics is None:
        raise InputError(
            f"{method} begins at what the base is fed, and no statistics of it were given.",
            where=f"method {method}",
            expected="statistics of the training rows under this base",
            remedy="gather them by rpe_core.adapters.input_watch; the night does so by itself",
        )
    by_module = statistics.components or statistics.moments
    known = {name: tensor.shape[-1] or widths.get(name) for name, tensor in by_module.items()}
    if known != widths:
        raise InputError(
            "The statistics are of other modules than the recipe's.",
            where="target_modules",
            expected=f"those of {len(widths)} modules of this base",
            remedy="gather them again for this recipe and base",
        )
    return statistics
