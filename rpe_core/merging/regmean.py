"""RegMean: a merge that weighs each donor by what its module was fed (arXiv 2212.09849).

The sum that answers each donor's own inputs most like that donor did,
min over dW of sum_i p_i E_i ||(dW - dW_i) x||^2, is dW = (sum_i p_i dW_i G_i) G^-1 with
G_i = E_i[x x^T] and G = sum_j p_j G_j / sum_j p_j. With dW_i = s_i B_i A_i that is a LoRA of rank
sum_i r_i: B_i stays, A_i becomes A_i G_i G^-1, so that nothing dense is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from rpe_core.errors import ShapeMismatch
from rpe_core.input_gram import InputGram
from rpe_core.merging.concat import Term

OFF_DIAGONAL = 0.9  # of each Gram matrix, as the authors' code has it
RIDGE = 1e-4  # times the mean of the diagonal, added to every Gram matrix alike


@dataclass(frozen=True, eq=False)
class InputMean:
    """The weighted mean G of donors' matrices, ready to be divided by, for modules of one input.

    `multiply` and `divide` take rows (r, d) in fp64: times the matrix G_i of a donor, and times the
    inverse of G.
    """

    multiply: Mapping[int, Callable[[Tensor], Tensor]]
    divide: Callable[[Tensor], Tensor]


def mean_of_inputs(grams: Sequence[InputGram | None], weights: Sequence[float]) -> InputMean | None:
    """The mean of what donors were fed, by their weights; None where there is none to divide by.

    The off-diagonals count OFF_DIAGONAL times, and RIDGE * tr(G) / d is added to all matrices
    alike, so that one donor, and donors of equal matrices, keep their A. There is no mean of one
    donor, where nothing is known, and where the mean is not positive definite, which negative
    weights can do: then no sum of deltas is the best one.
    """
    known = {i: gram for i, gram in enumerate(grams) if gram}
    total = sum(weights[i] for i in known)
    if len(grams) < 2 or not known or total <= 0:
        return None
    shares = {i: weights[i] / total for i in known}
    trace = sum(shares[i] * float(gram.diagonal().sum()) for i, gram in known.items())
    width = next(iter(known.values())).width
    ridge = RIDGE * max(trace, 0.0) / width
    if all(gram.is_dense for gram in known.values()):
        return _dense_mean(known, shares, ridge)
    return _wide_mean(known, shares, ridge)


def reweigh_by_inputs(terms: Sequence[Term], mean: InputMean | None) -> Sequence[Term]:
    """Give each term of a module the A by which the terms' sum is RegMean's.

    A donor without a matrix counts as one that was fed the mean of the others: its A stays. Without
    a mean all do, and the sum is the plain one.

    >>> from rpe_core.delta import LowRankDelta
    >>> grams = [InputGram.of_rows(torch.tensor([x])) for x in ([2.0, 0.0], [0.0, 2.0])]
    >>> delta = LowRankDelta(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0]]))
    >>> made = reweigh_by_inputs([(delta, 0.5)] * 2, mean_of_inputs(grams, [0.5, 0.5]))
    >>> [[round(x) for x in delta.a[0].tolist()] for delta, _ in made]
    [[2, 0], [0, 2]]
    """
    if mean is None:
        return terms
    changed = list(terms)
    rows = [multiply(terms[i][0].a.double()) for i, multiply in mean.multiply.items()]
    made = torch.split(mean.divide(torch.cat(rows)).float(), [len(each) for each in rows])
    for i, a in zip(mean.multiply, made, strict=True):
        delta, weight = terms[i]
        changed[i] = (replace(delta, a=a), weight)
    return changed


def require_width(grams: Sequence[InputGram | None], width: int) -> None:
    """Raise ShapeMismatch unless the matrices are of modules with inputs of this width."""
    for gram in grams:
        if gram and gram.width != width:
            raise ShapeMismatch(
                "A Gram matrix is of other inputs than its module's.",
                where=f"width {gram.width}, and {width} of the module",
                expected="the statistics of this adapter's modules",
            )


def _dense_mean(
    grams: Mapping[int, InputGram], shares: Mapping[int, float], ridge: float
) -> InputMean | None:
    matrices, mean = {}, None
    for i, gram in grams.items():
        matrix = OFF_DIAGONAL * gram.dense()
        matrix.diagonal().copy_(gram.diagonal() + ridge)
        matrices[i] = matrix
        mean = shares[i] * matrix if mean is None else mean.add_(matrix, alpha=shares[i])
    factor, fault = torch.linalg.cholesky_ex(mean)
    if int(fault):
        return None
    return InputMean(
        {i: partial(torch.mm, mat2=matrix) for i, matrix in matrices.items()},
        lambda rows: torch.cholesky_solve(rows.T, factor).T,
    )


def _wide_mean(
    grams: Mapping[int, InputGram], shares: Mapping[int, float], ridge: float
) -> InputMean | None:
    """Matrices G_i = U_i U_i^T + D_i, and Woodbury's inverse of G = D + U C U^T.

    U has the U_i side by side, C the shares, each as often as U_i has columns.
    """
    lows, diagonals = {}, {}
    for i, gram in grams.items():
        low = OFF_DIAGONAL**0.5 * gram.directions()
        lows[i] = low
        diagonals[i] = (gram.diagonal() - (low * low).sum(dim=1)).clamp(min=0.0) + ridge
    diagonal = torch.stack([shares[i] * each for i, each in diagonals.items()]).sum(dim=0)
    weights = torch.cat([torch.full((u.shape[1],), shares[i]).double() for i, u in lows.items()])
    low = torch.cat([*lows.values()], dim=1)
    divided = low / diagonal[:, None]
    inner = low.T @ divided
    if not bool((diagonal > 0).all()) or not _is_definite(inner, weights):
        return None
    unit = torch.eye(len(weights), dtype=torch.float64)
    core = torch.linalg.solve(unit + weights[:, None] * inner, torch.diag(weights))

    def multiply(i: int, rows: Tensor) -> Tensor:
        made: Tensor = rows * diagonals[i] + (rows @ lows[i]) @ lows[i].T
        return made

    def divide(rows: Tensor) -> Tensor:
        scaled = rows / diagonal
        made: Tensor = scaled - ((scaled @ low) @ core) @ divided.T
        return made

    return InputMean({i: partial(multiply, i) for i in grams}, divide)


def _is_definite(inner: Tensor, weights: Tensor) -> bool:
    """Whether D + U C U^T is, with inner = U^T D^-1 U: no eigenvalue of C inner is below -1."""
    if bool((weights >= 0).all()):
        return True
    values, vectors = torch.linalg.eigh(inner)
    root = vectors * values.clamp(min=0.0).sqrt()
    return bool(torch.linalg.eigvalsh(root.T @ (weights[:, None] * root)).min() > -1.0)
