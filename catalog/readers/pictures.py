"""Pictures: PNG, JPEG and TIFF as they are shown, at the depth that they have."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from catalog.readers.cells import CellRefusedError
from catalog.readers.grid import Array
from catalog.readers.pixels import Picture, as_item, lies_aside, orient_pixels, require_size
from catalog.readers.silence import keep_libtiff_silent, keep_silent

KINDS = ("PNG", "TIFF", "JPEG")
PLAIN = ("L", "RGB", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes taken as they are
USUAL = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946)  # ways to compress a TIFF that any libtiff knows
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274  # a tag of TIFF and of EXIF
_SUBFILE, _COMPRESSION = 254, 259
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _SAMPLE_FORMAT = 258, 262, 277, 284, 339  # of TIFF
_RGB, _SEPARATE, _SIGNED = 2, 2, 2  # values of the second and the last two

keep_silent("PIL")
keep_libtiff_silent()


def decode_image(raw: bytes, *, as_labels: bool = False) -> Picture:
    """A PNG, JPEG or TIFF; each page of a TIFF is a slice, a palette becomes RGB, alpha is dropped.

    A picture is turned as its EXIF orientation says; of a JPEG that holds several pictures the
    first one is meant. As labels a palette's indices are the values, and 1-bit pixels 0 and 255.

    Raises:
        CellRefusedError: with the reason's code.
    """
    try:
        pages = list(_pillow_pages(raw, as_labels=as_labels))
    except (UnidentifiedImageError, _MisreadError):
        if not raw.startswith(_TIFF):
            raise
        from catalog.readers.tiffs import tiff_pages  # tifffile takes 0.1 s, and is needed rarely

        pages = list(tiff_pages(raw))
    if len({(page.shape, page.dtype.str) for page in pages}) != 1:
        raise CellRefusedError("mixed_slices")
    return Picture(as_item(np.stack(pages)))


class _MisreadError(Exception):
    """Pillow would make other numbers of a TIFF's samples than they are, without a word."""


def _pillow_pages(raw: bytes, *, as_labels: bool) -> Iterator[Array]:
    """The pages (height, width, channels) of a file as they are shown."""
    with _opened(raw) as page:
        n_pages = 1 if page.format == "MPO" else getattr(page, "n_frames", 1)
        if n_pages > 1 and page.format != "TIFF":
            raise CellRefusedError("several_frames")
        size, is_aside = page.size, lies_aside(_tag(page, _SUBFILE))
        require_size((n_pages, page.height, page.width, len(page.getbands())))
        for number in range(n_pages):
            page.seek(number)
            if lies_aside(_tag(page, _SUBFILE)) and not is_aside:
                continue
            if page.size != size:  # before it is decoded: Pillow bounds the first page alone
                raise CellRefusedError("mixed_slices")
            if page.format == "TIFF" and _is_misread(page):
                raise _MisreadError
            try:
                pixels = (
                    _deep_png(page, raw) if _is_deep(page) else _page(page, as_labels=as_labels)
                )
            except OSError:
                if page.format == "TIFF" and _tag(page, _COMPRESSION) not in USUAL:
                    raise CellRefusedError("unsupported_image") from None
                raise
            shown = pixels if page.format == "TIFF" else orient_pixels(pixels, _orientation(page))
            yield shown if shown.ndim == 3 else shown[:, :, None]


def _opened(raw: bytes) -> Any:
    try:
        return Image.open(io.BytesIO(raw), formats=KINDS)
    except Image.DecompressionBombError:
        raise CellRefusedError("too_large") from None


def _is_misread(page: Any) -> bool:
    bits, is_signed = _tag(page, _BITS), _tag(page, _SAMPLE_FORMAT) == _SIGNED
    is_cut = len(page.getbands()) > 1 and bits > 8
    is_swapped = page.mode in ("I", "F") and page.tag_v2.prefix == b"MM"  # where it is compressed
    has_wrong_sign = page.mode == ("L" if is_signed else "I")
    is_in_planes = _tag(page, _PLANAR) == _SEPARATE and bits > 8  # taken for bytes
    is_grey_and_more = _tag(page, _PHOTOMETRIC) < _RGB and _tag(page, _SAMPLES) > 1  # one is left
    return is_cut or is_swapped or has_wrong_sign or is_in_planes or is_grey_and_more


def _page(page: Any, *, as_labels: bool) -> Array:
    page.load()  # which turns a TIFF: numpy would ask for the size before that
    if page.mode in PLAIN or (page.mode == "P" and as_labels):
        return np.asarray(page)
    return np.asarray(page.convert("L" if page.mode in ("1", "LA", "La") else "RGB"))


def _is_deep(page: Any) -> bool:
    """Whether a PNG has channels of 16 bits, for which Pillow has no mode of several channels."""
    return page.format == "PNG" and len(page.getbands()) > 1 and ";16" in page.tile[0].args


def _deep_png(page: Any, raw: bytes) -> Array:
    """The colours of a PNG of 16 bits a channel, without alpha.

    Pillow keeps the byte of a channel that its raw mode calls the high one. In the other order of
    bytes that is the low one; and grey with alpha has four bytes a pixel, as RGBA has.
    """
    rawmode = page.tile[0].args
    if rawmode == "LA;16B":
        page.tile = [tile._replace(args="RGBA") for tile in page.tile]
        high, low = np.asarray(page)[..., 0], np.asarray(page)[..., 1]
    else:
        with _opened(raw) as twin:
            twin.tile = [tile._replace(args=rawmode[:-1] + "L") for tile in twin.tile]
            high, low = np.asarray(page)[..., :3], np.asarray(twin)[..., :3]
    deep: Array = high.astype(np.uint16) << 8 | low
    return deep


def _tag(page: Any, tag: int) -> int:
    """The largest value of a tag of a TIFF, 0 where there is none."""
    value = page.tag_v2.get(tag, 0) if page.format == "TIFF" else 0
    return max(value) if isinstance(value, tuple) else int(value)


def _orientation(page: Any) -> int:
    """What EXIF says of how a picture is held, as Pillow finds it; broken EXIF says nothing."""
    try:
        return int(page.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow's parsers raise anything over broken EXIF, and the pixels are sound
        return 1
