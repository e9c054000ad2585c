"""safetensors files as they are written, front to back; and folders that appear whole. Files."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from rpe_core.errors import InputError, WriteFailed, shown_name
from rpe_core.merging.files.reading import TensorFile
from rpe_core.merging.rounding import is_finite

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


class TensorWriter:
    """A safetensors file in the making: until `finish` it begins with zeros, and none can read it.

    Every tensor has its place from the start, so that threads may write at the same time.
    """

    def __init__(
        self, path: Path, shapes: Mapping[str, tuple[int, ...]], *, dtype: torch.dtype
    ) -> None:
        self.dtype, self._places = dtype, {}
        entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        at = 0
        for name, shape in shapes.items():
            end = at + math.prod(shape) * dtype.itemsize
            entries[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [at, end]}
            self._places[name], at = at, end
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        self._header = len(text).to_bytes(8, "little") + text
        self._file: IO[bytes] = path.open("wb")
        reserve(self._file.fileno(), len(self._header) + at)

    def write(self, name: str, start: int, piece: torch.Tensor) -> None:
        """Write numbers of a tensor, the first of them at this place of the flattened tensor."""
        at = len(self._header) + self._places[name] + start * self.dtype.itemsize
        write_at(self._file.fileno(), bytes_of(piece), at)

    def finish(self) -> None:
        """Put the header in place and wait until the file is on the disk."""
        write_at(self._file.fileno(), memoryview(self._header), 0)
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        """Let go of the file, finished or not."""
        self._file.close()


def write_tensors(file: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write tensors in fp32 and the order of their names; the sha256 of the file.

    Raises:
        InputError: one of them holds NaN, infinity or more than fp32 can hold.
    """
    made = {name: tensors[name].detach().cpu().float().contiguous() for name in sorted(tensors)}
    for name, tensor in made.items():
        if not is_finite(tensor):
            what = "A tensor holds NaN, infinity or more than fp32 can hold."
            raise InputError(what, where=f"tensor {shown_name(name)}")
    writer = TensorWriter(
        file, {name: tuple(t.shape) for name, t in made.items()}, dtype=torch.float32
    )
    try:
        for name, tensor in made.items():
            writer.write(name, 0, tensor)
        writer.finish()
    finally:
        writer.close()
    return TensorFile(file, what="The adapter written").sha256()


def reserve(file: int, size: int) -> None:
    """Give an open file its size and its place: a full disk is known before the arithmetic."""
    os.posix_fallocate(file, 0, size)


def write_at(file: int, data: memoryview, at: int) -> None:
    """Write all of the bytes at a place of an open file, and let the disk begin with them."""
    while data:
        count = os.pwrite(file, data, at)
        # Linux starts to write what is asked to be dropped: the fsync at the end waits for less
        os.posix_fadvise(file, at, count, os.POSIX_FADV_DONTNEED)
        data, at = data[count:], at + count


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor as a file holds them."""
    flat: memoryview = tensor.reshape(-1).view(torch.uint8).numpy().data
    return flat


def check_place(folder: Path) -> None:
    """Raise InputError where something stands already."""
    if folder.is_symlink() or (folder.exists() and not _is_empty_folder(folder)):
        raise InputError(
            "The place of the merge is taken.", where=str(folder), remedy="choose a new folder"
        )


@contextmanager
def write_folder_whole(folder: Path) -> Iterator[Path]:
    """A folder beside the place, renamed to it at the end: nobody ever sees half of it.

    Raises:
        InputError: the place is taken.
        WriteFailed: something cannot be written; nothing is left behind.
    """
    check_place(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            part = Path(scratch) / "part"
            part.mkdir()
            yield part
            part.replace(folder)
    except OSError:
        raise WriteFailed(
            "The merge could not be written.",
            where=str(folder),
            remedy="check that the parent folder exists, its permissions and the free space",
        ) from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write sorted JSON and wait until it is on the disk."""
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n"
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _is_empty_folder(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
