"""Exact merging: factors side by side, so the ranks add and nothing is lost.

Members that share A, as MiSS adapters of one rank do, add no rank: dW = (sum_i w_i s_i B_i) A.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import torch

from rpe_core.delta import LowRankDelta
from rpe_core.merging.rounding import Rounding, Workbench, cast

Term = tuple[LowRankDelta, float]  # a delta of one module and its weight
Write = Callable[[str, int, torch.Tensor], None]  # factor, place of its first number, piece

_GLANCE = 16  # numbers
_PIECE = 1 << 19  # numbers that are computed at a time: few calls, and they stay in the cache


def share_factors(terms: Sequence[Term]) -> Sequence[Term]:
    """Join the terms of a sum that have equal A; the very terms where no two share theirs.

    >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]])
    >>> terms = [(LowRankDelta(a, b), 0.5), (LowRankDelta(a, b, 3.0), 1.0)]
    >>> ((one, weight),) = share_factors(terms)
    >>> one.b, one.scaling, weight
    (tensor([[7.]]), 1.0, 1.0)
    """
    groups = _groups(terms)
    if len(groups) == len(terms):
        return terms
    return [group[0] if len(group) == 1 else (_summed(group), 1.0) for group in groups]


def do_share(terms: Sequence[Term]) -> bool:
    """Whether two of the terms have the same A."""
    return len(_groups(terms)) < len(terms)


def rank_of_sum(terms: Sequence[Term], *, is_shared: bool) -> int:
    """The sum of the ranks; where terms may share A, that of the terms with those as one."""
    counted = [group[0] for group in _groups(terms)] if is_shared else terms
    return sum(delta.rank for delta, _ in counted)


def stack_factors(terms: Sequence[Term]) -> tuple[torch.Tensor, torch.Tensor]:
    """A = vstack(A_i), (R, d_in), and B = hstack(w_i s_i B_i), (d_out, R), in fp64."""
    a = torch.cat([delta.a for delta, _ in terms], dim=0).double()
    b = torch.cat([delta.b for delta, _ in terms], dim=1).double()
    return a, b.mul_(_scales(terms))


def join_factors(
    terms: Sequence[Term], dtype: torch.dtype, write: Write, bench: Workbench
) -> Rounding:
    """Hand the stacked A and B to `write` piece by piece: in fp32, checked and cast.

    A piece is memory that the next piece overwrites. The rounding is that of what was cast: where
    all factors A have the dtype already, they go through untouched.

    Raises:
        InputError: a factor or the result holds NaN, infinity or more than the dtype holds.
    """
    rounding, at = Rounding(), 0
    is_untouched = all(delta.a.dtype == dtype for delta, _ in terms)
    for parts in _blocks([delta.a for delta, _ in terms]):
        stacked = _joined(parts, 0, dtype if is_untouched else torch.float32, bench)
        made, more = cast(stacked, dtype, bench)
        write("A", at, made)
        at, rounding = at + made.numel(), rounding + more
    rank, d_out = sum(delta.rank for delta, _ in terms), terms[0][0].shape[0]
    scales = _scales(terms).float()
    rows = max(1, _PIECE // rank)
    for first in range(0, d_out, rows):
        parts = [delta.b[first : first + rows] for delta, _ in terms]
        single = _joined(parts, 1, torch.float32, bench).mul_(scales)
        made, more = cast(single, dtype, bench)
        write("B", first * rank, made)
        rounding += more
    return rounding


def merge_concat(terms: Sequence[Term]) -> LowRankDelta:
    """The weighted sum as one delta of rank R = sum r_i and scaling 1, in fp32.

    Raises:
        InputError: a factor or the result holds NaN, infinity or more than fp32 holds.
    """
    rank, (d_out, d_in) = sum(delta.rank for delta, _ in terms), terms[0][0].shape
    factors = {"A": torch.empty(rank, d_in), "B": torch.empty(d_out, rank)}

    def write(factor: str, start: int, piece: torch.Tensor) -> None:
        flat = piece.reshape(-1)
        factors[factor].view(-1)[start : start + len(flat)] = flat

    join_factors(terms, torch.float32, write, Workbench())
    return LowRankDelta(factors["A"], factors["B"], layout=terms[0][0].layout)


def _groups(terms: Sequence[Term]) -> list[list[Term]]:
    """Terms of equal A together, in the order in which they come. Unequal ones tell at a glance."""
    by_glance: dict[tuple[object, ...], list[list[Term]]] = {}
    groups: list[list[Term]] = []
    for term in terms:
        a = term[0].a
        glance = (a.dtype, *a.shape, *a.reshape(-1)[:_GLANCE].tolist())
        alike = by_glance.setdefault(glance, [])
        home = next((group for group in alike if torch.equal(group[0][0].a, a)), None)
        if home is None:
            home = []
            alike.append(home)
            groups.append(home)
        home.append(term)
    return groups


def _summed(group: Sequence[Term]) -> LowRankDelta:
    """The weighted sum of terms of one A, added in fp64."""
    first = group[0][0]
    b = torch.zeros(first.b.shape, dtype=torch.float64)
    for delta, weight in group:
        b += weight * delta.scaling * delta.b.double()
    return LowRankDelta(first.a, b.to(torch.float32), layout=first.layout)


def _scales(terms: Sequence[Term]) -> torch.Tensor:
    """What each column of the stacked B is multiplied by, (R,), in fp64."""
    factors = [[weight * delta.scaling] * delta.rank for delta, weight in terms]
    return torch.tensor([*chain(*factors)], dtype=torch.float64)


def _blocks(factors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The rows of factors one below the other, in blocks of bounded size."""
    block: list[torch.Tensor] = []
    for factor in factors:
        for part in torch.split(factor, max(1, _PIECE // factor.shape[1])):
            if block and sum(map(torch.numel, block)) + part.numel() > _PIECE:
                yield block
                block = []
            block.append(part)
    yield block


def _joined(
    parts: Sequence[torch.Tensor], dim: int, dtype: torch.dtype, bench: Workbench
) -> torch.Tensor:
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    joined = bench.take("joined", tuple(shape), dtype)
    torch.cat(list(parts), dim=dim, out=joined)
    return joined
