"""Put a trainable adapter on a frozen model and take it off again, whatever its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

from torch import nn

from rpe_core.adapters.methods import load_method
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta


class AdapterMethod(Protocol):
    """What the module of an adapter method holds."""

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Replace target modules by ones with trainable parameters; the rest stays frozen."""

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """What was trained, exactly, per module name of the base."""


@dataclass(frozen=True)
class Injection:
    """An adapter on a model: its parameters by name, the modules it added, those of before."""

    model: nn.Module
    method: AdapterMethod
    parameters: dict[str, nn.Parameter]
    added: tuple[nn.Module, ...]
    before: dict[str, nn.Module]

    def set_mode(self, *, is_training: bool) -> None:
        """Switch the adapter's own modules; the frozen base stays in evaluation mode."""
        for module in self.added:
            module.training = is_training

    def export(self) -> dict[str, LowRankDelta]:
        """The trained deltas per module name of the base."""
        return self.method.export(self.model)


def attach(model: nn.Module, recipe: Recipe) -> Injection:
    """Freeze the model and put the recipe's adapter on it, its parameters in float32.

    Raises:
        InputError: if the target modules are not those of the model, which is then left as it was.
        UnknownName: if no method has the recipe's name.
    """
    method = cast(AdapterMethod, load_method(recipe.method))
    model.requires_grad_(requires_grad=False)
    before = dict(model.named_modules())
    try:
        method.attach(model, recipe)
    except Exception:
        _put_back(model, before)
        raise
    known = {id(module) for module in before.values()}
    added = tuple(module for module in model.modules() if id(module) not in known)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for parameter in parameters.values():
        parameter.data = parameter.data.float()  # bf16 cannot resolve small steps
    return Injection(model, method, parameters, added, before)


def detach(injection: Injection) -> None:
    """Put every replaced module back: the very objects, so the base is bit for bit what it was."""
    _put_back(injection.model, injection.before)


def _put_back(model: nn.Module, before: dict[str, nn.Module]) -> None:
    for name, module in before.items():  # parents come before their children
        parent, _, child = name.rpartition(".")
        if name and getattr(model.get_submodule(parent), child) is not module:
            setattr(model.get_submodule(parent), child, module)
    if hasattr(model, "peft_config"):
        del model.peft_config  # PEFT's own mark, or a second adapter would warn
