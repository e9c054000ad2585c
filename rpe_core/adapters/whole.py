"""Modules that are trained whole beside an adapter's factors: PEFT's modules_to_save."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from torch import Tensor, nn

from rpe_core.errors import InputError


def attach_whole(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Replace modules by copies whose parameters train in float32; their names in the model.

    A name means every module whose name ends with it, as in PEFT.

    Raises:
        InputError: a name means no module, or one whose copy would not be all that is trained: it
            holds another of them, an adapted layer, buffers, or a parameter that is tied elsewhere.
    """
    modules = [name for name, _ in model.named_modules() if name.endswith(tuple(names))]
    missing = [name for name in names if not any(module.endswith(name) for module in modules)]
    if missing or any(_is_mixed(model, name, modules) for name in modules):
        raise InputError(
            "Modules to train whole do not fit the base model.",
            where="modules_to_save",
            expected="names of modules of the base without buffers, tied weights, adapted layers",
        )
    for name in modules:
        copy = deepcopy(model.get_submodule(name)).requires_grad_(requires_grad=True)
        model.set_submodule(name, copy)
    return tuple(modules)


def export_whole(model: nn.Module, modules: Sequence[str]) -> dict[str, Tensor]:
    """The trained tensors by the base's own names, on the CPU, detached from the model."""
    return {
        f"{module}.{name}": parameter.detach().cpu().clone()
        for module in modules
        for name, parameter in model.get_submodule(module).named_parameters()
    }


def _is_mixed(model: nn.Module, name: str, modules: Sequence[str]) -> bool:
    """Whether a module holds another one of these, an adapted layer, a buffer or a tied weight."""
    module, inside = model.get_submodule(name), f"{name}."
    own = {id(parameter) for parameter in module.parameters()}
    outside = {
        id(parameter)
        for other, parameter in model.named_parameters(remove_duplicate=False)
        if not other.startswith(inside)
    }
    return (
        any(other.startswith(inside) for other in modules)
        or any(parameter.requires_grad for parameter in module.parameters())
        or bool(list(module.buffers()))
        or bool(own & outside)
    )
