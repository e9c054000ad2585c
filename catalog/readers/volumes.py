"""Volumes in one orientation: NIfTI, and the turn that DICOM takes too.

Axes are slices from the feet to the head, rows from the front to the back, columns from the
patient's right to the left: an axial slice lies as a radiologist sees it. A sagittal or coronal
slice that is alone is one slice, its rows from the head to the feet.
"""

from __future__ import annotations

import gzip
import io
import math
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations

from catalog.readers.cells import CellRefusedError
from catalog.readers.grid import Array, Spacing
from catalog.readers.pixels import MAX_ELEMENTS, Picture, as_item, require_size
from catalog.readers.silence import keep_silent

MAX_PLAIN_BYTES = 8 * MAX_ELEMENTS  # of a decompressed file
SHEAR_TOLERANCE = 0.05  # cosine between two axes, which are at right angles where it is 0
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # by code: metre, mm, micron; any other is mm
_AXES = ("L", "P", "S")
_COLOURS = ("R", "G", "B")  # fields of a voxel of RGB24 and RGBA32
_PIECE = 1 << 22  # bytes: asked for all at once, Python would make room for the limit
_NIFTI_2 = 540  # first four bytes of its header, in either order of bytes

keep_silent("nibabel")


def decode_nifti(raw: bytes) -> Picture:
    """A NIfTI-1 or -2 file in one part, gzipped or not, turned to the closest axes above.

    Its place is what nibabel takes for it: the sform where its code is set, then the qform.

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
    stored = image.dataobj
    require_size((*shape, len(stored.dtype.names or ("one",))))
    if stored.offset + math.prod(shape) * stored.dtype.itemsize > len(plain):
        raise ValueError  # cut off; nibabel would make room for what the header claims first
    affine = np.asarray(image.affine, dtype=np.float64)
    affine[:3] *= _MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
    pixels, spacing, to_world = orient_volume(_voxels(stored, (*shape[:3], 1)[:3]), affine)
    return Picture(as_item(pixels), spacing, to_world)


def _voxels(stored: Any, shape: tuple[int, ...]) -> Array:
    """Values (i, j, k, channel), scaled; the colours of a voxel are channels, alpha is dropped."""
    if stored.dtype.names:
        fields = stored.get_unscaled()
        if not set(_COLOURS) <= set(stored.dtype.names):
            raise CellRefusedError("odd_axes")
        return np.stack([fields[name].reshape(shape) for name in _COLOURS], axis=-1)
    scaled = stored if (stored.slope, stored.inter) != (1, 0) else stored.get_unscaled()
    return np.asarray(scaled).reshape((*shape, 1))


def orient_volume(voxels: Array, affine: Array) -> tuple[Array, Spacing, Array]:
    """Voxels (i, j, k, ...) with their 4 x 4 affine to RAS millimetres, as slices, rows, columns.

    The second value is the spacing of these three axes, the third their affine.

    Raises:
        CellRefusedError: the affine does not tell where an axis points.
    """
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (sizes > 0).all():
        raise CellRefusedError("odd_geometry")
    directions = affine[:3, :3] / sizes
    if np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE:
        raise CellRefusedError("odd_geometry")
    orientation = orientations.io_orientation(affine)
    turn = orientations.ornt_transform(orientation, orientations.axcodes2ornt(_AXES))
    lies = orientations.apply_orientation(voxels, turn)
    to_world = affine @ orientations.inv_ornt_aff(turn, voxels.shape[:3])
    order, head_first = _order(lies.shape[:3])
    if head_first:
        lies = lies[:, :, ::-1]
        to_world = to_world @ orientations.inv_ornt_aff([[0, 1], [1, 1], [2, -1]], lies.shape[:3])
    sizes = np.linalg.norm(to_world[:3, :3], axis=0)
    slices, row, column = (float(sizes[axis]) for axis in order)
    pixels = lies.transpose(*order, *range(3, lies.ndim))
    return pixels, (slices, row, column), to_world[:, [*order, 3]]


def _order(shape: tuple[int, ...]) -> tuple[tuple[int, int, int], bool]:
    """Which of the axes L, P, S are slices, rows, columns; whether S runs from the head down."""
    left, back, head = (n > 1 for n in shape)
    if head and back and not left:
        return (0, 2, 1), True  # a sagittal slice
    if head and left and not back:
        return (1, 2, 0), True  # a coronal slice
    return (2, 1, 0), False


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
