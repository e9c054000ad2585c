"""The one training loop: recipe + family + rows -> adapter. It knows no family and no method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rpe_core.adapters import injection as adapter
from rpe_core.adapters.injection import Injection
from rpe_core.adapters.input_statistics import InputStatistics
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError
from rpe_core.families.table import Family
from rpe_core.training.descent import learning_rate_at, take_step
from rpe_core.training.resume import ResumeState, copy_moments, restore_optimiser
from rpe_core.training.seeding import own_random_state, random_state, restore_random_state
from rpe_core.training.twin import FrozenComparison

Rows = tuple[Sequence[Any], Sequence[Any]]  # items and their targets

_POOL = 4  # batches of neighbours in length are cut from so many batches of random rows


@dataclass(frozen=True)
class TrainedAdapter:
    """What training leaves: deltas per module name of the base, and what it took.

    `whole` holds, by the base's own names, the tensors of modules that were trained whole,
    `magnitudes` the trained lengths of rows (d_out,) by module, of a method that has them; where
    prompts (n, width) by module were learned in the place of deltas, the rank is their n.
    `validation_loss` and `validation_score` are None where there was no validation row. `history`
    has a row for each epoch: its training loss, what validation found, and what the method told.
    `fan_in_fan_out` is PEFT's: whether the base stores one of the adapted weights transposed.
    """

    deltas: dict[str, LowRankDelta]
    rank: int
    n_parameters: int
    n_epochs: int
    n_steps: int
    validation_loss: float | None
    validation_score: float | None
    whole: dict[str, Tensor]
    magnitudes: dict[str, Tensor]
    prompts: dict[str, Tensor] = field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    fan_in_fan_out: bool = False


def train(
    family: Family,
    base: Any,
    task: Any,
    train_items: Sequence[Any],
    train_targets: Sequence[Any],
    validation_items: Sequence[Any],
    validation_targets: Sequence[Any],
    recipe: Recipe,
    *,
    statistics: InputStatistics | None = None,
    resume: ResumeState | None = None,
    on_checkpoint: Callable[[ResumeState], None] = lambda state: None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> TrainedAdapter:
    """Train an adapter by AdamW; a pure function of its arguments, resumed or not.

    The base comes back as it was. After each epoch `on_checkpoint` gets the state, `on_progress` a
    line. With patience set, the epoch of the lowest validation loss is what comes out.

    Raises:
        InputError: if there is no training row, the state is of another training, target modules or
            statistics do not fit base and method, or the loss is no longer finite.
    """
    rows = (train_items[: recipe.max_rows], train_targets[: recipe.max_rows])
    validation = (validation_items, validation_targets)
    _require_rows(rows, validation)
    with own_random_state(recipe.seed, threads=recipe.threads):
        injected = adapter.attach(base.model, recipe, statistics)
        try:
            course = TrainingRun(family, base, task, injected, recipe, rows, validation)
            if resume is not None:
                course.go_on_from(resume)
            while not course.is_over:
                line = course.run_epoch()
                on_checkpoint(course.state())
                on_progress(line)
            return course.result()
        finally:
            adapter.detach(injected)


def epoch_batches(
    sizes: npt.NDArray[np.int64], batch_size: int, *, seed: int, epoch: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Each index once, in random batches of neighbours in size; a function of its arguments.

    Rows are shuffled, sorted by size within pools of four batches, and the batches shuffled.
    """
    generator = np.random.default_rng((seed, epoch))
    shuffled = generator.permutation(len(sizes))
    pools = np.split(shuffled, range(_POOL * batch_size, len(sizes), _POOL * batch_size))
    ordered = np.concatenate([pool[np.argsort(sizes[pool], kind="stable")] for pool in pools])
    batches = np.split(ordered, range(batch_size, len(sizes), batch_size))
    yield from (batches[i] for i in generator.permutation(len(batches)))


class TrainingRun:
    """A training under way: what changes from step to step."""

    def __init__(
        self,
        family: Family,
        base: Any,
        task: Any,
        injected: Injection,
        recipe: Recipe,
        rows: Rows,
        validation: Rows,
    ) -> None:
        self.family, self.base, self.task = family, base, task
        self.injected, self.recipe = injected, recipe
        self.rows, self.validation = rows, validation
        self.sizes, self.n_items = family.sizes(base, rows[0]), len(rows[0])
        self.n_steps = recipe.epochs * math.ceil(self.n_items / recipe.batch_size)
        self.epoch, self.step, self.n_stale_epochs = 0, 0, 0
        self.best: dict[str, Tensor] = {}
        self.kept: dict[str, Tensor] = {}
        self.best_loss: float | None = None
        self.history: list[dict[str, float]] = []
        self.twin = (
            FrozenComparison(family, base, task, injected) if injected.method.compares else None
        )
        self.optimiser = torch.optim.AdamW(injected.groups(), lr=recipe.learning_rate)

    @property
    def is_over(self) -> bool:
        """Whether too many epochs in a row have not lowered the loss."""
        patience = self.recipe.patience
        is_stale = patience is not None and self.n_stale_epochs >= patience
        return is_stale or self.epoch >= self.recipe.epochs

    def run_epoch(self) -> str:
        """Train one epoch and validate it; a line that says how it went."""
        items, targets = self.rows
        recipe, total = self.recipe, 0.0
        self.injected.set_mode(is_training=True)
        for batch in epoch_batches(
            self.sizes, recipe.batch_size, seed=recipe.seed, epoch=self.epoch
        ):
            loss = self._take_step([items[i] for i in batch], [targets[i] for i in batch])
            total += loss * len(batch)
        self.injected.set_mode(is_training=False)
        self.kept, facts = self.injected.after_epoch(self.kept, self.epoch)
        measures = {"loss": total / self.n_items, **self._measured(), **facts}
        self.epoch += 1
        if "validation loss" in measures:
            self._note(measures["validation loss"])
        self.history.append({"epoch": self.epoch, **measures})
        line = ", ".join(f"{name} {value:.4g}" for name, value in measures.items())
        return f"epoch {self.epoch} of {recipe.epochs}: {line}"

    def _measured(self) -> dict[str, float]:
        """What validation finds after this epoch, and what the method has to tell."""
        measures = {f"validation {name}": value for name, value in (self._validate() or {}).items()}
        if self.injected.asks_training_score(self.epoch):
            validation = self.family.validate(self.base, self.task, *self.rows)
            measures["training score"] = validation["score"]
        return measures | self.injected.facts(self.epoch)

    def _take_step(self, items: Sequence[Any], targets: Sequence[Any]) -> float:
        self.optimiser.zero_grad()
        total, size = 0.0, self.recipe.micro_batch_size or len(items)
        for first in range(0, len(items), size):
            part = slice(first, first + size)
            loss = self._loss(items[part], targets[part]) * (len(items[part]) / len(items))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        penalty = self.injected.penalty()
        if penalty is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
        rate = learning_rate_at(self.step, self.n_steps, self.recipe)
        self.step += 1
        where = f"step {self.step} of {self.n_steps}"
        take_step(self.optimiser, rate, self.recipe.max_grad_norm, where=where)
        self.injected.after_step(self.epoch)
        return total

    def _loss(self, items: Sequence[Any], targets: Sequence[Any]) -> Tensor:
        if self.twin is not None:
            return self.twin.loss(items, targets)
        return self.family.forward(self.base, self.task, items, targets).loss

    def _validate(self) -> dict[str, float] | None:
        if not len(self.validation[0]):
            return None
        return self.family.validate(self.base, self.task, *self.validation)

    def _note(self, loss: float) -> None:
        """Keep the parameters of the lowest validation loss, where patience asks for them."""
        if self.recipe.patience is None:
            return
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.n_stale_epochs, self.best = loss, 0, self._parameters()
        else:
            self.n_stale_epochs += 1

    def _parameters(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.injected.parameters.items()}

    def state(self) -> ResumeState:
        """A copy of all that a later process needs."""
        first, second = copy_moments(self.optimiser, self.injected.parameters)
        return ResumeState(
            epoch=self.epoch,
            step=self.step,
            recipe_id=self.recipe.recipe_id,
            n_items=self.n_items,
            parameters=self._parameters(),
            first_moments=first,
            second_moments=second,
            random_state=random_state(),
            best=dict(self.best),
            kept=dict(self.kept),
            best_loss=self.best_loss,
            n_stale_epochs=self.n_stale_epochs,
            history=list(self.history),
        )

    def go_on_from(self, state: ResumeState) -> None:
        """Take over a state that `state` gave, in this process or an earlier one."""
        same = (state.recipe_id, state.n_items) == (self.recipe.recipe_id, self.n_items)
        if not same or set(state.parameters) != set(self.injected.parameters):
            raise InputError(
                "the checkpoint is of another training.",
                expected="the same recipe, base and number of rows",
                remedy="remove it: the training starts again",
            )
        restore_optimiser(self.optimiser, self.injected.parameters, state)
        self.epoch, self.step = state.epoch, state.step
        self.best, self.best_loss = dict(state.best), state.best_loss
        self.kept = dict(state.kept)
        self.n_stale_epochs, self.history = state.n_stale_epochs, list(state.history)
        restore_random_state(state.random_state)

    def _set(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, p in self.injected.parameters.items():
                p.copy_(values[name])

    def result(self) -> TrainedAdapter:
        """The adapter as it stands, or its best epoch where patience kept one."""
        self.injected.set_mode(is_training=False)
        if self.best:
            self._set(self.best)
        validation = self._validate() or {}
        deltas, prompts = self.injected.export(), self.injected.prompts()
        ranks = [delta.rank for delta in deltas.values()] + [
            len(prompt) for prompt in prompts.values()
        ]
        if not ranks:
            raise InputError(
                "the training left nothing to file: every module came out as the base's own.",
                where=f"recipe {self.recipe.recipe_id}",
                remedy="lower threshold in the options of the recipe, or train for longer",
            )
        return TrainedAdapter(
            deltas=deltas,
            rank=max(ranks),
            n_parameters=sum(p.numel() for p in self.injected.parameters.values()),
            n_epochs=self.epoch,
            n_steps=self.step,
            validation_loss=validation.get("loss"),
            validation_score=validation.get("score"),
            whole=self.injected.export_whole(),
            magnitudes=self.injected.magnitudes(),
            prompts=prompts,
            history=tuple(self.history),
            fan_in_fan_out=self.injected.fan_in_fan_out(deltas),
        )


def _require_rows(rows: Rows, validation: Rows) -> None:
    for name, (items, targets) in {"training": rows, "validation": validation}.items():
        if len(items) != len(targets):
            raise InputError(f"{name} rows need as many targets as items.")
    if not len(rows[0]):
        raise InputError("an adapter needs at least one labelled training row.")
