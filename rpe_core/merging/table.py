"""The table of merge methods: weighted deltas of a module in, one delta and its error out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, ShapeMismatch, UnknownName, shown_name
from rpe_core.input_gram import InputGram
from rpe_core.merging.concat import Term, do_share, merge_concat, rank_of_sum, share_factors
from rpe_core.merging.dense import merge_dense
from rpe_core.merging.regmean import mean_of_inputs, require_width, reweigh_by_inputs
from rpe_core.merging.svd import Truncation, merge_svd, rank_for_energy
from rpe_core.merging.threads import map_in_order

Adapter = Mapping[str, LowRankDelta]
Grams = Mapping[str, InputGram]  # what a member's modules were fed, by module


@dataclass(frozen=True)
class MergeOptions:
    """What a merged adapter is to be: its dtype, and for `svd` a largest rank or a least energy.

    `is_shared`: members share their A in one module, so that it is worth to look in all of them.
    """

    rank: int | None = None
    energy: float | None = None
    dtype: torch.dtype = torch.float32
    is_shared: bool = False


@dataclass(frozen=True)
class Norms:
    """Squared Frobenius norms: the exact sum, the error, and the least error of this rank."""

    total: float
    error: float
    bound: float


@dataclass(frozen=True, eq=False)
class Reduced:
    """Deltas whose factors side by side are the merged one, and the truncation if there was one."""

    terms: Sequence[Term]
    truncation: Truncation | None = None

    def norms(self, dtype: torch.dtype) -> Norms | None:
        """How far the merged delta is from the exact sum, written in this dtype; None if exact."""
        if self.truncation is None:
            return None
        delta, lost = self.truncation.delta, self.truncation
        made = LowRankDelta(delta.a.to(dtype), delta.b.to(dtype))
        return Norms(lost.squared_norm, lost.squared_error(made), lost.squared_bound)


@dataclass(frozen=True)
class MergedDeltas:
    """One adapter, modules sorted, fp32, scaling 1.

    `relative_error` is ||exact sum - merged||_F / ||exact sum||_F over all modules, 0 for an exact
    method, whose last fp32 digit is not counted; `error_bound` is the least one of these ranks.
    """

    deltas: dict[str, LowRankDelta]
    relative_error: float
    error_bound: float

    @property
    def rank(self) -> int:
        """The largest rank of a module."""
        return max((delta.rank for delta in self.deltas.values()), default=0)


@dataclass(frozen=True)
class MergeMethod:
    """How the terms of one module become one delta: `reduce(terms, rank)`, of `rank(terms, form)`.

    The rank follows from the shapes; only where a share of energy is asked for, from the numbers.
    `has_default_rank`: without a rank it gives the largest of a member, not all that there is.
    `weighs_inputs`: the terms are given another A first, by what each member's module was fed.
    """

    name: str
    doc: str
    reduce: Callable[[Sequence[Term], int], Reduced]
    rank: Callable[[Sequence[Term], MergeOptions], int]
    takes_rank: bool = False
    has_default_rank: bool = False
    weighs_inputs: bool = False


def find_method(name: str, *, rank: int | None, energy: float | None) -> MergeMethod:
    """The method of this name, if it can be asked for this rank or share of energy.

    Raises:
        UnknownName: the method is not known.
        InputError: a rank or energy where none is taken, both, or one outside its range.
    """
    if name not in MERGE_METHODS:
        raise UnknownName("merge method", name, MERGE_METHODS)
    method = MERGE_METHODS[name]
    if rank is not None and not (method.takes_rank and rank >= 1):
        expected = "rank >= 1" if method.takes_rank else "no rank"
        raise InputError(f"Merge method {name} cannot take this rank.", expected=expected)
    if energy is not None and not (method.takes_rank and rank is None and 0 < energy <= 1):
        expected = "0 < energy <= 1, and no rank" if method.takes_rank else "no energy"
        raise InputError(f"Merge method {name} cannot take this energy.", expected=expected)
    return method


@contextmanager
def name_module_in_errors(module: str) -> Iterator[None]:
    """Refusals that come from within say which module they are about."""
    try:
        yield
    except InputError as error:
        where = f"module {shown_name(module)}"
        raise InputError(error.what, where=where, expected=error.expected) from None


def overall_ratio(squares: Sequence[tuple[float, float]]) -> float:
    """The root of all that is lost over the root of all there is; 0 where nothing is lost.

    >>> overall_ratio([(1.0, 9.0), (3.0, 7.0)])
    0.5
    """
    lost, total = (
        (math.fsum(column) for column in zip(*squares, strict=True)) if squares else (0, 0)
    )
    return math.sqrt(lost / total) if lost > 0 < total else 0.0


def merge_deltas(
    method: str,
    members: Sequence[tuple[Adapter, float]],
    *,
    rank: int | None = None,
    energy: float | None = None,
    grams: Sequence[Grams | None] = (),
) -> MergedDeltas:
    """The adapter of sum_i w_i dW_i in memory; a module that a member lacks counts as zero.

    Members of weight zero are left out. The weights may be negative and need not sum to one.
    The kernels are single-threaded, so that the same members give the same bytes on any machine
    of the same kind.

    Args:
        method: a key of MERGE_METHODS.
        members: deltas by module name, with their weights.
        rank: the largest rank allowed, `svd` only; by default the largest rank of a member.
        energy: instead of a rank, the share of each ||dW||_F^2 to keep, `svd` only.
        grams: for `regmean`, what each member's modules were fed, by module, or None; without any
            the sum is the plain one.

    Raises:
        UnknownName: the method is not known.
        ShapeMismatch: a module has another shape in another member.
        InputError: no weight, a weight that is not finite, a rank or energy where none is taken.
    """
    entry = find_method(method, rank=rank, energy=energy)
    check_grams(entry, grams, n_members=len(members))
    terms = _terms_by_module(members, grams if entry.weighs_inputs else ())
    if entry.has_default_rank and rank is None and energy is None:
        ranks = [delta.rank for parts in terms.values() for delta, _ in parts]
        rank = max(ranks, default=1)
    form = MergeOptions(rank, energy, is_shared=do_share(fullest(terms)))

    def work(module: str) -> tuple[LowRankDelta, Norms | None]:
        with name_module_in_errors(module):
            reduced = entry.reduce(terms[module], entry.rank(terms[module], form))
            return merge_concat(reduced.terms), reduced.norms(form.dtype)

    parts = dict(zip(terms, map_in_order(work, terms), strict=True))
    norms = [each for _, each in parts.values() if each is not None]
    return MergedDeltas(
        {module: delta for module, (delta, _) in parts.items()},
        overall_ratio([(each.error, each.total) for each in norms]),
        overall_ratio([(each.bound, each.total) for each in norms]),
    )


def check_weights(weights: Sequence[float]) -> None:
    """Raise InputError unless all weights are finite and one of them is not zero."""
    if not all(math.isfinite(weight) for weight in weights):
        raise InputError("A member's weight is not finite.", expected="finite weights")
    if not any(weights):
        raise InputError("There is nothing to merge.", expected="a member of non-zero weight")


def check_same_shape(module: str, shapes: Sequence[object]) -> None:
    """Raise ShapeMismatch where members give a module different shapes."""
    if len(set(shapes)) > 1:
        raise ShapeMismatch(
            "Members adapt different bases: a module differs in shape.",
            where=f"module {shown_name(module)}, shapes {sorted(set(map(str, shapes)))}",
            expected="adapters of one base",
        )


def check_grams(method: MergeMethod, grams: Sequence[object], *, n_members: int) -> None:
    """Raise InputError where matrices are given to a method that takes none, or not one each."""
    if grams and not method.weighs_inputs:
        raise InputError(f"Merge method {method.name} takes no Gram matrices.")
    if grams and len(grams) != n_members:
        raise InputError(
            "Each member needs to be told what its modules were fed, or that nobody knows.",
            where=f"{n_members} members, {len(grams)} files of Gram matrices",
            expected="one for each member; None of one without data",
        )


def _terms_by_module(
    members: Sequence[tuple[Adapter, float]], grams: Sequence[Grams | None]
) -> dict[str, list[Term]]:
    check_weights([weight for _, weight in members])
    terms: dict[str, list[Term]] = {}
    fed: dict[str, list[InputGram | None]] = {}
    for i, (deltas, weight) in enumerate(members):
        known = (grams[i] if grams else None) or {}
        for module, delta in deltas.items() if weight else ():
            terms.setdefault(module, []).append((delta, float(weight)))
            fed.setdefault(module, []).append(known.get(module))
    for module, parts in terms.items():
        check_same_shape(module, [delta.shape for delta, _ in parts])
        if grams:
            require_width(fed[module], parts[0][0].shape[1])
            mean = mean_of_inputs(fed[module], [weight for _, weight in parts])
            terms[module] = list(reweigh_by_inputs(parts, mean))
    return {module: terms[module] for module in sorted(terms)}


def _svd_rank(terms: Sequence[Term], form: MergeOptions) -> int:
    if form.energy is not None:
        return rank_for_energy(terms, form.energy)
    whole = sum(delta.rank for delta, _ in terms)
    return min(form.rank or whole, whole, *terms[0][0].shape)


def fullest(terms: Mapping[str, Sequence[Term]]) -> Sequence[Term]:
    """The terms of the first module that has the most of them; none where there is no module."""
    return max(terms.values(), key=len, default=())


def _side_by_side(terms: Sequence[Term], rank: int) -> Reduced:
    is_all = rank == sum(delta.rank for delta, _ in terms)
    return Reduced(terms if is_all else share_factors(terms))


def _by_svd(terms: Sequence[Term], rank: int) -> Reduced:
    truncation = merge_svd(terms, rank=rank)
    return Reduced([(truncation.delta, 1.0)], truncation)


def _regmean(terms: Sequence[Term], rank: int) -> Reduced:
    is_all = rank == sum(delta.rank for delta, _ in terms)
    return Reduced(terms) if is_all else _by_svd(terms, rank)


MERGE_METHODS: dict[str, MergeMethod] = {
    entry.name: entry
    for entry in (
        MergeMethod(
            "concat",
            "exact: factors side by side, so that ranks add up; members that share A, as those of"
            " `miss` of one rank do, count once",
            _side_by_side,
            lambda terms, form: rank_of_sum(terms, is_shared=form.is_shared),
        ),
        MergeMethod(
            "svd",
            "optimal at a given rank, or at the least rank that keeps a share of the"
            " squared norm; the error of every module is recorded beside its bound",
            _by_svd,
            _svd_rank,
            takes_rank=True,
            has_default_rank=True,
        ),
        MergeMethod(
            "dense",
            "exact: the sum of products, as a full-rank adapter",
            lambda terms, _: Reduced([(merge_dense(terms), 1.0)]),
            lambda terms, _: min(terms[0][0].shape),
        ),
        MergeMethod(
            "regmean",
            "RegMean: the sum that answers each member's own training inputs most like that member"
            " did, from the Gram matrices of what its modules were fed; ranks add up as with"
            " `concat`, or a rank is given as with `svd`",
            _regmean,
            _svd_rank,
            takes_rank=True,
            weighs_inputs=True,
        ),
    )
}
