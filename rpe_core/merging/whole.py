"""Tensors of the base that members trained whole: theta_0 + sum_i w_i (theta_i - theta_0)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from rpe_core.errors import InputError, shown_name
from rpe_core.merging.blueprint import Blueprint
from rpe_core.merging.files.adapter_reader import AdapterFolder
from rpe_core.merging.files.checkpoint import Checkpoint

_PIECE = 1 << 20  # numbers that are computed at a time

Range = tuple[int, int]


def pieces(shape: tuple[int, ...]) -> Iterator[Range]:
    """Ranges of the flattened tensor, the same for every number of threads.

    >>> list(pieces((3, 5)))
    [(0, 15)]
    """
    size = math.prod(shape)
    for start in range(0, size, _PIECE):
        yield start, min(start + _PIECE, size)


def sum_whole(blueprint: Blueprint, tensor: str, of: Range) -> tuple[torch.Tensor, torch.Tensor]:
    """A piece of theta_0, and of what the members add to it, both in fp64.

    A head that the base lacks begins anywhere: its members' weights sum to 1, so it drops out.
    """
    base = blueprint.needed_base()
    change = torch.zeros(of[1] - of[0], dtype=torch.float64)
    key = blueprint.keys.get(tensor)
    start = _piece(base.read(key), of) if key is not None else change.clone()
    for i in blueprint.whole[tensor]:
        member, weight = blueprint.members[i]
        trained = _piece(member.tensors.read(member.layout.whole[tensor]), of)
        change += weight * (trained - start)
    return start, change


def release_whole(blueprint: Blueprint, tensor: str, of: Range) -> None:
    """Give back the memory of a piece in the base and in the members."""
    if key := blueprint.keys.get(tensor):
        blueprint.needed_base().release(key, of)
    for i in blueprint.whole[tensor]:
        member, _ = blueprint.members[i]
        member.tensors.release(member.layout.whole[tensor], of)


def check_copies(blueprint: Blueprint) -> None:
    """Raise InputError where a weight that PEFT saved beside an embedding is not the base's own."""
    for member, _ in blueprint.members:
        for tensor, name in member.layout.copies.items():
            _check_copy(blueprint.needed_base(), blueprint.keys[tensor], member, name)


def _check_copy(base: Checkpoint, key: str, member: AdapterFolder, name: str) -> None:
    for start, end in pieces(base.spec(key).shape):
        own = base.read(key).view(-1)[start:end]
        copy = member.tensors.read(name).view(-1)[start:end]
        # it was saved in the dtype that the base was loaded in, which may be the narrower one
        if not (torch.equal(own.to(copy.dtype), copy) or torch.equal(copy.to(own.dtype), own)):
            raise InputError(
                f"The adapter cannot be merged exactly: it changed {shown_name(key)} of the base.",
                where=str(member.folder),
                expected="base weights unchanged",
            )
        base.release(key, (start, end))
        member.tensors.release(name, (start, end))


def _piece(tensor: torch.Tensor, of: Range) -> torch.Tensor:
    return tensor.view(-1)[of[0] : of[1]].double()
