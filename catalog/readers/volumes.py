"""Volumes in one orientation: NIfTI, and the turn that DICOM takes too.

Axes are slices from the feet to the head, rows from the front to the back, columns from the
patient's right to the left: an axial slice lies as a radiologist sees it.
"""

from __future__ import annotations

import gzip
import io
import math

import nibabel as nib
import numpy as np
from nibabel import orientations

from catalog.readers.cells import CellRefusedError
from catalog.readers.pixels import MAX_ELEMENTS, Array, Picture, as_item, require_size

MAX_PLAIN_BYTES = 8 * MAX_ELEMENTS  # of a decompressed file
_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_AXES = ("L", "P", "S")
_PIECE = 1 << 22  # bytes: asked for all at once, Python would make room for the limit
_NIFTI_2 = 540  # first four bytes of its header, in either order of bytes


def decode_nifti(raw: bytes) -> Picture:
    """A NIfTI-1 or -2 file in one part, gzipped or not, turned to the closest axes above.

    Raises:
        CellRefusedError: more than three axes, no orientation, NaN or infinity.
    """
    plain = _decompressed(raw)
    sizes = {int.from_bytes(plain[:4], order) for order in ("little", "big")}
    kind = nib.Nifti2Image if _NIFTI_2 in sizes else nib.Nifti1Image
    image = kind.from_bytes(plain)
    shape = image.shape
    if any(length != 1 for length in shape[3:]) or len(shape) < 2:
        raise CellRefusedError("odd_axes")
    require_size(shape)
    stored = image.dataobj
    if stored.offset + math.prod(shape) * stored.dtype.itemsize > len(plain):
        raise ValueError  # cut off; nibabel would make room for what the header claims first
    scaled = stored if (stored.slope, stored.inter) != (1, 0) else stored.get_unscaled()
    voxels = np.asarray(scaled).reshape((*shape[:3], 1)[:3])
    pixels, spacing = turned(voxels, np.asarray(image.affine, dtype=np.float64))
    unit = _MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    in_mm = (spacing[0] * unit, spacing[1] * unit, spacing[2] * unit)
    return Picture(as_item(pixels[..., None]), in_mm)


def turned(voxels: Array, affine: Array) -> tuple[Array, tuple[float, float, float]]:
    """Voxels (i, j, k, ...) with their 4 x 4 affine to RAS millimetres, as slices, rows, columns.

    The second value is the spacing of these three axes.

    Raises:
        CellRefusedError: the affine does not tell where an axis points.
    """
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (sizes > 0).all():
        raise CellRefusedError("odd_geometry")
    found = orientations.io_orientation(affine)
    if np.isnan(found).any():
        raise CellRefusedError("odd_geometry")
    turn = orientations.ornt_transform(found, orientations.axcodes2ornt(_AXES))
    lies = orientations.apply_orientation(voxels, turn)
    column, row, one = (float(sizes[list(found[:, 0]).index(axis)]) for axis in range(3))
    return lies.transpose(2, 1, 0, *range(3, lies.ndim)), (one, row, column)


def _decompressed(raw: bytes) -> bytes:
    if raw[:2] != b"\x1f\x8b":
        return raw
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
        plain = bytearray()
        while len(plain) <= MAX_PLAIN_BYTES and (piece := stream.read(_PIECE)):
            plain += piece
    if len(plain) > MAX_PLAIN_BYTES:
        raise CellRefusedError("too_large")
    return bytes(plain)
