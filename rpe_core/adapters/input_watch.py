"""The inputs of target modules, watched while a family encodes: no second pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.eva import UNSUPPORTED_LORA_MODULES
from peft.utils.incremental_pca import IncrementalPCA
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from rpe_core.adapters.injection import put_back
from rpe_core.adapters.input_statistics import InputStatistics, asked_by
from rpe_core.adapters.lora import Lora
from rpe_core.adapters.method import layers_of
from rpe_core.adapters.recipe import Recipe
from rpe_core.errors import InputError, shown_name

Batch = TypeVar("Batch", bound=tuple[Any, Any])

ROWS = 1024  # tokens that wait before they are taken in: a step costs the components once more
WINDOW = 4096  # items that a family sorts by length: before, a module has not seen all kinds
SEED = 42  # of the random projection, PEFT's own


class InputWatch:
    """Incremental PCA of what each target module of a recipe is fed (EVA, arXiv 2410.07170, 2.2).

    Modules that are fed the very same tensor (query, key and value) share one. A token counts where
    the attention mask, shape (b, t), of the model that runs says so, and everywhere without one. A
    module has seen enough when the cosine of each component with itself before the last step is at
    least tau, and `stop_after` items came out: families encode short texts first.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, *, stop_after: int = WINDOW) -> None:
        """Find the modules; the model comes back as it was.

        Raises:
            InputError: the recipe asks for no inputs, or its targets are no linear layers of the
                model.
        """
        asked = asked_by(recipe)
        if asked is None:
            raise InputError("The recipe asks for no inputs.", where=f"method {recipe.method}")
        self._model, self._stop_after = model, stop_after
        self._fed = {
            name: _Fed(width, min(asked.n_components, width), asked.tau)
            for name, width in _target_widths(model, recipe).items()
        }
        self._leaders: dict[str, str] = {}  # of each module that ran: whose PCA it shares
        self._now: dict[int, tuple[Tensor, str]] = {}  # inputs of this forward, to know them again
        self._mask: Tensor | None = None
        self._depth = self._n_items = 0

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a family's `encode`, (indices, features), as they are; watched meanwhile.

        One thread computes, because what is gathered depends on the order; features do not.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        handles = self._hooks()
        try:
            for batch in batches:
                yield batch
                self._n_items += len(batch[0])
        finally:
            for handle in handles:
                handle.remove()
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
        found = {name: self._fed[self._leaders.get(name, name)] for name in self._fed}
        return InputStatistics(
            {name: fed.components.float().cpu() for name, fed in found.items()},
            {name: fed.ratios.double().cpu() for name, fed in found.items()},
        )

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
            self._mask = mask.bool()
        self._depth += 1

    def _leave(self, model: nn.Module, args: Any, output: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._mask = None
            self._now.clear()

    def _taking(self, name: str) -> Callable[[nn.Module, Any], None]:
        def take(module: nn.Module, args: Any) -> None:
            value: Tensor = args[0]
            if name not in self._leaders:
                self._leaders[name] = self._leader(name, value)
            if self._leaders[name] == name and not self._fed[name].is_settled:
                may_settle = self._n_items >= self._stop_after
                self._fed[name].take(self._counting(value), may_settle=may_settle)

        return take

    def _leader(self, name: str, value: Tensor) -> str:
        if self._depth == 0:  # nobody tells when this forward ends
            return name
        return self._now.setdefault(id(value), (value, name))[1]

    def _counting(self, value: Tensor) -> Tensor:
        """The rows (n, d) of an input (..., d) that are no padding; a copy."""
        mask = self._mask
        if mask is not None and mask.shape == value.shape[:-1]:
            return value[mask].float()
        return value.reshape(-1, value.shape[-1]).to(torch.float32, copy=True)


class _Fed:
    """What some modules are fed: rows that wait, and the PCA of those before."""

    def __init__(self, width: int, n_components: int, tau: float) -> None:
        self.width, self.n_components, self.tau = width, n_components, tau
        self.waiting: list[Tensor] = []
        self.n_waiting = self.n_rows = 0
        self.pca: Any = None
        self.is_settled, self.is_finite = False, True

    @property
    def components(self) -> Tensor:
        """(k, d); none of a module that never ran."""
        if self.pca is None:
            return torch.zeros(0, self.width)
        return cast(Tensor, self.pca.components_)

    @property
    def ratios(self) -> Tensor:
        """(k,); inputs that never vary have no variance to explain."""
        if self.pca is None:
            return torch.zeros(0)
        return cast(Tensor, self.pca.explained_variance_ratio_).nan_to_num(0.0)

    def take(self, rows: Tensor, *, may_settle: bool) -> None:
        """Let rows (n, d) wait; take them in when there are enough."""
        self.waiting.append(rows)
        self.n_waiting, self.n_rows = self.n_waiting + len(rows), self.n_rows + len(rows)
        if self.n_waiting >= max(ROWS, 2 * self.n_components):
            self._fit(may_settle=may_settle)

    def finish(self, name: str) -> None:
        """Take in what still waits; fewer rows than components are left out.

        Raises:
            InputError: there were never enough, or some were not finite.
        """
        if self.n_waiting >= self.n_components and not self.is_settled:
            self._fit(may_settle=False)
        if not self.is_finite:
            raise InputError("A module has inputs that are no numbers.", where=shown_name(name))
        if self.pca is None:
            raise InputError(
                f"The data have fewer tokens than components are asked for: {self.n_rows}.",
                where=shown_name(name),
                expected=f"at least {self.n_components} tokens in the training rows",
                remedy="lower r or rho in the recipe, or deliver more rows",
            )

    def _fit(self, *, may_settle: bool) -> None:
        rows, self.waiting, self.n_waiting = torch.cat(self.waiting), [], 0
        if not torch.isfinite(rows).all():
            self.is_settled, self.is_finite = True, False
            return
        if self.pca is None:
            self.pca = IncrementalPCA(
                self.n_components,
                copy=False,
                lowrank=True,
                lowrank_q=min(2 * self.n_components, *rows.shape),  # torch takes no more
                lowrank_seed=SEED,
            )
            self.pca.partial_fit(rows)
            return
        former = self.components
        self.pca.partial_fit(rows)
        alike = functional.cosine_similarity(former, self.components)
        self.is_settled = may_settle and bool((alike >= self.tau).all())


def _target_widths(model: nn.Module, recipe: Recipe) -> dict[str, int]:
    """The modules that PEFT would adapt and their d_in, found by letting it do so for a moment."""
    before = dict(model.named_modules())
    try:
        with torch.random.fork_rng(devices=[]):  # PEFT draws its A
            Lora().attach(model, recipe)
        layers = layers_of(model, LoraLayer)
    finally:
        put_back(model, before)
    if any(isinstance(layer, UNSUPPORTED_LORA_MODULES) for layer in layers.values()):
        raise InputError(
            "Only linear layers have inputs that can be gathered.",
            where="target_modules",
            expected="names of linear layers of the base",
        )
    return {name: int(layer.in_features) for name, layer in layers.items()}
