"""What the demos' pretraining processes share: their request, and the loop with its checkpoints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Module

from flows.runs.checkpoints import read_checkpoint, write_checkpoint
from rpe_core.training.pretraining import Pretraining, pretrain
from rpe_core.training.seeding import seed_everything


def read_request(folder: Path) -> tuple[dict[str, Any], Pretraining]:
    """What is asked for, and how it is pretrained; the process is seeded by it."""
    request = json.loads((folder / "request.json").read_text())
    how = Pretraining(**request["pretraining"])
    seed_everything(how.seed, threads=how.threads)
    return request, how


def pretrain_in(
    folder: Path, model: Module, loss_of: Callable[[int], Tensor], how: Pretraining
) -> None:
    """Pretrain a model in place, from the folder's last checkpoint on, and tell on stderr."""
    pretrain(
        model,
        loss_of,
        how,
        resume=read_checkpoint(folder),
        on_checkpoint=partial(write_checkpoint, folder),
        on_progress=partial(_tell, how.n_steps),
    )


def _tell(n_steps: int, done: int, loss: float) -> None:
    sys.stderr.write(f"pretrain {done}/{n_steps}: loss {loss:.3f}\n")
