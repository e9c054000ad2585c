"""The table of merge methods: weighted adapters in, one adapter and its error out."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, ShapeMismatch, UnknownName, shown_name
from rpe_core.merging.concat import Term, merge_concat
from rpe_core.merging.dense import merge_dense
from rpe_core.merging.svd import Truncation, merge_svd

Adapter = Mapping[str, LowRankDelta]

_THREADS = threading.Lock()


@dataclass(frozen=True)
class MergedDeltas:
    """One adapter, modules sorted, fp32, scaling 1.

    `relative_error` is ||exact sum - merged||_F / ||exact sum||_F over all modules, 0 for an exact
    method; the rounding of the last fp32 digit is not counted.
    """

    deltas: dict[str, LowRankDelta]
    relative_error: float

    @property
    def rank(self) -> int:
        """The largest rank of a module."""
        return max(delta.rank for delta in self.deltas.values())


@dataclass(frozen=True)
class MergeMethod:
    """How the terms of one module become one delta; `merge(terms, rank)`."""

    name: str
    doc: str
    merge: Callable[[Sequence[Term], int], Truncation]
    takes_rank: bool = False


def merge_deltas(
    method: str, members: Sequence[tuple[Adapter, float]], *, rank: int | None = None
) -> MergedDeltas:
    """The adapter of sum_i w_i dW_i; a module that a member lacks counts as a zero delta.

    Members of weight zero are left out. The weights may be negative and need not sum to one.
    Single-threaded in its kernels, so that the same members give the same bytes on any machine
    of the same kind.

    Args:
        method: a key of MERGE_METHODS.
        members: deltas by module name, with their weights.
        rank: the largest rank allowed, `svd` only; by default the largest rank of a member.

    Raises:
        UnknownName: the method is not known.
        ShapeMismatch: a module has another shape in another member.
        InputError: no weight, a weight that is not finite, a rank where none is taken.
    """
    if method not in MERGE_METHODS:
        raise UnknownName("merge method", method, MERGE_METHODS)
    entry = MERGE_METHODS[method]
    if rank is not None and (not entry.takes_rank or rank < 1):
        expected = "rank >= 1" if entry.takes_rank else "no rank"
        raise InputError(f"Merge method {method} cannot take this rank.", expected=expected)
    modules = _terms_by_module(members)
    limit = rank or max(delta.rank for terms in modules.values() for delta, _ in terms)
    with _one_thread():
        parts = {module: entry.merge(terms, limit) for module, terms in modules.items()}
    for module, part in parts.items():
        if not bool(torch.isfinite(part.delta.a).all() and torch.isfinite(part.delta.b).all()):
            raise InputError("The merged delta exceeds fp32.", where=f"module {shown_name(module)}")
    total = math.fsum(part.squared_norm for part in parts.values())
    lost = math.fsum(part.squared_error for part in parts.values())
    error = math.sqrt(lost / total) if lost > 0 else 0.0
    return MergedDeltas({module: part.delta for module, part in parts.items()}, error)


def _terms_by_module(members: Sequence[tuple[Adapter, float]]) -> dict[str, list[Term]]:
    if not all(math.isfinite(weight) for _, weight in members):
        raise InputError("A member's weight is not finite.", expected="finite weights")
    terms: dict[str, list[Term]] = {}
    for deltas, weight in members:
        for module, delta in deltas.items() if weight else ():
            terms.setdefault(module, []).append((delta, float(weight)))
    if not terms:
        raise InputError("There is nothing to merge.", expected="a member of non-zero weight")
    for module, parts in terms.items():
        shapes = {delta.shape for delta, _ in parts}
        if len(shapes) > 1:
            raise ShapeMismatch(
                "Members adapt different bases: a module differs in shape.",
                where=f"module {shown_name(module)}, shapes {sorted(shapes)}",
                expected="adapters of one base",
            )
    return {module: terms[module] for module in sorted(terms)}


@contextmanager
def _one_thread() -> Iterator[None]:
    """QR, SVD and products give other last digits on another number of threads."""
    with _THREADS:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


MERGE_METHODS: dict[str, MergeMethod] = {
    entry.name: entry
    for entry in (
        MergeMethod(
            "concat",
            "exact: factors side by side, ranks add",
            lambda terms, _: Truncation(merge_concat(terms), 0.0, 0.0),
        ),
        MergeMethod(
            "svd",
            "optimal truncation to a rank; its relative error is recorded",
            lambda terms, rank: merge_svd(terms, rank=rank),
            takes_rank=True,
        ),
        MergeMethod(
            "dense",
            "exact: the full sum of products, of full rank",
            lambda terms, _: Truncation(merge_dense(terms), 0.0, 0.0),
        ),
    )
}
