"""The second moment of what a module is fed: the mean of x x^T, summed in the order it comes."""

from __future__ import annotations

import torch
from torch import Tensor

from rpe_core.errors import InputError, shown_name


class InputCovariance:
    """E[x x^T], not centred, as CorDA takes it (arXiv 2406.05223): (d, d) in float64."""

    is_settled = False  # every row counts

    def __init__(self, width: int) -> None:
        self.n_rows, self.sums = 0, torch.zeros(width, width, dtype=torch.float64)

    @property
    def moment(self) -> Tensor:
        """(d, d); of a module that never ran (0, 0)."""
        return self.sums / self.n_rows if self.n_rows else torch.zeros(0, 0)

    def take(self, rows: Tensor, *, may_settle: bool) -> None:
        """Add rows (n, d)."""
        x = rows.double().cpu()
        self.sums += x.T @ x
        self.n_rows += len(rows)

    def finish(self, name: str) -> None:
        """Look at what came.

        Raises:
            InputError: a sum is not finite.
        """
        if not torch.isfinite(self.sums).all():
            raise InputError("A module has inputs that are no numbers.", where=shown_name(name))
