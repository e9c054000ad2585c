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
from rpe_core.merging.donor_inputs import DonorInputs
from rpe_core.merging.files.writing import TensorWriter
from rpe_core.merging.regmean import reweigh_by_inputs
from rpe_core.merging.rounding import Rounding, Workbench, cast
from rpe_core.merging.table import (
    MergeMethod,
    MergeOptions,
    Norms,
    Reduced,
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


def stream_adapter(
    blueprint: Blueprint,
    path: Path,
    *,
    method: MergeMethod,
    form: MergeOptions,
    donors: DonorInputs | None = None,
    threads: int | None = None,
) -> MergeStatistics:
    """Write the merged safetensors file and tell what was done; the same bytes on any threads.

    `donors` is what the blueprint's members were fed, where the method asks for it.

    Raises:
        InputError: a number is not finite, or what PEFT copied from the base is not the base's.
    """
    check_copies(blueprint)
    terms = {module: blueprint.terms(module) for module in blueprint.modules}
    form = replace(form, is_shared=do_share(fullest(terms)))
    donors = donors or DonorInputs(blueprint)
    ranks = _ranks(blueprint, terms, method, form, donors, threads=threads)
    account = MergeStatistics(ranks)
    writer = TensorWriter(path, _shapes(blueprint, ranks), dtype=form.dtype)
    bench = Workbench()
    jobs = [
        *(
            partial(_write_modules, donors, group, method, terms, ranks, writer, bench)
            for group in donors.groups(ranks)
        ),
        *(
            partial(_write_piece, blueprint, tensor, of, writer, bench)
            for tensor in blueprint.whole
            for of in pieces(blueprint.whole_shape(tensor))
        ),
    ]
    try:
        for several in map_in_order(lambda job: job(), jobs, threads=threads):
            for made in several:
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
            return method.rank(reweigh_by_inputs(terms[module], donors.mean(module)), form)

    return dict(zip(terms, map_in_order(rank, terms, threads=threads), strict=True))


def _shapes(blueprint: Blueprint, ranks: Mapping[str, int]) -> dict[str, Shape]:
    shapes = {PREFIX + tensor: blueprint.whole_shape(tensor) for tensor in blueprint.whole}
    for module, rank in ranks.items():
        spec = blueprint.spec(module)
        names = peft_names(module, spec.layout)
        shapes.update(zip(names, peft_shapes(spec.shape, rank, spec.layout), strict=True))
    return dict(sorted(shapes.items()))


def _write_modules(
    donors: DonorInputs,
    group: Sequence[str],
    method: MergeMethod,
    terms: Mapping[str, Sequence[Term]],
    ranks: Mapping[str, int],
    writer: TensorWriter,
    bench: Workbench,
) -> list[Made]:
    """Write the modules of one input, one after the other."""
    with _blaming(donors.blueprint, group[0]):
        mean = donors.mean(group[0])
    made = []
    for module in group:
        with _blaming(donors.blueprint, module):
            reduced = method.reduce(reweigh_by_inputs(terms[module], mean), ranks[module])
            rounding = _write_module(donors.blueprint, module, reduced, writer, bench)
            norms = reduced.norms(writer.dtype)
            made.append(Made(rounding, module, norms, is_regmean=mean is not None))
    return made


def _write_module(
    blueprint: Blueprint, module: str, reduced: Reduced, writer: TensorWriter, bench: Workbench
) -> Rounding:
    names = dict(zip("AB", peft_names(module, blueprint.spec(module).layout), strict=True))

    def write(factor: str, start: int, piece: torch.Tensor) -> None:
        writer.write(names[factor], start, piece)

    return join_factors(reduced.terms, writer.dtype, write, bench)


def _write_piece(
    blueprint: Blueprint, tensor: str, of: Range, writer: TensorWriter, bench: Workbench
) -> list[Made]:
    start, change = sum_whole(blueprint, tensor, of)
    with name_module_in_errors(tensor):
        made, rounding = cast((start + change).float(), writer.dtype, bench)
    writer.write(PREFIX + tensor, of[0], made)
    release_whole(blueprint, tensor, of)
    return [Made(rounding)]


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
