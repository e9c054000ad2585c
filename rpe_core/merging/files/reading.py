"""safetensors files as they are read: a checked header and mapped tensors. Touches files."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rpe_core.errors import InputError, shown_name
from rpe_core.regular_files import NotRegularFile, open_regular

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
MAX_HEADER_BYTES = 16 << 20
_SIZES = {
    **{name: dtype.itemsize for name, dtype in DTYPES.items()},
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16"), 2),
    **dict.fromkeys(("U32", "I32"), 4),
    **dict.fromkeys(("U64", "I64"), 8),
}
_PIECE = 8 << 20  # bytes that are hashed before their pages are given back


@dataclass(frozen=True)
class TensorSpec:
    """A tensor in a file: dtype by safetensors' name, shape, first byte and byte after the last."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class TensorFile:
    """A safetensors file, mapped: a number is read when it is used, and its page given back after.

    Raises:
        InputError: the file is missing, oversized, truncated or corrupt; `what` names it.
    """

    def __init__(self, path: Path, *, what: str) -> None:
        try:
            with open_regular(path) as file:
                # private and writable, because torch wants memory that it may write; nobody does
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            self.data_start, self.specs = _read_header(self._map)
        except NotRegularFile as error:
            raise InputError(
                f"{what} is {error.kind}.", where=str(path.parent), expected="a regular file"
            ) from None
        except (OSError, ValueError, LookupError, TypeError, RecursionError, AttributeError):
            raise InputError(
                f"{what} is no readable safetensors file.",
                where=str(path.parent),
                expected=f"a whole file with a header of at most {MAX_HEADER_BYTES >> 20} MiB",
                remedy="fetch or export it again",
            ) from None
        self.path, self.size = path, len(self._map)

    def read(self, name: str) -> torch.Tensor:
        """A floating-point tensor as a view of the mapping; it must not be written to."""
        spec = self.specs[name]
        dtype = DTYPES[spec.dtype]
        count = math.prod(spec.shape)
        if not count:
            return torch.empty(spec.shape, dtype=dtype)
        return torch.frombuffer(
            self._map, dtype=dtype, count=count, offset=self.data_start + spec.start
        ).view(spec.shape)

    def check_floating(self, names: Iterable[str]) -> None:
        """Raise InputError unless these tensors hold floating-point numbers that we can add."""
        for name in names:
            if self.specs[name].dtype not in DTYPES:
                raise InputError(
                    f"The tensor {shown_name(name)} holds no floating-point numbers to add up.",
                    where=str(self.path.parent),
                    expected=", ".join(DTYPES),
                )

    def bytes_between(self, start: int, end: int) -> memoryview:
        """Bytes of the file, mapped."""
        return memoryview(self._map)[start:end]

    def release(self, name: str, of: tuple[int, int] | None = None) -> None:
        """Give back the memory of a tensor, or of a range of its numbers; it can be read again."""
        spec = self.specs[name]
        start, end = of or (0, math.prod(spec.shape))
        size, first = _SIZES[spec.dtype], self.data_start + spec.start
        self.release_between(first + start * size, first + end * size)

    def release_between(self, start: int, end: int) -> None:
        """Give back the memory of these bytes and of what shares their pages."""
        first = start - start % mmap.PAGESIZE
        if end > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, end - first)

    def sha256(self) -> str:
        """The hash of the whole file."""
        digest = hashlib.sha256()
        for start in range(0, self.size, _PIECE):
            end = min(start + _PIECE, self.size)
            digest.update(self.bytes_between(start, end))
            self.release_between(start, end)
        return digest.hexdigest()


def _read_header(file: mmap.mmap) -> tuple[int, dict[str, TensorSpec]]:
    """Where the data start, and each tensor; ValueError unless they fill the file without a gap."""
    length = int.from_bytes(file[:8], "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(file) - 8):
        raise ValueError
    header = json.loads(file[8 : 8 + length], object_pairs_hook=_without_repeats)
    header.pop("__metadata__", None)
    specs = {name: _tensor_spec(entry) for name, entry in header.items()}
    at = 0
    for spec in sorted(specs.values(), key=lambda spec: (spec.start, spec.end)):
        if spec.start != at or spec.end - at != math.prod(spec.shape) * _SIZES[spec.dtype]:
            raise ValueError
        at = spec.end
    if 8 + length + at != len(file):
        raise ValueError
    return 8 + length, specs


def _tensor_spec(entry: dict[str, Any]) -> TensorSpec:
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError
    return TensorSpec(entry["dtype"], tuple(shape), start, end)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError
    return entries
