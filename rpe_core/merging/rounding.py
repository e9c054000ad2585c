"""The last step of every merge: numbers checked in fp32, then cast, and what the cast cost."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import torch

from rpe_core.errors import InputError

_PIECE = 1 << 20  # numbers that are looked at together
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Rounding:
    """Squared Frobenius norms of what was cast, and of what the cast changed."""

    squared_norm: float = 0.0
    squared_change: float = 0.0

    def __add__(self, other: Rounding) -> Rounding:
        return Rounding(
            self.squared_norm + other.squared_norm, self.squared_change + other.squared_change
        )

    @property
    def ratio(self) -> float:
        """||cast - exact||_F / ||exact||_F, 0 where nothing was cast."""
        return math.sqrt(self.squared_change / self.squared_norm) if self.squared_change else 0.0


class Workbench(threading.local):
    """Memory that a thread uses again and again: fresh pages cost more than the arithmetic."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype], torch.Tensor] = {}

    def take(self, use: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """An undefined tensor, which is overwritten when the same use is asked for again."""
        size = math.prod(shape)
        buffer = self._buffers.get((use, dtype))
        if buffer is None or len(buffer) < size:
            buffer = self._buffers[use, dtype] = torch.empty(size, dtype=dtype)
        return buffer[:size].view(shape)


def cast(
    single: torch.Tensor, dtype: torch.dtype, bench: Workbench
) -> tuple[torch.Tensor, Rounding]:
    """An fp32 tensor in another dtype, and the rounding that this costs; fp32 is given back as is.

    >>> cast(torch.tensor([1.0, 257.0]), torch.bfloat16, Workbench())[0]
    tensor([  1., 256.], dtype=torch.bfloat16)

    Raises:
        InputError: it holds NaN, infinity or more than the dtype can hold.
    """
    if dtype == single.dtype:
        require_finite(single)
        return single, Rounding()
    shape = tuple(single.shape)
    made = bench.take("made", shape, dtype).copy_(single)
    change = bench.take("change", shape, single.dtype).copy_(made).sub_(single)
    rounding = Rounding(_squared_norm(single), _squared_norm(change))
    # a sum of squares keeps NaN and infinity; the change is infinite beyond the dtype's last number
    if not math.isfinite(rounding.squared_norm + rounding.squared_change):
        raise _not_finite(dtype)
    return made, rounding


def require_finite(tensor: torch.Tensor) -> None:
    """Raise InputError where a number is NaN or infinite."""
    if not is_finite(tensor):
        raise _not_finite()


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no number is NaN or infinite; in one pass, because NaN survives minimum and maximum.

    >>> is_finite(torch.tensor([1.0, float("nan")])), is_finite(torch.zeros(2, 2))
    (False, True)
    """
    low, high = torch.aminmax(tensor)
    return math.isfinite(low) and math.isfinite(high)


def norm_of(tensor: torch.Tensor) -> float:
    """The Frobenius norm in fp64, a piece at a time; infinite or NaN where a number is.

    >>> norm_of(torch.tensor([3.0, 4.0])), norm_of(torch.tensor([4e38]))
    (5.0, inf)
    """
    flat = tensor.reshape(-1)
    pieces = range(0, len(flat), _PIECE)
    return math.sqrt(
        math.fsum(float(flat[at : at + _PIECE].double().square().sum()) for at in pieces)
    )


def _not_finite(dtype: torch.dtype = torch.float32) -> InputError:
    return InputError(
        "Numbers are not finite, or exceed the dtype.",
        expected=f"finite numbers, of {str(dtype).removeprefix('torch.')} up to"
        f" {torch.finfo(dtype).max:.3g}",
    )


def _squared_norm(tensor: torch.Tensor) -> float:
    flat = tensor.reshape(-1)
    square = float(torch.dot(flat, flat))
    return square if math.isfinite(square) else float(flat.double().square().sum())
