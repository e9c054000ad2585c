"""Exact merging: factors side by side, so the ranks add and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rpe_core.delta import LowRankDelta

Term = tuple[LowRankDelta, float]  # a delta of one module and its weight


def stack_factors(terms: Sequence[Term]) -> tuple[torch.Tensor, torch.Tensor]:
    """A = vstack(A_i), (R, d_in), and B = hstack(w_i s_i B_i), (d_out, R), in fp64."""
    a = torch.cat([delta.a.double() for delta, _ in terms], dim=0)
    b = torch.cat([(w * delta.scaling) * delta.b.double() for delta, w in terms], dim=1)
    return a, b


def merge_concat(terms: Sequence[Term]) -> LowRankDelta:
    """The weighted sum as one delta of rank R = sum r_i and scaling 1, in fp32."""
    a, b = stack_factors(terms)
    return LowRankDelta(a.float(), b.float())
