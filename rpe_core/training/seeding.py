"""The only place that sets global random state and threads, which PEFT and dropout use."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def seed_everything(seed: int, threads: int) -> None:
    """Seed Python, numpy and torch, and fix the number of threads; for a process of one's own."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


@contextmanager
def own_random_state(seed: int, *, threads: int) -> Iterator[None]:
    """A stretch of work with its own seed and thread count; torch's former state comes back after.

    >>> with own_random_state(0, threads=1):
    ...     first = torch.rand(3)
    >>> with own_random_state(0, threads=1):
    ...     torch.equal(first, torch.rand(3))
    True
    """
    former_state, former_threads = random_state(), torch.get_num_threads()
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        restore_random_state(former_state)
        torch.set_num_threads(former_threads)


def random_state() -> dict[str, Tensor]:
    """The state of torch's generators by device, as bytes."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Set torch's generators to a state that `random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
