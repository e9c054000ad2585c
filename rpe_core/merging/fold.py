"""Deltas added to the base's weights, tensor by tensor, in a new checkpoint. Touches files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from rpe_core.errors import InputError, shown_name
from rpe_core.merging.beside import copy_beside
from rpe_core.merging.blueprint import Blueprint
from rpe_core.merging.concat import merge_concat
from rpe_core.merging.files.checkpoint import CONFIG, INDEX, Checkpoint
from rpe_core.merging.files.reading import TensorFile
from rpe_core.merging.files.writing import bytes_of, reserve, write_at, write_json
from rpe_core.merging.fold_plan import Fold, FoldPlan
from rpe_core.merging.rounding import Rounding, Workbench, cast
from rpe_core.merging.shards import NewShard, lay_out, size_of, with_entries
from rpe_core.merging.threads import map_in_order
from rpe_core.merging.ties import untie_config
from rpe_core.merging.whole import check_copies, pieces, release_whole, sum_whole

_PIECE = 1 << 20  # numbers that are computed at a time
_COPIED = 32 << 20  # bytes that are copied at a time


def fold_into(
    blueprint: Blueprint,
    base: Checkpoint,
    plan: FoldPlan,
    out: Path,
    *,
    threads: int | None = None,
) -> tuple[Rounding, tuple[str, ...]]:
    """Write the whole checkpoint anew into a folder; every tensor keeps its dtype and its order.

    The rounding is what the cast to the base's dtype lost, of what the members add. Beside it the
    paths of the files in the base's folder that were left out.

    Raises:
        InputError: a number is not finite, or what PEFT copied from the base is not the base's.
    """
    check_copies(blueprint)
    rounding, bench = Rounding(), Workbench()
    for name, shard in base.shards.items():
        here = [fold for fold in plan.folds if base.home(fold.key) == name]
        added = {fold.name: base.spec(fold.key) for fold in here if fold.is_added}
        new = lay_out(shard, added, frame=plan.frame)
        with (out / name).open("wb") as file:
            at = file.fileno()
            reserve(at, new.size)
            jobs = [partial(_copy, shard, at, *gap, new.shift) for gap in _gaps(shard, here)]
            jobs += [partial(_fold, blueprint, base, fold, at, new, bench) for fold in here]
            for part in map_in_order(lambda job: job(), jobs, threads=threads):
                rounding += part
            # the header comes last: without it a reader takes the file for none
            write_at(at, memoryview(new.header), 0)
            os.fsync(at)
    left_out = copy_beside(base, out)
    _tell_of_ties(base, plan, out)
    return rounding, left_out


def _tell_of_ties(base: Checkpoint, plan: FoldPlan, out: Path) -> None:
    """Where embedding and output layer part ways, the index and the configuration say so."""
    if not plan.unties:
        return
    write_json(out / CONFIG, untie_config(base.config))
    added = [fold for fold in plan.folds if fold.is_added]
    if (added or plan.frame) and (index := base.index):
        homes = {fold.name: base.home(fold.key) for fold in added}
        sizes = [size_of(base.spec(fold.key)) for fold in added]
        write_json(out / INDEX, with_entries(index, homes, n_bytes=sum(sizes), frame=plan.frame))


def _gaps(shard: TensorFile, folds: Sequence[Fold]) -> Iterator[tuple[int, int]]:
    """The bytes after the header that no fold writes, in ranges of bounded length."""
    at = begin = shard.data_start
    specs = [shard.specs[fold.key] for fold in folds if not fold.is_added]
    taken = sorted((begin + spec.start, begin + spec.end) for spec in specs)
    for start, end in [*taken, (shard.size, shard.size)]:
        for first in range(at, start, _COPIED):
            yield first, min(first + _COPIED, start)
        at = end


def _copy(shard: TensorFile, file: int, start: int, end: int, shift: int) -> Rounding:
    write_at(file, shard.bytes_between(start, end), start + shift)
    shard.release_between(start, end)
    return Rounding()


def _fold(
    blueprint: Blueprint, base: Checkpoint, fold: Fold, file: int, new: NewShard, bench: Workbench
) -> Rounding:
    """One tensor; the rounding counts against what is added, not against the weight."""
    dtype = base.read(fold.key).dtype
    at = new.places[fold.name]
    lost = added = 0.0
    try:
        for exact, share in _sums(blueprint, base, fold, bench):
            made, rounding = cast(exact, dtype, bench)
            lost, added = lost + rounding.squared_change, added + share
            data = bytes_of(made)
            write_at(file, data, at)
            at += len(data)
    except InputError as error:
        fault = blueprint.fault_in(fold.module) if fold.module else None
        refusal = InputError(
            error.what, where=f"tensor {shown_name(fold.key)}", expected=error.expected
        )
        raise (fault or refusal) from None
    finally:
        if fold.module:
            blueprint.release(fold.module)
    return Rounding(added, lost)


def _sums(
    blueprint: Blueprint, base: Checkpoint, fold: Fold, bench: Workbench
) -> Iterator[tuple[torch.Tensor, float]]:
    """Piece by piece the new tensor, and the squared norm of what is new in it."""
    shape = base.spec(fold.key).shape
    if not (fold.whole or fold.module):
        for first, last in pieces(shape):
            yield base.read(fold.key).view(-1)[first:last].float(), 0.0
            base.release(fold.key, (first, last))
        return
    if fold.whole:
        for of in pieces(shape):
            start, change = sum_whole(blueprint, fold.whole, of)
            yield (start + change).float(), float(torch.dot(change, change))
            release_whole(blueprint, fold.whole, of)
        return
    delta = merge_concat(blueprint.terms(fold.module))
    left, right = (delta.a.T, delta.b.T) if fold.is_transposed else (delta.b, delta.a)
    weight = base.read(fold.key).view(len(left), -1)
    gram = right @ right.T
    rows = max(1, _PIECE // weight.shape[1])
    for first in range(0, len(left), rows):
        part = left[first : first + rows]
        exact = bench.take("single", (len(part), weight.shape[1]), torch.float32)
        exact.copy_(weight[first : first + rows]).addmm_(part, right)
        yield exact, float(((part.T @ part) * gram).sum())
        base.release(fold.key, (first * weight.shape[1], (first + len(part)) * weight.shape[1]))
