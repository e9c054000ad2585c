"""An item as arrays: pixels, where they lie, NPZ; bounded before anything is allocated."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catalog.readers.cells import CellRefusedError
from catalog.readers.grid import Array, Grid, Spacing

MAX_ELEMENTS = 1 << 28  # of an item: slices x height x width x channels
REAL = "biuf"  # kinds of numbers
STANDARD = (np.uint8, np.uint16, np.int16, np.float32)

Inspect = Callable[[Any], set[str]]  # a header in, the rules that it breaks out


@dataclass(frozen=True)
class Picture:
    """An item as its file holds it: pixels (slices, height, width, channels) and what is told."""

    pixels: Array = field(repr=False)
    spacing: Spacing = (None, None, None)
    affine: Array | None = field(default=None, repr=False)  # slice, row, column -> mm to RAS
    header: dict[str, str] = field(default_factory=dict, repr=False)  # facts of a DICOM header
    findings: frozenset[str] = frozenset()  # rules of the header gate

    @property
    def grid(self) -> Grid:
        """Where its pixels lie."""
        return Grid(self.pixels.shape[:3], self.spacing, self.affine)


def decode_npz(raw: bytes, *, name: str = "image") -> Picture:
    """The array of an NPZ: (h, w), (h, w, 1 or 3), (s, h, w) or (s, h, w, c); `spacing` in mm."""
    array = npz_array(raw, name)
    if array is None:
        raise CellRefusedError("no_array")
    if array.ndim == 2:
        array = array[None, :, :, None]
    elif array.ndim == 3:
        array = array[None] if array.shape[2] in (1, 3) else array[..., None]
    spacing = npz_array(raw, "spacing")
    if spacing is None:
        return Picture(as_item(array))
    if spacing.shape != (3,) or not np.all(np.isfinite(spacing) & (spacing > 0)):
        raise CellRefusedError("odd_geometry")
    return Picture(as_item(array), (float(spacing[0]), float(spacing[1]), float(spacing[2])))


def npz_array(raw: bytes, name: str) -> Array | None:
    """An array of an NPZ, or None; its header is held against the bounds before it is read."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        if f"{name}.npy" not in archive.namelist():
            return None
        with archive.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, kind = read(member)
            if kind.hasobject or kind.kind not in REAL:
                raise CellRefusedError("unreadable_image")
            require_size(shape)
        with archive.open(f"{name}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)


def orient_pixels(pixels: Array, orientation: int) -> Array:
    """The pixels as they are shown, from how the orientation tag says that they are stored.

    >>> orient_pixels(np.array([[1, 2, 3]]), 6).tolist()
    [[1], [2], [3]]
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def lies_aside(subfile: int) -> bool:
    """Whether a page of a TIFF is no slice: another one at less resolution, or its mask."""
    return bool(subfile & (1 | 4))


def require_size(shape: Iterable[int]) -> None:
    """Refuse what is empty or has more elements than any item may have."""
    n = 1
    for length in shape:
        n *= int(length)
    if n <= 0:
        raise CellRefusedError("empty_image")
    if n > MAX_ELEMENTS:
        raise CellRefusedError("too_large")


def as_item(array: Array) -> Array:
    """The array as an item: four axes, one or three channels, one of the standard types.

    Raises:
        CellRefusedError: other axes or channels, numbers that are no real ones, NaN or infinity.
    """
    if array.dtype.kind not in REAL:
        raise CellRefusedError("unsupported_image")
    if array.ndim != 4 or array.shape[3] not in (1, 3):
        raise CellRefusedError("odd_axes")
    require_size(array.shape)
    if array.dtype.kind == "f":
        item = array.astype(np.float32)
        if not np.isfinite(item).all():
            raise CellRefusedError("not_finite")
        return item
    return np.ascontiguousarray(array.astype(_integer_type(array)))


def _integer_type(array: Array) -> Any:
    plain = array.dtype.newbyteorder("=")
    if plain in STANDARD:
        return plain
    if array.dtype.kind == "b":
        return np.uint8
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high <= np.iinfo(np.uint16).max:
        return np.uint16
    is_short = low >= np.iinfo(np.int16).min and high <= np.iinfo(np.int16).max
    return np.int16 if is_short else np.float32
