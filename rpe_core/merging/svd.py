"""Optimal truncation to a rank, from the factors alone: the dense delta is never formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rpe_core.delta import LowRankDelta
from rpe_core.merging.concat import Term, stack_factors

_NOISE = 1e-14


@dataclass(frozen=True, eq=False)
class Truncation:
    """A truncated delta with ||dW||_F^2 of the exact sum and the part of it that was discarded."""

    delta: LowRankDelta
    squared_norm: float
    squared_error: float


def merge_svd(terms: Sequence[Term], *, rank: int) -> Truncation:
    """The best delta of at most `rank` in the Frobenius norm (Eckart-Young).

    With A' = Qa Ra and B = Qb Rb the singular values of B A are those of the small Rb Ra', (R, R).
    The root of each goes to either side. Computed in fp64, returned in fp32 with scaling 1.
    """
    a, b = stack_factors(terms)
    qa, ra = torch.linalg.qr(a.T)
    qb, rb = torch.linalg.qr(b)
    u, s, vt = torch.linalg.svd(rb @ ra.T, full_matrices=False)
    # What is left where members cancel is rounding, and no part of the sum.
    s = torch.where(s > _NOISE * ra.norm() * rb.norm(), s, torch.zeros_like(s))
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    delta = LowRankDelta(
        (root[:, None] * (vt[:kept] @ qa.T)).float(), ((qb @ u[:, :kept]) * root).float()
    )
    energy = s.square()
    return Truncation(delta, float(energy.sum()), float(energy[kept:].sum()))
