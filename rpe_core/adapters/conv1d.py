"""transformers' Conv1D, as in GPT-2, taken for the Linear that it is while an adapter is put on it.

It stores its weight transposed, (d_in, d_out). A Linear over the same memory computes the very same
bits, forth and back, and every method knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import nn
from transformers.pytorch_utils import Conv1D


@contextmanager
def seen_as_linear(model: nn.Module) -> Iterator[None]:
    """Let each Conv1D be a Linear for a while; those that nothing has adapted are put back."""
    places = {name: layer for name, layer in model.named_modules() if isinstance(layer, Conv1D)}
    views = {name: _view(layer) for name, layer in places.items()}
    try:
        for name, view in views.items():
            model.set_submodule(name, view)
        yield
    finally:
        for name, view in views.items():
            if model.get_submodule(name) is view:
                model.set_submodule(name, places[name])


def are_transposed(before: Mapping[str, nn.Module], names: Iterable[str]) -> bool:
    """Whether one of these modules stores its weight transposed: PEFT's fan_in_fan_out."""
    return any(isinstance(before.get(name), Conv1D) for name in names)


def _view(layer: Conv1D) -> nn.Linear:
    made = nn.Linear(layer.nx, layer.nf, device="meta").train(layer.training)
    made.weight = nn.Parameter(layer.weight.data.T, requires_grad=False)
    made.bias = layer.bias
    return made
