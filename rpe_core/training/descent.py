"""One step down: the rate that a schedule gives, and the gradients clipped. No model here."""

from __future__ import annotations

import math
from typing import Protocol

import torch

from rpe_core.errors import InputError


class RatePace(Protocol):
    """What the learning rate of a step depends on."""

    @property
    def learning_rate(self) -> float:
        """The highest rate."""

    @property
    def warmup_ratio(self) -> float:
        """Share of the steps in which the rate rises."""

    @property
    def schedule(self) -> str:
        """How it falls after."""


def learning_rate_at(step: int, n_steps: int, recipe: RatePace) -> float:
    """The rate of step 0 .. n_steps - 1: linear warm-up, then constant, linear or cosine decay.

    >>> from types import SimpleNamespace as Like
    >>> recipe = Like(learning_rate=1.0, warmup_ratio=0.25, schedule="linear")
    >>> [round(learning_rate_at(step, 8, recipe), 3) for step in range(8)]
    [0.5, 1.0, 1.0, 0.833, 0.667, 0.5, 0.333, 0.167]
    """
    n_warmup = math.ceil(recipe.warmup_ratio * n_steps)
    if step < n_warmup:
        return recipe.learning_rate * (step + 1) / n_warmup
    done = (step - n_warmup) / (n_steps - n_warmup)
    decay = {
        "constant": 1.0,
        "linear": 1.0 - done,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
    }
    return recipe.learning_rate * decay[recipe.schedule]


def take_step(
    optimiser: torch.optim.Optimizer, rate: float, max_grad_norm: float, *, where: str
) -> None:
    """Descend along the gradients at this rate, their norm clipped.

    A group of parameters may have a `rate_factor` of its own.

    Raises:
        InputError: if the norm is not finite.
    """
    parameters = []
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
        parameters += group["params"]
    if not torch.isfinite(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)):
        raise InputError(
            "training diverged: the gradient is not finite.",
            where=where,
            remedy="lower learning_rate or raise warmup_ratio in the recipe",
        )
    optimiser.step()
