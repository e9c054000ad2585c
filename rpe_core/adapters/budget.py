"""The rank at which a method trains as many parameters as another: a fair size to compare them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from rpe_core.adapters.injection import count_parameters
from rpe_core.adapters.recipe import Recipe


def fit_rank(model: nn.Module, recipe_at: Callable[[int], Recipe], n_parameters: int) -> int:
    """The rank r >= 1 whose number of trained parameters is nearest to `n_parameters`.

    `recipe_at` gives the recipe of a rank. Every method's number is linear in r, so two ranks tell
    it; one that does not grow with r keeps rank 1.

    Raises:
        InputError: a recipe does not fit the model.
    """
    first, second = (count_parameters(model, recipe_at(r)) for r in (1, 2))
    growth = second - first
    return max(1, 1 + round((n_parameters - first) / growth)) if growth else 1
