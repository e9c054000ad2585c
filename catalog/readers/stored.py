"""The values of one DICOM image: decompressed, brought into order, as its modality meant them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array

from catalog.readers.cells import CellRefusedError
from catalog.readers.grid import Array
from catalog.readers.silence import without_stderr

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# What only the extra `dicom` decodes: transfer syntax -> reason
SYNTAXES: Mapping[str, str] = {
    f"1.2.840.10008.1.2.4.{end}": reason
    for reason, ends in {
        "jpeg_lossless": (57, 70),
        "jpeg_ls": (80, 81),
        "jpeg_2000": (90, 91),
    }.items()
    for end in ends
}
_LOUD = frozenset(("gdcm", "pylibjpeg"))  # write to stderr what a damaged stream begins with
# Of an enhanced image the same is said in functional groups: sequence -> elements of its item
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
}


def with_frame(header: Any) -> Any:
    """The header of an image of one frame, with what an enhanced one says in its groups."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (header.get(groups) or [])[:1]:
            for sequence, keywords in _GROUPS.items():
                for item in (group.get(sequence) or [])[:1]:
                    for keyword in keywords:
                        if keyword in item and keyword not in header:
                            setattr(header, keyword, item.get(keyword))
    return header


def stored_values(header: Any) -> Array:
    """Values (rows, columns, channels) by modality table or slope, with the bright end up.

    Raises:
        CellRefusedError: pixels that nothing here decompresses, values that the header leaves open.
    """
    pixels = _decompressed(header)
    kind = header.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
    if header.get("ModalityLUTSequence"):
        pixels, top = _looked_up(header, pixels)
        pixels = top - pixels if kind == "MONOCHROME1" else pixels
    else:
        if kind == "MONOCHROME1":
            top = (1 << int(header.BitsStored)) - 1
            pixels = -1 - pixels if int(header.PixelRepresentation) else top - pixels
        pixels = _rescaled(header, pixels)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _decompressed(header: Any) -> Array:
    allocated, stored = (int(header.get(k) or 0) for k in ("BitsAllocated", "BitsStored"))
    if 0 < stored < allocated and int(header.get("HighBit") or stored - 1) != stored - 1:
        raise CellRefusedError("odd_values")  # pydicom takes the lowest bits, whichever are meant
    syntax = header.file_meta.TransferSyntaxUID
    plugins = set(get_decoder(syntax).available_plugins) if syntax in SYNTAXES else set()
    try:
        with without_stderr() if plugins & _LOUD else nullcontext():
            pixels: Array = pixel_array(header)
    except (NotImplementedError, RuntimeError):
        is_extra_missing = syntax in SYNTAXES and not plugins - {"pillow"}
        reason = SYNTAXES[syntax] if is_extra_missing else "compressed_pixels"
        raise CellRefusedError(reason) from None
    return pixels


def _looked_up(header: Any, pixels: Array) -> tuple[Array, int]:
    """The entries of the modality table, and the largest that one may be."""
    table = header.ModalityLUTSequence[0]
    n_entries, first, depth = (int(number) for number in table.LUTDescriptor)
    if not 0 < depth <= 16:
        raise CellRefusedError("odd_values")
    table.LUTDescriptor = [n_entries, first, 8 if depth <= 8 else 16]  # pydicom has these two
    try:  # in wide numbers: 16 bits do not hold the distance between two of 16 bits
        looked_up: Array = apply_modality_lut(pixels.astype(np.int64), header)
    except Exception:
        raise CellRefusedError("odd_values") from None
    return looked_up, (1 << depth) - 1


def _rescaled(header: Any, pixels: Array) -> Array:
    slope, intercept = (
        default if header.get(keyword) in (None, "") else float(header.get(keyword))
        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope == 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        raise CellRefusedError("odd_values")
    if (slope, intercept) == (1.0, 0.0):
        return pixels
    scaled = pixels * slope + intercept
    is_short = slope.is_integer() and intercept.is_integer() and np.abs(scaled).max() < 2**15
    rescaled: Array = scaled.astype(np.int16 if is_short else np.float32)
    return rescaled
