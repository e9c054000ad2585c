"""Incremental PCA of what a module is fed, through PEFT's own; where it comes from is not its own.

The rule by which it has seen enough is EVA's (arXiv 2410.07170, 2.2).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.utils.incremental_pca import IncrementalPCA
from torch import Tensor
from torch.nn import functional

from rpe_core.errors import InputError, shown_name

ROWS = 1024  # tokens that wait before they are taken in: a step costs the components once more
SEED = 42  # of the random projection, PEFT's own


class InputPca:
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
                f"The data have fewer tokens than the number of components: {self.n_rows}.",
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
