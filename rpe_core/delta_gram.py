"""Inner products of adapters as the changes they are: of factors, never dense, and of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from rpe_core.delta import LowRankDelta
from rpe_core.distance import Matrix
from rpe_core.errors import ShapeMismatch, shown_name
from rpe_core.one_thread import one_thread


def delta_gram(adapters: Sequence[Mapping[str, LowRankDelta]]) -> Matrix:
    """G_ij = sum over modules of <dW_i, dW_j>, (k, k); a module that one lacks is zero there.

    <s B A, t B' A'> = s t sum((B'B) * (A A')) elementwise over the ranks, so that a module of
    (d_out, d_in) costs (d_out + d_in) R^2 with R the sum of ranks, in fp64.

    >>> import torch
    >>> row, column = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])
    >>> delta_gram([{"m": LowRankDelta(row, column, 2.0)}, {}])
    array([[180.,   0.],
           [  0.,   0.]])

    Raises:
        ShapeMismatch: two adapters disagree about the shape of a module.
    """
    gram = np.zeros((len(adapters), len(adapters)))
    for module in sorted({name for adapter in adapters for name in adapter}):
        owners = [i for i, adapter in enumerate(adapters) if module in adapter]
        deltas = [adapters[i][module] for i in owners]
        if len({delta.shape for delta in deltas}) > 1:
            raise ShapeMismatch(
                "Adapters disagree about the shape of a module.",
                where=f"module {shown_name(module)}",
                expected="adapters of one base model",
            )
        gram[np.ix_(owners, owners)] += _module_gram(deltas)
    return gram


def whole_gram(
    adapters: Sequence[Mapping[str, Tensor]], base: Mapping[str, Tensor] | None = None
) -> Matrix:
    """G_ij = sum over tensors of <theta_i - theta_0, theta_j - theta_0>, (k, k), in fp64.

    A tensor that an adapter did not train is zero there, as theta_0 is where there is no base. One
    tensor of all adapters is in memory at a time.

    >>> import torch
    >>> whole_gram([{"w": torch.tensor([3.0])}, {}], {"w": torch.tensor([1.0])})
    array([[4., 0.],
           [0., 0.]])
    """
    gram = np.zeros((len(adapters), len(adapters)))
    for name in sorted({name for adapter in adapters for name in adapter}):
        owners = [i for i, adapter in enumerate(adapters) if name in adapter]
        start = base[name].double() if base else 0.0
        changes = [(adapters[i][name].double() - start).flatten().numpy() for i in owners]
        with one_thread():
            gram[np.ix_(owners, owners)] += np.stack(changes) @ np.stack(changes).T
    return gram


def _module_gram(deltas: Sequence[LowRankDelta]) -> Matrix:
    a = np.concatenate([delta.a.detach().cpu().double().numpy() for delta in deltas])
    b = np.concatenate(
        [delta.scaling * delta.b.detach().cpu().double().numpy() for delta in deltas], axis=1
    )
    with one_thread():
        products = (a @ a.T) * (b.T @ b)
    starts = np.cumsum([0, *(delta.rank for delta in deltas[:-1])])
    rows = np.add.reduceat(products, starts, axis=0)
    return np.asarray(np.add.reduceat(rows, starts, axis=1), dtype=np.float64)
