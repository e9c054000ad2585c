"""Parts of a library on the disk: z as it is, its codes, its keys; written once, then mapped."""

from __future__ import annotations

import json
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog.stores.disk import flush, write_whole
from rpe_core.retrieval.compact_rows import CompactRows, Frame, encode, frame_of

Matrix = npt.NDArray[np.float64]
KEYS = ("representation_id", "adapter_id", "source", "dataset_version_id")
CURRENT = "current.json"
FORMAT = 1
_WEIGHT = np.uint64(0x9E3779B97F4A7C15)  # odd, so that a change of any coordinate changes the sum


class PartDamaged(Exception):
    """A file of a part is missing, truncated or not what was written: build it anew."""


@dataclass(frozen=True)
class LibraryPart:
    """Rows of LoRA-VecDB in the order of their table; on the disk under `name`, or in memory."""

    name: str
    keys: pa.Table
    z: Matrix
    checks: npt.NDArray[np.uint64]
    frame: Frame
    rows: CompactRows

    def __len__(self) -> int:
        return len(self.rows)

    def exact(self, rows: npt.NDArray[np.int64] | slice) -> Matrix:
        """The z of these rows, compared with the sums taken when they were written.

        Raises:
            PartDamaged: a coordinate was changed since.
        """
        z = np.asarray(self.z[rows])
        if not np.array_equal(row_sums(z), self.checks[rows]):
            raise PartDamaged
        return z


def row_sums(z: Matrix) -> npt.NDArray[np.uint64]:
    """A sum over the bits of each row, in which every coordinate has another odd factor."""
    bits = np.ascontiguousarray(z).view(np.uint64)
    return np.asarray(np.einsum("ij,j->i", bits, _factors(z.shape[1])))


@cache
def _factors(dimension: int) -> npt.NDArray[np.uint64]:
    return _WEIGHT * (np.uint64(2) * np.arange(dimension, dtype=np.uint64) + np.uint64(1))


def make_part(blocks: Iterable[tuple[pa.Table, Matrix]]) -> LibraryPart:
    """A part in memory from keys and z, block by block; there is at least one row."""
    keys, z = zip(*blocks, strict=True)
    whole = np.concatenate(z)
    frame = frame_of(whole)
    return LibraryPart(
        "", pa.concat_tables(keys), whole, row_sums(whole), frame, encode(whole, frame)
    )


def write_part(
    folder: Path, blocks: Iterable[tuple[pa.Table, Matrix]], *, n_rows: int, dimension: int
) -> str:
    """Write a part in bounded memory and return its name; it appears whole or not at all."""
    name = f"part-{uuid.uuid4().hex}"
    scratch = folder / f".{name}"
    scratch.mkdir(parents=True)
    try:
        _fill(scratch, blocks, n_rows=n_rows, dimension=dimension)
        scratch.replace(folder / name)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    flush(folder)
    return name


def _fill(
    part_folder: Path, blocks: Iterable[tuple[pa.Table, Matrix]], *, n_rows: int, dimension: int
) -> None:
    shape = (n_rows, dimension)
    z = np.lib.format.open_memmap(part_folder / "z.npy", mode="w+", dtype=np.float64, shape=shape)
    codes = np.lib.format.open_memmap(
        part_folder / "codes.npy", mode="w+", dtype=np.int8, shape=shape
    )
    facts = np.empty((3, n_rows), dtype=np.float32)
    checks = np.empty(n_rows, dtype=np.uint64)
    keys, start, frame = [], 0, None
    for block_keys, block in blocks:
        frame = frame or frame_of(block)
        stop = start + len(block)
        rows = encode(block, frame)
        z[start:stop], codes[start:stop] = block, rows.codes
        facts[:, start:stop] = rows.scales, rows.norms, rows.errors
        checks[start:stop] = row_sums(block)
        keys.append(block_keys)
        start = stop
    if start != n_rows or frame is None:
        raise PartDamaged
    z.flush()
    codes.flush()
    np.save(part_folder / "facts.npy", facts)
    np.save(part_folder / "checks.npy", checks)
    np.save(part_folder / "frame.npy", np.append(frame.center, frame.unit))
    with pa.OSFile(str(part_folder / "keys.arrow"), "wb") as sink:
        table = pa.concat_tables(keys).combine_chunks()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    sums = {
        file.name: _sum_of(file) for file in sorted(part_folder.iterdir()) if file.name != "z.npy"
    }
    (part_folder / "sums.json").write_text(json.dumps(sums, sort_keys=True))
    for file in part_folder.iterdir():
        flush(file)


def open_part(folder: Path, name: str) -> LibraryPart:
    """Map a part; every file but z is read through and held against its sum, z row by row later.

    Raises:
        PartDamaged: a file is missing or not what was written.
    """
    part_folder = folder / name
    try:
        sums = json.loads((part_folder / "sums.json").read_text())
        if any(_sum_of(part_folder / file) != value for file, value in sums.items()):
            raise PartDamaged
        # plain arrays over the mappings: memmap's own indexing costs more than what it reads
        z = np.asarray(np.load(part_folder / "z.npy", mmap_mode="r"))
        codes = np.asarray(np.load(part_folder / "codes.npy", mmap_mode="r"))
        facts, checks = np.load(part_folder / "facts.npy"), np.load(part_folder / "checks.npy")
        frame = np.load(part_folder / "frame.npy")
        with pa.memory_map(str(part_folder / "keys.arrow")) as source:
            keys = pa.ipc.open_file(source).read_all()
    except (OSError, ValueError, TypeError, AttributeError, pa.ArrowException):
        raise PartDamaged from None
    if not z.shape == codes.shape == (len(checks), len(frame) - 1) or len(keys) != len(checks):
        raise PartDamaged
    compact = CompactRows(codes, *facts)
    return LibraryPart(name, keys, z, checks, Frame(frame[:-1], float(frame[-1])), compact)


def blocks_of(
    parts: Sequence[LibraryPart], *, rows: int = 1 << 14
) -> Iterator[tuple[pa.Table, Matrix]]:
    """Keys and z of parts, block by block, each row held against its sum."""
    for part in parts:
        for start in range(0, len(part), rows):
            stop = min(start + rows, len(part))
            yield part.keys.slice(start, stop - start), part.exact(slice(start, stop))


def read_current(folder: Path) -> dict[str, Any]:
    """What stands in a folder: table, version and names of the parts; empty where nothing does."""
    try:
        current = json.loads((folder / CURRENT).read_text())
    except (OSError, ValueError):
        return {}
    is_known = isinstance(current, dict) and current.get("format") == FORMAT
    return current if is_known else {}


def write_current(folder: Path, *, table: str, version: int, parts: Sequence[str]) -> None:
    """Say which parts stand now, in one rename; a reader sees the old list or the new one."""
    text = json.dumps(
        {"format": FORMAT, "table": table, "version": version, "parts": list(parts)}, sort_keys=True
    )
    with write_whole(folder / CURRENT, is_contended=True) as part:
        part.write_text(text)


def remove_unnamed(folder: Path) -> None:
    """Remove what the current list does not name; the caller keeps writers away."""
    named = {CURRENT, *read_current(folder).get("parts", [])}
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.name not in named:
                with suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _sum_of(file: Path) -> int:
    total = 0
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            total = zlib.crc32(chunk, total)
    return total
