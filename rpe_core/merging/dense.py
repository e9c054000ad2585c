"""The sum of products itself: what the other methods are held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rpe_core.delta import LowRankDelta
from rpe_core.merging.concat import Term


def sum_products(terms: Sequence[Term]) -> torch.Tensor:
    """The dense sum_i w_i s_i B_i A_i, (d_out, d_in), accumulated in fp64."""
    total = torch.zeros(terms[0][0].shape, dtype=torch.float64)
    for delta, weight in terms:
        total += weight * delta.dense(dtype=torch.float64)
    return total


def merge_dense(terms: Sequence[Term]) -> LowRankDelta:
    """The sum as a delta of full rank min(d_out, d_in): dW beside an identity, in fp32."""
    total = sum_products(terms).float()
    d_out, d_in = total.shape
    layout = terms[0][0].layout
    if d_in <= d_out:
        return LowRankDelta(torch.eye(d_in), total, layout=layout)
    return LowRankDelta(total, torch.eye(d_out), layout=layout)
