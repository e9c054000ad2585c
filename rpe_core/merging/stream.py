"""A merged adapter written module by module, few of them in memory at a time. Touches files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from rpe_core.delta import PREFIX, peft_names, peft_shapes
from rpe_core.errors import InputError
from rpe_core.merging.blueprint import Blueprint
from rpe_core.merging.concat import Term, do_share, join_factors
from rpe_core.merging.files.gram_file import GramFile
from rpe_core.merging.files.writing import TensorWriter
from rpe_core.merging.regmean import reweigh_by_inputs
from rpe_core.merging.rounding import Rounding, Workbench, cast
from rpe_core.merging.table import (
    MergeMethod,
    MergeOptions,
    Norms,
    fullest,
    name_module_in_errors,
    overall_ratio,
)
from rpe_core.merging.threads import map_in_order
from rpe_core.merging.whole import Range, check_copies, pieces, release_whole, sum_whole

Shape = tuple[int, ...]


class Made(NamedTuple):
    """What became of a job: the rounding, and of a module how exact it is and how it was summed."""

    rounding: Rounding
    module: str = ""
    norms: Norms | None = None
    is_regmean: bool = False


@dataclass
class MergeStatistics:
    """What a merge did: rank and norms by module, and the rounding over everything.

    `n_regmean` counts the modules whose members were weighed by their inputs.
    """

    ranks: dict[str, int]
    norms: dict[str, Norms] = field(default_factory=dict)
    rounding: Rounding = field(default_factory=Rounding)
    n_regmean: int = 0

    @property
    def relative_error(self) -> float:
        """||exact sum - merged||_F / ||exact sum||_F over all modules, 0 for an exact method."""
        return overall_ratio([(norms.error, norms.total) for norms in self.norms.values()])

    @property
    def error_bound(self) -> float:
        """The least relative error that any adapter of these ranks could have (Eckart-Young)."""
        return overall_ratio([(norms.bound, norms.total) for norms in self.norms.values()])

    def add(self, made: Made) -> None:
        """Count what a job made."""
        self.rounding += made.rounding
        self.n_regmean += made.is_regmean
        if made.norms is not None:
            self.norms[made.module] = made.norms


@dataclass(frozen=True)
class DonorInputs:
    """What the members of a blueprint were fed; nothing where the merge does not ask for it."""

    blueprint: Blueprint
    grams: Sequence[GramFile | None] = ()

    def reweigh(self, module: str, terms: Sequence[Term]) -> tuple[Sequence[Term], bool]:
        """The terms of a module for RegMean's sum, and whether it is one."""
        files = [self.grams[i] for i in self.blueprint.modules[module]] if self.grams else []
        if not any(files):
            return terms, False
        made = reweigh_by_inputs(terms, [file.gram(module) if file else None for file in files])
        for file in filter(None, files):
            file.release(module)
        return made.terms, made.is_regmean


def stream_adapter(
    blueprint: Blueprint,
    path: Path,
    *,
    method: MergeMethod,
    form: MergeOptions,
    grams: Sequence[GramFile | None] = (),
    threads: int | None = None,
) -> MergeStatistics:
    """Write the merged safetensors file and tell what was done; the same bytes on any threads.

    `grams` holds for each member of the blueprint what its modules were fed, where a method asks.

    Raises:
        InputError: a number is not finite, or what PEFT copied from the base is not the base's.
    """
    check_copies(blueprint)
    terms = {module: blueprint.terms(module) for module in blueprint.modules}
    form = replace(form, is_shared=do_share(fullest(terms)))
    donors = DonorInputs(blueprint, grams)
    ranks = _ranks(blueprint, terms, method, form, donors, threads=threads)
    account = MergeStatistics(ranks)
    writer = TensorWriter(path, _shapes(blueprint, ranks), dtype=form.dtype)
    bench = Workbench()
    jobs = [
        *(
            partial(_write_module, donors, module, method, terms[module], rank, writer, bench)
            for module, rank in ranks.items()
        ),
        *(
            partial(_write_piece, blueprint, tensor, of, writer, bench)
            for tensor in blueprint.whole
            for of in pieces(blueprint.whole_shape(tensor))
        ),
    ]
    try:
        for made in map_in_order(lambda job: job(), jobs, threads=threads):
            account.add(made)
        writer.finish()
    finally:
        writer.close()
    return account


def _ranks(
    blueprint: Blueprint,
    terms: Mapping[str, Sequence[Term]],
    method: MergeMethod,
    form: MergeOptions,
    donors: DonorInputs,
    *,
    threads: int | None,
) -> dict[str, int]:
    """The rank of every module, before the first is written: they decide where the others lie."""
    if form.energy is None and not form.is_shared:  # no number is read
        return {module: method.rank(parts, form) for module, parts in terms.items()}

    def rank(module: str) -> int:
        with _blaming(blueprint, module):
            return method.rank(donors.reweigh(module, terms[module])[0], form)

    return dict(zip(terms, map_in_order(rank, terms, threads=threads), strict=True))


def _shapes(blueprint: Blueprint, ranks: Mapping[str, int]) -> dict[str, Shape]:
    shapes = {PREFIX + tensor: blueprint.whole_shape(tensor) for tensor in blueprint.whole}
    for module, rank in ranks.items():
        spec = blueprint.spec(module)
        names = peft_names(module, spec.layout)
        shapes.update(zip(names, peft_shapes(spec.shape, rank, spec.layout), strict=True))
    return dict(sorted(shapes.items()))


def _write_module(
    donors: DonorInputs,
    module: str,
    method: MergeMethod,
    terms: Sequence[Term],
    rank: int,
    writer: TensorWriter,
    bench: Workbench,
) -> Made:
    blueprint = donors.blueprint
    names = dict(zip("AB", peft_names(module, blueprint.spec(module).layout), strict=True))

    def write(factor: str, start: int, piece: torch.Tensor) -> None:
        writer.write(names[factor], start, piece)

    with _blaming(blueprint, module):
        summed, is_regmean = donors.reweigh(module, terms)
        reduced = method.reduce(summed, rank)
        rounding = join_factors(reduced.terms, writer.dtype, write, bench)
        return Made(rounding, module, reduced.norms(writer.dtype), is_regmean)


def _write_piece(
    blueprint: Blueprint, tensor: str, of: Range, writer: TensorWriter, bench: Workbench
) -> Made:
    start, change = sum_whole(blueprint, tensor, of)
    with name_module_in_errors(tensor):
        made, rounding = cast((start + change).float(), writer.dtype, bench)
    writer.write(PREFIX + tensor, of[0], made)
    release_whole(blueprint, tensor, of)
    return Made(rounding)


@contextmanager
def _blaming(blueprint: Blueprint, module: str) -> Iterator[None]:
    """The module's memory is given back; where a number is not finite, its member is named."""
    try:
        with name_module_in_errors(module):
            yield
    except InputError as error:
        raise (blueprint.fault_in(module) or error) from None
    finally:
        blueprint.release(module)
