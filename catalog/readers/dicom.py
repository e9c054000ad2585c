"""A DICOM series: the files of one folder into one volume, sorted by where its slices lie."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom

from catalog.deid.headers import shows_face
from catalog.deid.rule import words_of
from catalog.readers.cells import CellRefusedError
from catalog.readers.grid import Array, Spacing
from catalog.readers.pixels import Inspect, Picture, as_item, require_size
from catalog.readers.silence import keep_silent
from catalog.readers.stored import PIXELS, stored_values, with_frame
from catalog.readers.volumes import orient_volume

# Of the distance between slices and between pixels, and of the cosines of their axes
SPACING_TOLERANCE = 0.01
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

keep_silent("pydicom")


@dataclass(frozen=True)
class _Slice:
    pixels: Array = field(repr=False)
    header: Any = field(repr=False)
    series: tuple[str, ...] = field(repr=False)
    position: _Place = field(repr=False)


@dataclass(frozen=True)
class _Place:
    """Where a slice lies: corner (LPS, mm), axes along a row and along a column, mm between."""

    position: Array | None
    axes: Array | None
    across: Array | None  # between rows, between columns


def decode_dicom(blobs: Iterable[bytes], *, inspect: Inspect | None = None) -> Picture:
    """The volume of a series as the modality's values, in the axes of volumes.py.

    A single file needs no position. `inspect` is asked about every header.

    Raises:
        CellRefusedError: a file that is no DICOM, of another series or size, or without pixels;
            slices that are no regular grid.
    """
    slices: list[_Slice] = []
    findings: set[str] = set()
    for raw in blobs:
        header = _parsed(raw)
        findings |= inspect(header) if inspect else set()
        slices.append(_slice(header, n_before=len(slices)))
    if not slices:
        raise CellRefusedError("unreadable_image")
    if len({cut.series for cut in slices}) != 1:
        raise CellRefusedError("foreign_file")
    if len({cut.pixels.shape for cut in slices}) != 1:
        raise CellRefusedError("mixed_slices")
    first = slices[0].header
    findings |= {"dicom_face"} if shows_face(first, n_slices=len(slices)) else set()
    facts = {
        "modality": _listed(first, "Modality", MODALITIES),
        "manufacturer": _manufacturer(first),
        "body_part": _listed(first, "BodyPartExamined", BODY_PARTS),
    }
    pixels, spacing, affine = _stacked(slices)
    return Picture(as_item(pixels), spacing, affine, facts, frozenset(findings))


def _parsed(raw: bytes) -> Any:
    if _DEFLATED in raw:  # pydicom would inflate a few bytes to any size while it reads the header
        raise CellRefusedError("compressed_pixels")
    header = pydicom.dcmread(io.BytesIO(raw))
    if not any(keyword in header for keyword in PIXELS):
        raise CellRefusedError("no_pixels")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise CellRefusedError("several_frames")
    return header


def _slice(header: Any, *, n_before: int) -> _Slice:
    rows, columns = int(header.Rows), int(header.Columns)
    require_size((n_before + 1, rows, columns, int(header.get("SamplesPerPixel", 1))))
    framed = with_frame(header)
    pixels = stored_values(framed)
    if pixels.shape[:2] != (rows, columns):
        raise CellRefusedError("mixed_slices")
    for keyword in PIXELS:
        header.pop(keyword, None)
    series = tuple(str(header.get(k, "")) for k in ("SeriesInstanceUID", "Modality"))
    return _Slice(pixels, header, series, _place(framed))


def _place(header: Any) -> _Place:
    position, axes, across = (
        _numbers(header.get(keyword), n)
        for keyword, n in (
            ("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2),
        )
    )  # fmt: skip
    if across is not None and not (across > 0).all():
        across = None  # zeros stand where nobody knows
    if axes is None:
        return _Place(position, None, across)
    axes = axes.reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 2 * SPACING_TOLERANCE:
        raise CellRefusedError("odd_geometry")
    return _Place(position, axes, across)


def _numbers(value: Any, n: int) -> Array | None:
    if value is None or value == "" or len(value) == 0:
        return None
    numbers: Array = np.array(value, dtype=np.float64)
    if numbers.shape != (n,) or not np.isfinite(numbers).all():
        raise CellRefusedError("odd_geometry")
    return numbers


def _stacked(slices: list[_Slice]) -> tuple[Array, Spacing, Array | None]:
    """The slices in the order of their positions along the normal, turned to the common axes."""
    first = slices[0].position
    axes, across = first.axes, first.across
    if len(slices) == 1 and (axes is None or first.position is None or across is None):
        row, column = (None, None) if across is None else map(float, across)
        return slices[0].pixels[None], (None, row, column), None
    if axes is None or across is None:
        raise CellRefusedError("odd_geometry")
    normal = np.cross(axes[0], axes[1])
    places = _positions(slices, first)
    order = np.argsort(places @ normal, kind="stable")
    step = _step(places[order], normal, slices[0].header)
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * across[1]
    affine[:3, 1] = axes[1] * across[0]
    affine[:3, 2] = normal * (step or 1.0)
    affine[:3, 3] = places[order[0]]
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    volume = np.stack([slices[i].pixels for i in order])  # k, j, i, channel
    pixels, spacing, turn = orient_volume(volume.transpose(2, 1, 0, 3), affine)
    exact = affine.copy()  # the mean step, as the last slice shows a step that is rounded
    if step and len(slices) > 1:
        exact[:3, 2] *= _mean_step(places[order] @ normal) / step
    shown_spacing = spacing if step else (None, spacing[1], spacing[2])
    return pixels, shown_spacing, exact @ np.linalg.inv(affine) @ turn


def _positions(slices: list[_Slice], first: _Place) -> Array:
    """Where each slice begins; all of them have the axes and the spacing of the first one."""
    places = []
    for cut in (cut.position for cut in slices):
        if cut.position is None or cut.axes is None or cut.across is None:
            raise CellRefusedError("odd_geometry")
        if np.abs(cut.axes - first.axes).max() > SPACING_TOLERANCE:
            raise CellRefusedError("foreign_file")
        if (np.abs(cut.across - first.across) > SPACING_TOLERANCE * cut.across).any():
            raise CellRefusedError("mixed_slices")
        places.append(cut.position)
    return np.array(places)


def _step(places: Array, normal: Array, header: Any) -> float | None:
    """Distance between neighbours in mm; of a single slice its thickness, if it is told."""
    if len(places) == 1:
        thickness = float(header.get("SliceThickness") or 0)
        return thickness if 0 < thickness < np.inf else None
    moves = np.diff(places, axis=0)
    steps = moves @ normal
    step = float(np.median(steps))
    if not step > 0 or np.abs(steps - step).max() > SPACING_TOLERANCE * step:
        raise CellRefusedError("uneven_slices")
    sideways = np.linalg.norm(moves - np.outer(steps, normal), axis=1)
    if sideways.max() > SPACING_TOLERANCE * step:
        raise CellRefusedError("shifted_slices")
    return step


def _mean_step(depths: Array) -> float:
    return float((depths[-1] - depths[0]) / (len(depths) - 1))


def _listed(header: Any, keyword: str, known: frozenset[str]) -> str:
    """The word of a header if it is a known one, OTHER for any other, '' where there is none."""
    said = str(header.get(keyword) or "").strip().upper()
    return said if said in known or not said else "OTHER"


def _manufacturer(header: Any) -> str:
    said = str(header.get("Manufacturer") or "").strip().upper()
    if not said:
        return ""
    return next((name for name in MANUFACTURERS if said.startswith(name)), "OTHER")
