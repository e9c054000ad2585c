"""Pretraining: every weight of a small model of one's own, from a seed. No adapter, no family."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rpe_core.errors import InputError
from rpe_core.fingerprint import fingerprint
from rpe_core.training.descent import learning_rate_at, take_step
from rpe_core.training.resume import ResumeState, copy_moments, restore_optimiser
from rpe_core.training.seeding import own_random_state, random_state, restore_random_state


@dataclass(frozen=True)
class Pretraining:
    """How a model is pretrained; equal ones, first weights and batches give equal bytes."""

    n_steps: int
    learning_rate: float
    seed: int = 0
    weight_decay: float = 0.01
    warmup_ratio: float = 0.05
    schedule: str = "cosine"
    max_grad_norm: float = 1.0
    checkpoint_every: int = 50  # steps
    threads: int = 1


def pretrain(
    model: nn.Module,
    loss_of_batch: Callable[[int], Tensor],
    how: Pretraining,
    *,
    resume: ResumeState | None = None,
    on_checkpoint: Callable[[ResumeState], None] = lambda state: None,
    on_progress: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train all weights of a model in place by AdamW; resumed or not, the same weights come out.

    `loss_of_batch` gives the mean loss of step 0 .. n_steps - 1; which rows these are may depend
    on the step alone. Every `checkpoint_every` steps and at the end `on_checkpoint` gets the state,
    `on_progress` the steps done and the mean loss since it was last called.

    Raises:
        InputError: if the state is of another pretraining, or a gradient is no longer finite.
    """
    parameters = dict(model.named_parameters())
    optimiser = torch.optim.AdamW(parameters.values(), weight_decay=how.weight_decay)
    first, losses = 0, []
    with own_random_state(how.seed, threads=how.threads):
        if resume is not None:
            _require_same(resume, how, parameters)
            restore_optimiser(optimiser, parameters, resume)
            restore_random_state(resume.random_state)
            first = resume.step
        model.train()
        for step in range(first, how.n_steps):
            optimiser.zero_grad()
            loss = loss_of_batch(step)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
            rate, done = learning_rate_at(step, how.n_steps, how), step + 1
            take_step(optimiser, rate, how.max_grad_norm, where=f"step {done} of {how.n_steps}")
            if done % how.checkpoint_every == 0 or done == how.n_steps:
                on_checkpoint(_state(optimiser, parameters, how, done))
                on_progress(done, sum(losses) / len(losses))
                losses.clear()
    model.eval()


def _state(
    optimiser: torch.optim.AdamW,
    parameters: Mapping[str, nn.Parameter],
    how: Pretraining,
    step: int,
) -> ResumeState:
    """A stretch between two checkpoints is what an epoch is to an adapter."""
    first, second = copy_moments(optimiser, parameters)
    return ResumeState(
        epoch=math.ceil(step / how.checkpoint_every),
        step=step,
        recipe_id=fingerprint(how),
        n_items=how.n_steps,
        parameters={name: p.detach().clone() for name, p in parameters.items()},
        first_moments=first,
        second_moments=second,
        random_state=random_state(),
    )


def _require_same(
    state: ResumeState, how: Pretraining, parameters: Mapping[str, nn.Parameter]
) -> None:
    if state.recipe_id != fingerprint(how) or set(state.parameters) != set(parameters):
        raise InputError(
            "the checkpoint is of another pretraining.",
            remedy="remove it: the pretraining starts again",
        )
