"""The inputs of target modules, watched while a family encodes: no second pass over the data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from rpe_core.adapters.conv1d import seen_as_linear
from rpe_core.adapters.injection import put_back
from rpe_core.adapters.input_covariance import InputCovariance
from rpe_core.adapters.input_gram_sums import InputGramSums
from rpe_core.adapters.input_pca import InputPca
from rpe_core.adapters.input_statistics import InputAsk, InputStatistics, asked_by
from rpe_core.adapters.method import layers_of
from rpe_core.adapters.methods.lora import Lora
from rpe_core.adapters.recipe import Recipe
from rpe_core.adapters.table import COMPONENTS, GRAMS
from rpe_core.errors import InputError

Batch = TypeVar("Batch", bound=tuple[Any, Any])

WINDOW = 4096  # items that a family sorts by length: before, a module has not seen all kinds


@dataclass
class Forward(threading.local):
    """The forward that a thread is in: its mask, how deep it is, and what its modules were fed.

    `leaders` are found by each thread in its first forward, whatever others have seen by then.
    """

    mask: Tensor | None = None
    depth: int = 0
    inputs: dict[int, tuple[Tensor, str]] = field(default_factory=dict)
    leaders: dict[str, str] = field(default_factory=dict)


class InputWatch:
    """What is asked of the inputs of each target module: a PCA, second moments or Gram matrices.

    Modules that are fed the very same tensor (query, key and value) share one. A token counts where
    the attention mask, shape (b, t), of the model that runs says so, and everywhere without one. A
    module has seen enough when the cosine of each component with itself before the last step is at
    least tau, and `stop_after` items came out: families encode short texts first.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        *,
        asked: InputAsk | None = None,
        stop_after: int = WINDOW,
    ) -> None:
        """Find the modules that a recipe adapts; the model comes back as it was.

        Args:
            model: the base.
            recipe: of the adapter whose modules are watched.
            asked: what to know of their inputs; by default what the recipe's method asks for.
            stop_after: items before which no module has seen enough.

        Raises:
            InputError: nothing is asked of the inputs, or the recipe's targets are no linear layers
                of the model.
        """
        asked = asked or asked_by(recipe)
        if asked is None:
            raise InputError("The recipe asks for no inputs.", where=f"method {recipe.method}")
        self._model, self._stop_after = model, stop_after
        self._is_order_free = asked.kind == GRAMS
        self._fed: dict[str, InputPca | InputCovariance | InputGramSums] = {
            name: _sums(asked, width) for name, width in _target_widths(model, recipe).items()
        }
        self._leaders: dict[str, str] = {}  # of each module that ran: whose sums it shares
        self._forward = Forward()
        self._n_items = 0

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a family's `encode`, (indices, features), as they are; watched meanwhile.

        One thread computes where what is gathered depends on the order; features do not.
        """
        threads = torch.get_num_threads()
        if not self._is_order_free:
            torch.set_num_threads(1)
        handles = self._hooks()
        try:
            for batch in batches:
                yield batch
                self._n_items += len(batch[0])
        finally:
            for handle in handles:
                handle.remove()
            if not self._is_order_free:
                torch.set_num_threads(threads)

    @torch.no_grad()
    def result(self) -> InputStatistics:
        """What was gathered, on the CPU.

        Raises:
            InputError: no module was run, or one had fewer tokens than components, or inputs that
                are no finite numbers.
        """
        if not self._leaders:
            raise InputError(
                "No target module has a part in the features.",
                where="target_modules",
                expected="modules that the base goes through to compute a representation",
            )
        for name in dict.fromkeys(self._leaders.values()):
            self._fed[name].finish(name)
        fed_by_name = {name: self._fed[self._leaders.get(name, name)] for name in self._fed}
        components, ratios, moments, grams = {}, {}, {}, {}
        for name, fed in fed_by_name.items():
            if isinstance(fed, InputPca):
                components[name] = fed.components.float().cpu()
                ratios[name] = fed.ratios.double().cpu()
            elif isinstance(fed, InputCovariance):
                moments[name] = fed.moment
            else:
                grams[name] = fed.gram
        return InputStatistics(components, ratios, moments, grams)

    def _hooks(self) -> list[RemovableHandle]:
        models = [m for m in self._model.modules() if isinstance(m, PreTrainedModel)]
        return [
            *(model.register_forward_pre_hook(self._enter, with_kwargs=True) for model in models),
            *(model.register_forward_hook(self._leave) for model in models),
            *(
                self._model.get_submodule(name).register_forward_pre_hook(self._taking(name))
                for name in self._fed
            ),
        ]

    def _enter(self, model: nn.Module, args: Any, named: dict[str, Any]) -> None:
        mask = named.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == 2:
            self._forward.mask = mask.bool()
        self._forward.depth += 1

    def _leave(self, model: nn.Module, args: Any, output: Any) -> None:
        self._forward.depth -= 1
        if self._forward.depth == 0:
            self._forward.mask = None
            self._forward.inputs.clear()

    def _taking(self, name: str) -> Callable[[nn.Module, Any], None]:
        def take(module: nn.Module, args: Any) -> None:
            value: Tensor = args[0]
            leaders = self._forward.leaders
            if name not in leaders:
                self._leaders[name] = leaders[name] = self._leader(name, value)
            if leaders[name] == name and not self._fed[name].is_settled:
                may_settle = self._n_items >= self._stop_after
                self._fed[name].take(self._counting(value), may_settle=may_settle)

        return take

    def _leader(self, name: str, value: Tensor) -> str:
        if self._forward.depth == 0:  # nobody tells when this forward ends
            return name
        return self._forward.inputs.setdefault(id(value), (value, name))[1]

    def _counting(self, value: Tensor) -> Tensor:
        """The rows (n, d) of an input (..., d) that are no padding; a copy."""
        mask = self._forward.mask
        if mask is not None and mask.shape == value.shape[:-1]:
            return value[mask].float()
        return value.reshape(-1, value.shape[-1]).to(torch.float32, copy=True)


def _sums(asked: InputAsk, width: int) -> InputPca | InputCovariance | InputGramSums:
    if asked.kind == COMPONENTS:
        return InputPca(width, min(asked.n_components, width), asked.tau)
    return InputGramSums(width) if asked.kind == GRAMS else InputCovariance(width)


def _target_widths(model: nn.Module, recipe: Recipe) -> dict[str, int]:
    """The modules that PEFT would adapt and their d_in, found by letting it do so for a moment."""
    before = dict(model.named_modules())
    try:
        with torch.random.fork_rng(devices=[]), seen_as_linear(model):  # PEFT draws its A
            Lora().attach(model, recipe)
        layers = layers_of(model, LoraLayer)
    finally:
        put_back(model, before)
    return {name: int(layer.in_features) for name, layer in layers.items()}
