"""Optimal truncation, from the factors alone: the dense delta is never formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from rpe_core.delta import LowRankDelta
from rpe_core.merging.concat import Term, stack_factors
from rpe_core.merging.rounding import require_finite

_NOISE = 1e-14


@dataclass(frozen=True, eq=False)
class Truncation:
    """A truncated delta in fp32, the exact factors in fp64, and two squared Frobenius norms.

    `squared_norm` is that of the exact sum, `squared_bound` that of the least that any delta of
    this rank leaves out of it.
    """

    delta: LowRankDelta
    exact: LowRankDelta
    squared_norm: float
    squared_bound: float

    def squared_error(self, made: LowRankDelta) -> float:
        """||exact - made||_F^2, by three products of the factors in fp64.

        The norms cancel, so what is below 1e-8 of ||exact||_F cannot be told from zero.
        """
        a, b, exact = made.a.double(), made.b.double(), self.exact
        shared = float(((exact.b.T @ b) * (exact.a @ a.T)).sum())
        own = float(((b.T @ b) * (a @ a.T)).sum())
        return max(self.squared_norm - 2.0 * shared + own, 0.0)


class _Reflected(NamedTuple):
    """A QR factorisation with Q as the product of its reflections, which nobody multiplies out."""

    reflections: torch.Tensor
    scales: torch.Tensor
    r: torch.Tensor

    def expand(self, core: torch.Tensor) -> torch.Tensor:
        """Q @ core."""
        padded = core.new_zeros(len(self.reflections), core.shape[1])
        padded[: len(core)] = core
        return torch.ormqr(self.reflections, self.scales, padded)


def merge_svd(terms: Sequence[Term], *, rank: int) -> Truncation:
    """The best delta of at most `rank` in the Frobenius norm (Eckart-Young).

    With A' = Qa Ra and B = Qb Rb the singular values of B A are those of the small Rb Ra', (R, R).
    The root of each goes to either side. Computed in fp64, returned in fp32 with scaling 1.

    Raises:
        InputError: a factor holds NaN or infinity.
    """
    a, b = stack_factors(terms)
    right, left = _reflect(a.T), _reflect(b)
    u, values, vt = torch.linalg.svd(_core(left, right), full_matrices=False)
    s = _without_noise(values, left, right)
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    layout = terms[0][0].layout
    made = LowRankDelta(
        right.expand(vt[:kept].T * root).T.float(),
        left.expand(u[:, :kept] * root).float(),
        layout=layout,
    )
    exact = LowRankDelta(a, b, layout=layout)
    return Truncation(made, exact, float(s.square().sum()), float(s[kept:].square().sum()))


def rank_for_energy(terms: Sequence[Term], energy: float) -> int:
    """The least rank, at least 1, that can keep this share of ||dW||_F^2, 0 < energy <= 1."""
    a, b = stack_factors(terms)
    right, left = _reflect(a.T), _reflect(b)
    s = _without_noise(torch.linalg.svdvals(_core(left, right)), left, right)
    sums = s.square().cumsum(0)
    return min(int((sums < energy * sums[-1]).sum()) + 1, len(sums))


def _reflect(matrix: torch.Tensor) -> _Reflected:
    packed, scales = torch.geqrf(matrix)
    size = min(matrix.shape)
    return _Reflected(packed[:, :size], scales, torch.triu(packed[:size]))


def _core(left: _Reflected, right: _Reflected) -> torch.Tensor:
    core = left.r @ right.r.T
    require_finite(core)  # the reflections carry NaN and infinity of any column into R
    return core


def _without_noise(s: torch.Tensor, left: _Reflected, right: _Reflected) -> torch.Tensor:
    """What is left where members cancel is rounding, and no part of the sum."""
    return torch.where(s > _NOISE * right.r.norm() * left.r.norm(), s, torch.zeros_like(s))
