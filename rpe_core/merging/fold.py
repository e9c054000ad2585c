"""Deltas added to the base's weights, tensor by tensor, in a new checkpoint. Touches files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from rpe_core.errors import InputError, ShapeMismatch, shown_name
from rpe_core.merging.blueprint import Blueprint
from rpe_core.merging.checkpoint import Checkpoint
from rpe_core.merging.concat import merge_concat
from rpe_core.merging.layout import ModuleSpec
from rpe_core.merging.reading import TensorFile
from rpe_core.merging.rounding import Rounding, Workbench, cast
from rpe_core.merging.threads import map_in_order
from rpe_core.merging.whole import check_copies, pieces, release_whole, sum_whole
from rpe_core.merging.writing import bytes_of, reserve, write_at

_PIECE = 1 << 20  # numbers that are computed at a time
_COPIED = 32 << 20  # bytes that are copied at a time


@dataclass(frozen=True)
class Fold:
    """One tensor of the base to write anew: by the deltas of a module, or as members trained it."""

    key: str
    module: str = ""
    whole: str = ""
    is_transposed: bool = False


def plan_folds(blueprint: Blueprint, base: Checkpoint) -> list[Fold]:
    """What to write anew, by the base's names.

    Raises:
        ShapeMismatch: a delta does not fit its weight.
        InputError: a weight is not floating-point, or is tied to one that would change with it.
    """
    folds = [Fold(blueprint.keys[tensor], whole=tensor) for tensor in blueprint.whole]
    is_turned = any(config.get("fan_in_fan_out") for config in blueprint.configs)
    turns = set()
    for module in blueprint.modules:
        key, spec = blueprint.keys[f"{module}.weight"], blueprint.spec(module)
        if spec.layout.is_embedding and base.is_tied:
            raise InputError(
                "The adapted embedding is the output layer too: a fold would change both.",
                where=f"module {shown_name(module)}",
                remedy="merge to an adapter instead",
            )
        fits = _turns_that_fit(spec, base.spec(key).shape)
        if not fits:
            raise ShapeMismatch(
                "A delta does not fit the weight of the base.",
                where=f"module {shown_name(module)}, {spec.shape} on {base.spec(key).shape}",
                expected="the base that the members were trained on",
            )
        turn = is_turned if is_turned in fits else fits[0]
        if not (spec.layout.is_embedding or spec.layout.kernel):
            turns.add((len(fits) > 1, turn == is_turned))
        folds.append(Fold(key, module=module, is_transposed=turn))
    if {(True, True), (False, False)} <= turns:
        raise InputError(
            "fan_in_fan_out is wrong for some modules, so a square one may lie either way.",
            expected="members whose configuration tells how every weight is stored",
        )
    base.check_floating([fold.key for fold in folds])
    return folds


def fold_into(
    blueprint: Blueprint,
    base: Checkpoint,
    folds: Sequence[Fold],
    out: Path,
    *,
    threads: int | None = None,
) -> Rounding:
    """Write the whole checkpoint anew into a folder; every tensor keeps its dtype and its place.

    The rounding is what the cast to the base's dtype lost, of what the members add.

    Raises:
        InputError: a number is not finite, or what PEFT copied from the base is not the base's.
    """
    check_copies(blueprint)
    rounding, bench = Rounding(), Workbench()
    for name, shard in base.shards.items():
        here = [fold for fold in folds if base.home(fold.key) == name]
        with (out / name).open("wb") as file:
            reserve(file.fileno(), shard.size)
            jobs = [partial(_copy, shard, file.fileno(), *gap) for gap in _gaps(shard, here)]
            jobs += [partial(_fold, blueprint, base, fold, file.fileno(), bench) for fold in here]
            for part in map_in_order(lambda job: job(), jobs, threads=threads):
                rounding += part
            # the header comes last: without it a reader takes the file for none
            _copy(shard, file.fileno(), 0, shard.data_start)
            os.fsync(file.fileno())
    for path in base.small_files():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base.folder / path, out / path)
    return rounding


def _turns_that_fit(spec: ModuleSpec, shape: tuple[int, ...]) -> list[bool]:
    """Whether a weight of this shape is dW as it is (False), transposed (True), or may be both."""
    d_out, d_in = spec.shape
    if spec.layout.kernel:
        channels = d_in
        for extent in spec.layout.kernel:
            channels //= extent
        return [False] if shape == (d_out, channels, *spec.layout.kernel) else []
    if spec.layout.is_embedding:
        return [True] if shape == (d_in, d_out) else []
    return [turn for turn, fit in ((False, (d_out, d_in)), (True, (d_in, d_out))) if shape == fit]


def _gaps(shard: TensorFile, folds: list[Fold]) -> Iterator[tuple[int, int]]:
    """The bytes after the header that no fold writes, in ranges of bounded length."""
    at = begin = shard.data_start
    specs = [shard.specs[fold.key] for fold in folds]
    taken = sorted((begin + spec.start, begin + spec.end) for spec in specs)
    for start, end in [*taken, (shard.size, shard.size)]:
        for first in range(at, start, _COPIED):
            yield first, min(first + _COPIED, start)
        at = end


def _copy(shard: TensorFile, file: int, start: int, end: int) -> Rounding:
    write_at(file, shard.bytes_between(start, end), start)
    shard.release_between(start, end)
    return Rounding()


def _fold(
    blueprint: Blueprint, base: Checkpoint, fold: Fold, file: int, bench: Workbench
) -> Rounding:
    """One tensor; the rounding counts against what is added, not against the weight."""
    spec = base.spec(fold.key)
    dtype = base.read(fold.key).dtype
    at = base.shards[base.home(fold.key)].data_start + spec.start
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
        refusal = InputError(error.what, where=f"tensor {shown_name(fold.key)}")
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
