"""A batch put to the adapted model and to the same one switched off. No method's formula here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rpe_core.adapters.injection import Injection
from rpe_core.adapters.method import ModelOutput
from rpe_core.families.table import Family, Labelled
from rpe_core.training.seeding import random_state, restore_random_state


class FrozenComparison:
    """The frozen base of a training: the same weights, not a second copy of them."""

    def __init__(self, family: Family, base: Any, task: Any, injected: Injection) -> None:
        self.family, self.base, self.task = family, base, task
        self.injected = injected
        with torch.no_grad(), injected.switched_off():
            self.labels = self._labels(is_varied=True)

    def loss(self, items: Sequence[Any], targets: Sequence[Any]) -> Tensor:
        """The mean loss of rows and what the method adds to it, differentiable.

        Both see the same draws, as of slices; the training then goes on as if there were no twin.
        """
        first = random_state()
        trained = self.family.forward(self.base, self.task, items, targets)
        adapted = ModelOutput(trained.features, trained.logits, self._labels())
        later = random_state()
        restore_random_state(first)
        with torch.no_grad(), self.injected.switched_off():
            untrained = self.family.forward(self.base, self.task, items, targets)
        restore_random_state(later)
        frozen = ModelOutput(untrained.features, untrained.logits, self.labels)
        return trained.loss + self.injected.method.comparison(adapted, frozen, self.injected.recipe)

    def _labels(self, *, is_varied: bool = False) -> Tensor | None:
        if not isinstance(self.family, Labelled):
            return None
        return self.family.label_features(self.base, self.task, is_varied=is_varied)
