"""TIFF files of samples that Pillow does not know, or would cut or turn into others."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from tifffile import TiffFile

from catalog.readers.cells import CellRefusedError
from catalog.readers.grid import Array
from catalog.readers.pixels import lies_aside, orient_pixels, require_size
from catalog.readers.silence import keep_silent

# Values of tags: Compression, PhotometricInterpretation, Predictor, ExtraSamples
NONE, LZW, DEFLATE, PACKBITS, ZSTD = (1,), 5, (8, 32946), 32773, 50000
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
NO_PREDICTOR, DIFFERENCES, OF_FLOATS = 1, 2, 3
PREMULTIPLIED, ALPHA = 1, 2
_ORIENTATION = 274
_ENTRY, _LONG = "<HHII", 4

keep_silent("tifffile")


def tiff_pages(raw: bytes) -> Iterator[Array]:
    """The pages (height, width, channels) of a TIFF whose samples are whole bytes.

    Of RGB and of grey with alpha what follows the colours is dropped.

    Raises:
        CellRefusedError: another compression, or samples that are no colours.
    """
    with TiffFile(io.BytesIO(raw)) as file:
        pages: Any = file.pages
        is_aside = lies_aside(pages[0].subfiletype)
        for number, page in enumerate(pages, start=1):
            if lies_aside(page.subfiletype) and not is_aside:
                continue
            require_size((number, page.imagelength, page.imagewidth, page.samplesperpixel))
            yield _page(page, raw)


def _page(page: Any, raw: bytes) -> Array:
    is_known = page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) and page.imagedepth == 1
    is_whole = page.dtype is not None and page.bitspersample == page.dtype.itemsize * 8
    is_float = page.dtype is not None and page.dtype.kind == "f"
    predictors = (NO_PREDICTOR, OF_FLOATS) if is_float else (NO_PREDICTOR, DIFFERENCES)
    is_packed_well = page.predictor in predictors and page.fillorder == 1
    if not (is_known and is_whole and is_packed_well):
        raise CellRefusedError("unsupported_image")
    n_colours = _colours(page)
    planes = _planes(page, raw)[:, 0]  # plane, height, width, sample
    pixels = np.moveaxis(planes, 0, -1).reshape(*planes.shape[1:3], -1)
    if PREMULTIPLIED in page.extrasamples:
        pixels = _divided(pixels[..., :n_colours], pixels[..., n_colours:][..., :1])
    return orient_pixels(pixels[..., :n_colours], _orientation(page))


def _divided(colours: Array, alpha: Array) -> Array:
    """Colours that were stored times their alpha, where 1 is the largest number."""
    if colours.dtype.kind != "u":
        raise CellRefusedError("unsupported_image")
    top = np.iinfo(colours.dtype).max
    divided = np.round(colours * (top / np.maximum(alpha, 1).astype(np.float64)))
    return np.minimum(divided, top).astype(colours.dtype)


def _colours(page: Any) -> int:
    """How many samples are colours; alpha is none, nor is what RGB has beside its colours."""
    n_colours = 3 if page.photometric == RGB else 1
    is_grey_alone = page.samplesperpixel == 1 or page.extrasamples in ((ALPHA,), (PREMULTIPLIED,))
    if page.samplesperpixel < n_colours or (n_colours == 1 and not is_grey_alone):
        raise CellRefusedError("odd_axes")
    return n_colours


def _planes(page: Any, raw: bytes) -> Array:
    """All samples (plane, depth, height, width, sample); tifffile places, nothing is made up.

    Bytes are taken out here: tifffile would fill what is missing, and inflate without a bound.
    """
    compression, page.compression = int(page.compression), 1
    is_shuffled = page.predictor == OF_FLOATS  # which tifffile undoes with imagecodecs only
    page.predictor = NO_PREDICTOR if is_shuffled else page.predictor
    filled: Array = np.empty(page.shaped, page.dtype.newbyteorder("="))
    places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(places) != _n_segments(page):
        raise CellRefusedError("unreadable_image")
    for index, (start, length) in enumerate(places):
        rows, row_bytes = _size(page, index)
        plain = _plain(raw[start : start + length], compression, rows=rows, row_bytes=row_bytes)
        if len(plain) < rows * row_bytes:
            raise CellRefusedError("unreadable_image")
        plain = plain[: rows * row_bytes]
        if is_shuffled:
            plain = _unshuffled(page, np.frombuffer(plain, np.uint8).reshape(rows, -1))
        piece, (plane, _, row, column, _), _ = page.decode(plain, index)
        room = filled[plane, 0, row:, column:][: piece.shape[1], : piece.shape[2]]
        room[:] = piece[0, : room.shape[0], : room.shape[1]]
    return filled


def _unshuffled(page: Any, rows: Array) -> bytes:
    """Rows of floats whose first bytes come first, and each as its difference to the last one."""
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    size = page.dtype.itemsize
    stored = np.cumsum(rows.reshape(len(rows), -1, samples), axis=1, dtype=np.uint8)
    floats = np.ascontiguousarray(stored.reshape(len(rows), size, -1).transpose(0, 2, 1))
    order: str = page.parent.byteorder
    return floats.view(f">f{size}").astype(f"{order}f{size}").tobytes()


def _n_segments(page: Any) -> int:
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    if page.is_tiled:
        across = -(-page.imagewidth // page.tilewidth)
        return int(planes * across * -(-page.imagelength // page.tilelength))
    return int(planes * -(-page.imagelength // page.rowsperstrip))


def _size(page: Any, index: int) -> tuple[int, int]:
    """How many rows a strip or tile has, and the bytes of each."""
    samples = (1 if page.planarconfig == 2 else page.samplesperpixel) * page.dtype.itemsize
    if page.is_tiled:
        return page.tilelength, page.tilewidth * samples
    strips = -(-page.imagelength // page.rowsperstrip)
    first = index % strips * page.rowsperstrip
    return min(page.rowsperstrip, page.imagelength - first), page.imagewidth * samples


def _plain(stored: bytes, compression: int, *, rows: int, row_bytes: int) -> bytes:
    require_size((rows, row_bytes, 1))
    if compression in NONE:
        return stored
    if compression in DEFLATE:
        return zlib.decompressobj().decompress(stored, rows * row_bytes)
    if compression in (LZW, PACKBITS, ZSTD):
        return _through_libtiff(stored, compression, rows=rows, row_bytes=row_bytes)
    raise CellRefusedError("unsupported_image")


def _through_libtiff(stored: bytes, compression: int, *, rows: int, row_bytes: int) -> bytes:
    """Decompress by libtiff, as the one strip of a grey picture of bytes."""
    tags = {256: row_bytes, 257: rows, 258: 8, 259: compression, 262: BLACK_IS_ZERO}
    tags |= {273: 0, 277: 1, 278: rows, 279: len(stored)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # the strip follows header, count, entries and 0
    entries = b"".join(struct.pack(_ENTRY, tag, _LONG, 1, n) for tag, n in sorted(tags.items()))
    made = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + stored
    with Image.open(io.BytesIO(made), formats=["TIFF"]) as picture:
        return picture.tobytes()


def _orientation(page: Any) -> int:
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag else 1
