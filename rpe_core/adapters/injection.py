"""Put a trainable adapter on a frozen model and take it off again, whatever its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

from torch import Tensor, nn

from rpe_core.adapters.methods import load_method
from rpe_core.adapters.recipe import Recipe
from rpe_core.adapters.whole import attach_whole, export_whole
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError


class AdapterMethod(Protocol):
    """What the module of an adapter method holds."""

    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Replace target modules by ones with trainable parameters; the rest stays frozen."""

    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """What was trained, exactly, per module name of the base."""


@dataclass(frozen=True)
class Injection:
    """An adapter on a model: its parameters by name, the modules it added, those of before.

    `whole` names the modules that it replaced by copies to train.
    """

    model: nn.Module
    method: AdapterMethod
    parameters: dict[str, nn.Parameter]
    added: tuple[nn.Module, ...]
    before: dict[str, nn.Module]
    checkpointed: tuple[nn.Module, ...] = ()
    whole: tuple[str, ...] = ()

    def set_mode(self, *, is_training: bool) -> None:
        """Switch the adapter's own modules; the frozen base stays in evaluation mode.

        But for the flag of a checkpointed layer itself: transformers asks it, nothing below does.
        """
        for module in (*self.added, *self.checkpointed):
            module.training = is_training

    def export(self) -> dict[str, LowRankDelta]:
        """The trained deltas per module name of the base."""
        return self.method.export(self.model)

    def export_whole(self) -> dict[str, Tensor]:
        """The tensors of modules that were trained whole, by the base's own names."""
        return export_whole(self.model, self.whole)


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
        whole = attach_whole(model, recipe.modules_to_save)
        checkpointed = _checkpoint_layers(model) if recipe.gradient_checkpointing else ()
    except Exception:
        _put_back(model, before)
        raise
    known = {id(module) for module in before.values()}
    added = tuple(module for module in model.modules() if id(module) not in known)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for parameter in parameters.values():
        parameter.data = parameter.data.float()  # bf16 cannot resolve small steps
    return Injection(model, method, parameters, added, before, checkpointed, whole)


def detach(injection: Injection) -> None:
    """Put every replaced module back: the very objects, so the base is bit for bit what it was."""
    if injection.checkpointed:
        injection.set_mode(is_training=False)
        cast(Any, injection.model).activation_checkpointing_disable()
    _put_back(injection.model, injection.before)


def _checkpoint_layers(model: nn.Module) -> tuple[nn.Module, ...]:
    """Let transformers compute each layer anew on the way back; which layers these are."""
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise InputError(
            "This base cannot compute its layers anew.",
            where="gradient_checkpointing",
            expected="false for this architecture",
        )
    cast(Any, model).activation_checkpointing_enable({"use_reentrant": False})
    return tuple(m for m in model.modules() if getattr(m, "gradient_checkpointing", False))


def _put_back(model: nn.Module, before: dict[str, nn.Module]) -> None:
    for name, module in before.items():  # parents come before their children
        parent, _, child = name.rpartition(".")
        if name and getattr(model.get_submodule(parent), child) is not module:
            setattr(model.get_submodule(parent), child, module)
    if hasattr(model, "peft_config"):
        del model.peft_config  # PEFT's own mark, or a second adapter would warn
