"""The state between two epochs as plain tensors and JSON values; flows write and read the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rpe_core.errors import InputError

_GROUPS = ("parameters", "first_moments", "second_moments", "best", "kept", "random_state")
_VALUES = ("epoch", "step", "recipe_id", "n_items", "best_loss", "n_stale_epochs", "history")


@dataclass(frozen=True)
class ResumeState:
    """All that a training needs to go on after `epoch` epochs as if it had never stopped."""

    epoch: int
    step: int
    recipe_id: str
    n_items: int
    parameters: dict[str, Tensor]
    first_moments: dict[str, Tensor]
    second_moments: dict[str, Tensor]
    random_state: dict[str, Tensor]
    best: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)
    best_loss: float | None = None
    n_stale_epochs: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def to_tensors(state: ResumeState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state as tensors with flat names (for safetensors) and JSON values."""
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
        for group in _GROUPS
        for name, tensor in getattr(state, group).items()
    }
    return tensors, {name: getattr(state, name) for name in _VALUES}


def from_tensors(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> ResumeState:
    """The state that `to_tensors` took apart.

    Raises:
        InputError: if a part is missing.
    """
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in _GROUPS}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    values = {"history": [], **values}  # older checkpoints tell none
    if set(groups) != set(_GROUPS) or set(values) != set(_VALUES):
        raise InputError(
            "a checkpoint is not complete.", remedy="remove it: the training starts again"
        )
    return ResumeState(**{**values, **groups})


def copy_moments(
    optimiser: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """AdamW's first and second moments by the names of the parameters; 0 where none had a part."""

    def copied(moment: str) -> dict[str, Tensor]:
        return {
            name: optimiser.state[p].get(moment, torch.zeros_like(p)).detach().clone()
            for name, p in parameters.items()
        }

    return copied("exp_avg"), copied("exp_avg_sq")


def restore_optimiser(
    optimiser: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter], state: ResumeState
) -> None:
    """Give parameters and AdamW's moments the values of a state."""
    for name, p in parameters.items():
        with torch.no_grad():
            p.copy_(state.parameters[name])
        optimiser.state[p] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": state.first_moments[name].to(p.device, copy=True),
            "exp_avg_sq": state.second_moments[name].to(p.device, copy=True),
        }
