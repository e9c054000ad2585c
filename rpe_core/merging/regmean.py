"""RegMean: a merge that weighs each donor by what its module was fed (arXiv 2212.09849).

The sum that answers each donor's own inputs most like that donor did,
min over dW of sum_i p_i E_i ||(dW - dW_i) x||^2, is dW = (sum_i p_i dW_i G_i) G^-1 with
G_i = E_i[x x^T] and G = sum_j p_j G_j / sum_j p_j. With dW_i = s_i B_i A_i that is a LoRA of rank
sum_i r_i: B_i stays, A_i becomes A_i G_i G^-1, so that nothing dense is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rpe_core.errors import ShapeMismatch
from rpe_core.input_gram import InputGram
from rpe_core.merging.concat import Term

OFF_DIAGONAL = 0.9  # of each Gram matrix, as the authors' code has it
RIDGE = 1e-4  # times the mean of the diagonal, added to every Gram matrix alike


@dataclass(frozen=True)
class Reweighed:
    """Terms with the new A, and whether their sum is RegMean's or the plain one."""

    terms: Sequence[Term]
    is_regmean: bool


def reweigh_by_inputs(terms: Sequence[Term], grams: Sequence[InputGram | None]) -> Reweighed:
    """Give each term of one module the A by which the terms' sum is RegMean's.

    A donor without a Gram matrix counts as one that was fed the mean of the others: its A stays.
    The off-diagonals count OFF_DIAGONAL times, and RIDGE * tr(G) / d is added to all matrices
    alike, so that one donor, and donors of equal matrices, keep their A. The terms come back as
    they are where there is nothing to weigh, or where the weighted mean of the matrices is not
    positive definite, which negative weights can do: then no sum is the best one.

    Args:
        terms: deltas of one module with their weights p_i.
        grams: what each was fed, or None.

    Raises:
        ShapeMismatch: a matrix is of another width than its module.

    >>> wide, narrow = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    >>> a, b = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0]])
    >>> from rpe_core.delta import LowRankDelta
    >>> terms = [(LowRankDelta(a, b), 0.5), (LowRankDelta(a, b), 0.5)]
    >>> made = reweigh_by_inputs(terms, [InputGram.of_rows(wide), InputGram.of_rows(narrow)])
    >>> [[round(x) for x in delta.a[0].tolist()] for delta, _ in made.terms]
    [[2, 0], [0, 2]]
    """
    _require_width(terms, grams)
    fed = [i for i, gram in enumerate(grams) if gram]
    total = sum(terms[i][1] for i in fed)
    if len(terms) < 2 or not fed or total <= 0:
        return Reweighed(terms, is_regmean=False)
    donors = [
        _Donor(terms[i][0].a.double(), gram, terms[i][1] / total)
        for i, gram in enumerate(grams)
        if gram
    ]
    made = (_divide_dense if donors[0].gram.is_dense else _divide_wide)(donors)
    if made is None:
        return Reweighed(terms, is_regmean=False)
    changed = list(terms)
    for i, a in zip(fed, made, strict=True):
        changed[i] = (replace(terms[i][0], a=a.float()), terms[i][1])
    return Reweighed(changed, is_regmean=True)


class _Donor(NamedTuple):
    """A donor of one module: A (r, d) in fp64, what it was fed, and its share of the weights."""

    a: Tensor
    gram: InputGram
    share: float


def _divide_dense(donors: Sequence[_Donor]) -> list[Tensor] | None:
    """A_i G_i G^-1 by Cholesky; None where G is not positive definite."""
    ridge, matrices = _ridge(donors), []
    for donor in donors:
        matrix = OFF_DIAGONAL * donor.gram.dense()
        matrix.diagonal().copy_(donor.gram.diagonal() + ridge)
        matrices.append(matrix)
    mean = torch.zeros_like(matrices[0])
    for donor, matrix in zip(donors, matrices, strict=True):
        mean += donor.share * matrix
    factor, fault = torch.linalg.cholesky_ex(mean)
    if int(fault):
        return None
    fed = [donor.a @ matrix for donor, matrix in zip(donors, matrices, strict=True)]
    return [torch.cholesky_solve(rows.T, factor).T for rows in fed]


def _divide_wide(donors: Sequence[_Donor]) -> list[Tensor] | None:
    """A_i G_i G^-1 for matrices G_i = U_i U_i^T + D_i, by Woodbury; None as above.

    G = D + U C U^T with the U_i side by side and C the shares, each as often as U_i has columns.
    """
    ridge, lows, diagonals = _ridge(donors), [], []
    for donor in donors:
        low = OFF_DIAGONAL**0.5 * donor.gram.directions()
        lows.append(low)
        diagonals.append((donor.gram.diagonal() - (low * low).sum(dim=1)).clamp(min=0.0) + ridge)
    low, diagonal = torch.cat(lows, dim=1), torch.zeros_like(diagonals[0])
    for donor, part in zip(donors, diagonals, strict=True):
        diagonal += donor.share * part
    shares = torch.cat(
        [torch.full((u.shape[1],), d.share).double() for d, u in zip(donors, lows, strict=True)]
    )
    divided = low / diagonal[:, None]
    inner = low.T @ divided
    if not bool((diagonal > 0).all()) or not _is_definite(inner, shares):
        return None
    unit = torch.eye(len(shares), dtype=torch.float64)
    core = torch.linalg.solve(unit + shares[:, None] * inner, torch.diag(shares))
    made = []
    for donor, own, rest in zip(donors, lows, diagonals, strict=True):
        rows = (donor.a * rest + (donor.a @ own) @ own.T) / diagonal
        made.append(rows - ((rows @ low) @ core) @ divided.T)
    return made


def _ridge(donors: Sequence[_Donor]) -> float:
    """RIDGE times the mean of G's diagonal, which negative shares may not make negative."""
    trace = sum(donor.share * float(donor.gram.diagonal().sum()) for donor in donors)
    return RIDGE * max(trace, 0.0) / donors[0].gram.width


def _is_definite(inner: Tensor, shares: Tensor) -> bool:
    """Whether D + U C U^T is, with inner = U^T D^-1 U: no eigenvalue of C inner is below -1."""
    if bool((shares >= 0).all()):
        return True
    values, vectors = torch.linalg.eigh(inner)
    root = vectors * values.clamp(min=0.0).sqrt()
    return bool(torch.linalg.eigvalsh(root.T @ (shares[:, None] * root)).min() > -1.0)


def _require_width(terms: Sequence[Term], grams: Sequence[InputGram | None]) -> None:
    for (delta, _), gram in zip(terms, grams, strict=True):
        if gram and gram.width != delta.shape[1]:
            raise ShapeMismatch(
                "A Gram matrix is of other inputs than its module's.",
                where=f"width {gram.width}, module {delta.shape}",
                expected="the statistics of this adapter's modules",
            )
