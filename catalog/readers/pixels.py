"""Pixels of a single file: PNG, TIFF, JPEG and NPZ into an item, bounded before it is allocated."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence

from catalog.readers.cells import CellRefusedError

MAX_ELEMENTS = 1 << 28  # of an item: slices x height x width x channels
KINDS = ("PNG", "TIFF", "JPEG")
STANDARD = (np.uint8, np.uint16, np.int16, np.float32)
PLAIN = ("L", "RGB", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes taken as they are

Array = npt.NDArray[Any]
Inspect = Callable[[Any], set[str]]  # a header in, the rules that it breaks out
Spacing = tuple[float | None, float | None, float | None]  # mm: between slices, rows, columns


@dataclass(frozen=True)
class Picture:
    """An item as its file holds it: pixels (slices, height, width, channels) and what is told."""

    pixels: Array = field(repr=False)
    spacing: Spacing = (None, None, None)
    header: dict[str, str] = field(default_factory=dict, repr=False)  # facts of a DICOM header
    findings: frozenset[str] = frozenset()  # rules of the header gate


def decode_image(raw: bytes, *, as_labels: bool = False) -> Picture:
    """A PNG, JPEG or TIFF; each page is a slice, a palette becomes RGB, alpha is dropped.

    As labels a palette's indices are the pixel values, and 1-bit pixels are 0 and 255.

    Raises:
        CellRefusedError: with the reason's code.
    """
    with _opened(raw) as opened:
        n_pages = getattr(opened, "n_frames", 1)
        require_size((n_pages, opened.height, opened.width, len(opened.getbands())))
        size = opened.size
        pages = []
        for page in ImageSequence.Iterator(opened):
            if page.size != size:  # before it is decoded: Pillow bounds the first page alone
                raise CellRefusedError("mixed_slices")
            pages.append(_page(page, as_labels=as_labels))
    if len({(page.shape, page.dtype.str) for page in pages}) != 1:
        raise CellRefusedError("mixed_slices")
    return Picture(as_item(np.stack(pages)))


def _opened(raw: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(raw), formats=KINDS)
    except Image.DecompressionBombError:
        raise CellRefusedError("too_large") from None


def _page(page: Image.Image, *, as_labels: bool) -> Array:
    mode = page.mode
    if mode in PLAIN or (mode == "P" and as_labels):
        pixels = np.asarray(page)
    elif mode in ("1", "LA", "La"):
        pixels = np.asarray(page.convert("L"))
    else:
        pixels = np.asarray(page.convert("RGB"))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def decode_npz(raw: bytes, *, name: str = "image") -> Picture:
    """The array of an NPZ: (h, w), (h, w, 1 or 3), (s, h, w) or (s, h, w, c); `spacing` in mm."""
    array = npz_array(raw, name)
    if array is None:
        raise CellRefusedError("no_array")
    if array.ndim == 2:
        array = array[None, :, :, None]
    elif array.ndim == 3:
        array = array[None] if array.shape[2] in (1, 3) else array[..., None]
    told = npz_array(raw, "spacing")
    if told is None:
        return Picture(as_item(array))
    if told.shape != (3,) or not np.all(np.isfinite(told) & (told > 0)):
        raise CellRefusedError("odd_geometry")
    return Picture(as_item(array), (float(told[0]), float(told[1]), float(told[2])))


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
            if kind.hasobject or kind.kind not in "biuf":
                raise CellRefusedError("unreadable_image")
            require_size(shape)
        with archive.open(f"{name}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)


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
        CellRefusedError: other axes or channels, NaN or infinity.
    """
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
