"""Put a trainable adapter on a frozen model and take it off again, whatever its method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from rpe_core.adapters.conv1d import are_transposed, seen_as_linear
from rpe_core.adapters.input_statistics import InputStatistics
from rpe_core.adapters.method import AdapterMethod, ParameterPace
from rpe_core.adapters.recipe import Recipe
from rpe_core.adapters.table import load_method
from rpe_core.adapters.whole import attach_whole, export_whole
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError

Place = tuple[nn.Module, str, nn.Module]  # parent, name in it, what stands or is to stand there


@dataclass(frozen=True)
class Injection:
    """An adapter on a model: its parameters by name, the modules it added, those of before.

    `whole` names the modules that it replaced by copies to train.
    """

    model: nn.Module
    recipe: Recipe
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

    def groups(self) -> list[dict[str, Any]]:
        """The parameters as groups of an optimiser, each with its `rate_factor` and decay."""
        by_pace: dict[ParameterPace, list[nn.Parameter]] = {}
        for name, parameter in self.parameters.items():
            by_pace.setdefault(self.method.pace(name, self.recipe), []).append(parameter)
        return [{"params": parameters, **pace._asdict()} for pace, parameters in by_pace.items()]

    def penalty(self) -> Tensor | None:
        """What the method adds to the loss of a step."""
        return self.method.penalty(self.model, self.recipe)

    def after_step(self, epoch: int) -> None:
        """Let the method take its proximal step."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                value = self.method.proximal(name, parameter, self.recipe, epoch=epoch)
                if value is not parameter:
                    parameter.copy_(value)

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """The frozen base for a while: the very modules of before, in their places."""
        places = _replaced(self.before)
        here = [(parent, child, getattr(parent, child)) for parent, child, _ in places]
        _put(places)
        try:
            yield
        finally:
            _put(here)

    def after_epoch(
        self, kept: Mapping[str, Tensor], epoch: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """What the method keeps of its epochs, and facts about it; it may set the parameters."""
        with torch.no_grad():
            return self.method.after_epoch(self.parameters, kept, self.recipe, epoch=epoch)

    def asks_training_score(self, epoch: int) -> bool:
        """Whether the score on the training rows is worth its time after an epoch."""
        return self.method.asks_training_score(self.recipe, epoch=epoch)

    def facts(self, epoch: int) -> dict[str, float]:
        """What the method has to tell after an epoch."""
        return self.method.facts(self.model, self.recipe, epoch=epoch)

    def export(self) -> dict[str, LowRankDelta]:
        """The trained deltas per module name of the base."""
        return self.method.export(self.model)

    def magnitudes(self) -> dict[str, Tensor]:
        """The trained lengths of rows per module name of the base."""
        return self.method.magnitudes(self.model)

    def prompts(self) -> dict[str, Tensor]:
        """The learned prompts per module name of the base."""
        return self.method.prompts(self.model)

    def fan_in_fan_out(self, modules: Iterable[str]) -> bool:
        """What PEFT wants to be told of these modules: whether one stores its weight transposed."""
        return are_transposed(self.before, modules)

    def export_whole(self) -> dict[str, Tensor]:
        """The tensors of modules that were trained whole, by the base's own names."""
        return export_whole(self.model, self.whole)


def attach(
    model: nn.Module, recipe: Recipe, statistics: InputStatistics | None = None
) -> Injection:
    """Freeze the model and put the recipe's adapter on it, its parameters in float32.

    `statistics` are for methods that begin at the data, see input_watch.py.

    Raises:
        InputError: if the target modules are not those of the model, or the method needs statistics
            and has none; the model is then left as it was.
        UnknownName: if no method has the recipe's name.
    """
    method: AdapterMethod = load_method(recipe.method)
    model.requires_grad_(requires_grad=False)
    before = dict(model.named_modules())
    try:
        with seen_as_linear(model):
            method.attach(model, recipe)
            method.initialise(model, recipe, statistics)
        whole = attach_whole(model, recipe.modules_to_save)
        checkpointed = _checkpoint_layers(model) if recipe.gradient_checkpointing else ()
    except Exception:
        put_back(model, before)
        raise
    known = {id(module) for module in before.values()}
    added = tuple(module for module in model.modules() if id(module) not in known)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for parameter in parameters.values():
        parameter.data = parameter.data.float()  # bf16 cannot resolve small steps
    return Injection(model, recipe, method, parameters, added, before, checkpointed, whole)


def count_parameters(model: nn.Module, recipe: Recipe) -> int:
    """How many numbers the recipe trains on this model, which is left as it was.

    Raises:
        InputError: if the recipe does not fit the model.
        UnknownName: if no method has the recipe's name.
    """
    model.requires_grad_(requires_grad=False)
    before = dict(model.named_modules())
    try:
        with seen_as_linear(model):
            load_method(recipe.method).attach(model, recipe)
        attach_whole(model, recipe.modules_to_save)
        return sum(p.numel() for p in model.parameters() if p.requires_grad)
    finally:
        put_back(model, before)


def detach(injection: Injection) -> None:
    """Put every replaced module back: the very objects, so the base is bit for bit what it was."""
    if injection.checkpointed:
        injection.set_mode(is_training=False)
        cast(Any, injection.model).activation_checkpointing_disable()
    put_back(injection.model, injection.before)


def _checkpoint_layers(model: nn.Module) -> tuple[nn.Module, ...]:
    """Let transformers compute each layer anew on the way back; which layers these are."""
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise InputError(
            "This base cannot recompute its layers.",
            where="gradient_checkpointing",
            expected="false for this architecture",
        )
    cast(Any, model).activation_checkpointing_enable({"use_reentrant": False})
    return tuple(m for m in model.modules() if getattr(m, "gradient_checkpointing", False))


def put_back(model: nn.Module, before: dict[str, nn.Module]) -> None:
    """Give a model the very modules that `named_modules` gave before an adapter was attached."""
    _put(_replaced(before))
    if hasattr(model, "peft_config"):
        del model.peft_config  # PEFT's own mark, or a second adapter would warn


def _replaced(before: Mapping[str, nn.Module]) -> list[Place]:
    """Where another module stands now than before."""
    replaced = []
    for name, module in before.items():
        parent, _, child = name.rpartition(".")
        if name and getattr(before[parent], child) is not module:
            replaced.append((before[parent], child, module))
    return replaced


def _put(places: Sequence[Place]) -> None:
    for parent, child, module in places:
        setattr(parent, child, module)
