"""What the training asks of an adapter method; but for two answers, plain LoRA's are given here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from rpe_core.adapters.input_statistics import InputStatistics
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta

Layer = TypeVar("Layer", bound=nn.Module)


class ParameterPace(NamedTuple):
    """How a parameter learns: at the recipe's rate times a factor, with its weight decay."""

    rate_factor: float
    weight_decay: float


class ModelOutput(NamedTuple):
    """What a model made of some rows: features (b, d), logits (m, c), as its family says them.

    `labels` are unit features of the task's label prompts, (n_labels, d), where it has any.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor | None


class AdapterMethod(ABC):
    """A method: it puts parameters on a frozen model and takes an exact delta from them.

    Its state lies in the modules that it adds, never in the method, so that one object serves all.
    Where it `compares`, each batch is put to the frozen model too.
    """

    compares = False

    @abstractmethod
    def attach(self, model: nn.Module, recipe: Recipe) -> None:
        """Replace target modules by ones with trainable parameters; the rest stays frozen.

        Raises:
            InputError: the recipe does not fit the model.
        """

    @abstractmethod
    def export(self, model: nn.Module) -> dict[str, LowRankDelta]:
        """What was trained, exactly, per module name of the base; W0 is the unmodified base's.

        A module to which nothing is added is left out.
        """

    def magnitudes(self, model: nn.Module) -> dict[str, Tensor]:
        """The length of each row of a weight, (d_out,), where it is trained beside the factors."""
        return {}

    def prompts(self, model: nn.Module) -> dict[str, Tensor]:
        """Learned prompts, (n, width) by module, of a method that has them in place of factors."""
        return {}

    def initialise(
        self, model: nn.Module, recipe: Recipe, statistics: InputStatistics | None
    ) -> None:
        """Begin at what the base is fed, right after `attach`; nothing by default.

        Raises:
            InputError: the method needs statistics, and these are none or of other modules.
        """
        return

    def pace(self, name: str, recipe: Recipe) -> ParameterPace:
        """How the parameter of this name learns."""
        return ParameterPace(1.0, recipe.weight_decay)

    def penalty(self, model: nn.Module, recipe: Recipe) -> Tensor | None:
        """What is added to the loss of each step, differentiable; None for nothing."""
        return None

    def comparison(self, adapted: ModelOutput, frozen: ModelOutput, recipe: Recipe) -> Tensor:
        """What is added to the loss of rows for how far the model moved on them, differentiable.

        Asked only where the method `compares`; the frozen model's labels are varied ones.
        """
        raise NotImplementedError

    def proximal(self, name: str, value: Tensor, recipe: Recipe, *, epoch: int) -> Tensor:
        """What becomes of a parameter's value after a step of this epoch (from 0)."""
        return value

    def after_epoch(
        self,
        parameters: Mapping[str, nn.Parameter],
        kept: Mapping[str, Tensor],
        recipe: Recipe,
        *,
        epoch: int,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """What to keep for later epochs, given what was, and facts about it; epochs are from 0.

        It may set the parameters; what is kept lies on the CPU and is never changed in place.
        """
        return {}, {}

    def asks_training_score(self, recipe: Recipe, *, epoch: int) -> bool:
        """Whether the score on the training rows belongs to the record of this epoch (from 0)."""
        return False

    def facts(self, model: nn.Module, recipe: Recipe, *, epoch: int) -> dict[str, float]:
        """What is worth a record after this epoch (from 0), beside loss and score."""
        return {}


def layers_of(model: nn.Module, kind: type[Layer]) -> dict[str, Layer]:
    """The layers of a kind by their names in the base, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, kind)}
