"""A DICOM series: the files of one folder into one volume, sorted by where its slices lie."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut, pixel_array

from catalog.deid.headers import shows_face
from catalog.deid.rule import words_of
from catalog.readers.cells import CellRefusedError
from catalog.readers.pixels import Array, Inspect, Picture, Spacing, as_item, require_size
from catalog.readers.volumes import turned

SPACING_TOLERANCE = 0.01  # of the distance between slices, and of the cosines of their axes
# What may stand in the lake of a header: words of this list, and never what somebody typed
MODALITIES = frozenset(
    words_of("CR CT DX ES GM IO IVUS MG MR NM OCT OP OT PT RF RG SC SM US XA XC")
)
MANUFACTURERS = words_of(
    "AGFA CANON CARESTREAM FUJI GE HITACHI HOLOGIC KODAK PHILIPS SAMSUNG SHIMADZU SIEMENS TOSHIBA"
)
BODY_PARTS = frozenset(
    words_of(
        "ABDOMEN ABDOMENPELVIS ANKLE ARM BLADDER BRAIN BREAST CAROTID CHEST CHESTABDOMEN"
        " CHESTABDPELVIS CLAVICLE COCCYX COLON CSPINE CTSPINE ELBOW ESOPHAGUS EXTREMITY EYE FACE"
        " FINGER FOOT GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS JAW KIDNEY KNEE LEG LIVER"
        " LSPINE LSSPINE LUNG MAXILLA NECK ORBIT OVARY PANCREAS PELVIS PROSTATE RECTUM RIB SHOULDER"
        " SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH THYROID TOE TRACHEA TSPINE TLSPINE"
        " UTERUS WHOLEBODY WRIST"
    )
)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])

logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("pydicom").propagate = False  # what it logs of a broken header may quote it


@dataclass(frozen=True)
class _Slice:
    pixels: Array = field(repr=False)
    header: Any = field(repr=False)
    series: tuple[str, ...] = field(repr=False)
    position: Array | None  # LPS, mm
    axes: Array | None  # (2, 3): along a row, along a column


def decode_dicom(blobs: Iterable[bytes], *, inspect: Inspect | None = None) -> Picture:
    """The volume of a series, rescaled (slope, intercept), in the axes of volumes.py.

    A single file needs no position. `inspect` is asked about every header.

    Raises:
        CellRefusedError: a file that is no DICOM, of another series or size, or without pixels;
            slices at uneven distances.
    """
    slices: list[_Slice] = []
    findings: set[str] = set()
    for raw in blobs:
        header = _parsed(raw)
        findings |= inspect(header) if inspect else set()
        slices.append(_slice(header, n_before=len(slices)))
    if not slices:
        raise CellRefusedError("unreadable_image")
    if len({one.series for one in slices}) != 1:
        raise CellRefusedError("foreign_file")
    if len({one.pixels.shape for one in slices}) != 1:
        raise CellRefusedError("mixed_slices")
    first = slices[0].header
    findings |= {"dicom_face"} if shows_face(first, n_slices=len(slices)) else set()
    facts = {
        "modality": _listed(first, "Modality", MODALITIES),
        "manufacturer": _manufacturer(first),
        "body_part": _listed(first, "BodyPartExamined", BODY_PARTS),
    }
    pixels, spacing = _stacked(slices)
    return Picture(as_item(pixels), spacing, facts, frozenset(findings))


def _parsed(raw: bytes) -> Any:
    if _DEFLATED in raw:  # pydicom would inflate a few bytes to any size while it reads the header
        raise CellRefusedError("compressed_pixels")
    header = pydicom.dcmread(io.BytesIO(raw))
    if "PixelData" not in header:
        raise CellRefusedError("no_pixels")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise CellRefusedError("several_frames")
    return header


def _slice(header: Any, *, n_before: int) -> _Slice:
    rows, columns = int(header.Rows), int(header.Columns)
    require_size((n_before + 1, rows, columns, int(header.get("SamplesPerPixel", 1))))
    pixels = _rescaled(header, _values(header))
    if pixels.shape[:2] != (rows, columns):
        raise CellRefusedError("mixed_slices")
    position, axes = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    del header["PixelData"]
    return _Slice(
        pixels,
        header,
        tuple(str(header.get(k, "")) for k in ("SeriesInstanceUID", "Modality")),
        None if not position else np.array(position, dtype=np.float64),
        None if not axes else np.array(axes, dtype=np.float64).reshape(2, 3),
    )


def _values(header: Any) -> Array:
    """Stored values with the bright end up, (rows, columns, channels)."""
    try:
        pixels: Array = pixel_array(header)
    except (NotImplementedError, RuntimeError):
        raise CellRefusedError("compressed_pixels") from None
    if header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
    if header.PhotometricInterpretation == "MONOCHROME1":
        top = (1 << int(header.BitsStored)) - 1
        pixels = -1 - pixels if int(header.PixelRepresentation) else top - pixels
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _rescaled(header: Any, pixels: Array) -> Array:
    slope, intercept = (
        float(header.get(k, d)) for k, d in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    if (slope, intercept) == (1.0, 0.0):
        return pixels
    scaled = pixels * slope + intercept
    is_short = slope.is_integer() and intercept.is_integer() and np.abs(scaled).max() < 2**15
    rescaled: Array = scaled.astype(np.int16 if is_short else np.float32)
    return rescaled


def _stacked(slices: list[_Slice]) -> tuple[Array, Spacing]:
    """The slices in the order of their positions along the normal, turned to the common axes."""
    header, axes = slices[0].header, slices[0].axes
    across = [float(x) for x in header.get("PixelSpacing") or ()]
    if len(slices) == 1 and (axes is None or slices[0].position is None):
        row, column = across if len(across) == 2 else (None, None)
        return slices[0].pixels[None], (None, row, column)
    if axes is None or len(across) != 2:
        raise CellRefusedError("odd_geometry")
    places = []
    for one in slices:
        if one.position is None or one.axes is None or one.position.shape != (3,):
            raise CellRefusedError("odd_geometry")
        if np.abs(one.axes - axes).max() > SPACING_TOLERANCE:
            raise CellRefusedError("foreign_file")
        places.append(one.position)
    normal = np.cross(axes[0], axes[1])
    depths = np.array(places) @ normal
    order = np.argsort(depths, kind="stable")
    step = _step(depths[order], header)
    affine = np.eye(4)
    affine[:3, 0] = _LPS_TO_RAS @ (axes[0] * across[1])
    affine[:3, 1] = _LPS_TO_RAS @ (axes[1] * across[0])
    affine[:3, 2] = _LPS_TO_RAS @ (normal * (step or 1.0))
    volume = np.stack([slices[i].pixels for i in order])  # k, j, i, channel
    pixels, spacing = turned(volume.transpose(2, 1, 0, 3), affine)
    return pixels, spacing if step else (None, spacing[1], spacing[2])


def _step(depths: Array, header: Any) -> float | None:
    """Distance between neighbours in mm; of a single slice its thickness, if it is told."""
    if len(depths) == 1:
        thickness = float(header.get("SliceThickness") or 0)
        return thickness if thickness > 0 else None
    steps = np.diff(depths)
    step = float(np.median(steps))
    if not step > 0 or np.abs(steps - step).max() > SPACING_TOLERANCE * step:
        raise CellRefusedError("uneven_slices")
    return step


def _listed(header: Any, keyword: str, known: frozenset[str]) -> str:
    """The word of a header if it is a known one, OTHER for any other, '' where there is none."""
    said = str(header.get(keyword) or "").strip().upper()
    return said if said in known or not said else "OTHER"


def _manufacturer(header: Any) -> str:
    said = str(header.get("Manufacturer") or "").strip().upper()
    if not said:
        return ""
    return next((name for name in MANUFACTURERS if said.startswith(name)), "OTHER")
