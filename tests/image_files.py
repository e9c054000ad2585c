"""Image files made on the spot: PNG, TIFF, NPZ, NIfTI and DICOM, sound ones and bad ones."""

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

NAME = "Quorvexil^Jane"  # in headers and file names; no message may hold it


def blob(size: tuple[int, ...], *, seed: int = 0) -> np.ndarray:
    """A mask: a box somewhere inside, 255 in it."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    corner = [int(rng.integers(0, max(1, n // 2))) for n in size]
    mask[tuple(slice(c, c + max(1, n // 2)) for c, n in zip(corner, size, strict=True))] = 255
    return mask


def picture(mask: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """An 8-bit picture in which the box of a mask is brighter."""
    noise = np.random.default_rng(seed).integers(0, 60, mask.shape)
    return (noise + (mask > 0) * 120).astype(np.uint8)


def write_png(path: Path, pixels: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    """Pixels as an image file of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(path, **options)
    return path


def write_nifti(
    path: Path, item: np.ndarray, *, axes: str = "LPS", spacing: Any = (3, 2, 1)
) -> Path:
    """An item (slices, rows, columns) as a NIfTI file whose stored axes point along `axes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lps = item.transpose(2, 1, 0)  # columns to the left, rows to the back, slices to the head
    affine = np.diag([-float(spacing[2]), -float(spacing[1]), float(spacing[0]), 1.0])
    stored = nib.Nifti1Image(lps, affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    nib.save(stored.as_reoriented(turn), path)
    return path


def header(**elements: Any) -> pydicom.Dataset:
    """A de-identified header of a CT slice, with elements replaced; None leaves one out."""
    told: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "CT",
        "Manufacturer": "SIEMENS",
        "BodyPartExamined": "PROSTATE",
        "PatientName": "",
        "PatientID": "",
        "PatientBirthDate": "",
        "StudyDate": "",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "removed",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [2, 1],
        "SliceThickness": 3,
        **elements,
    }
    made = pydicom.Dataset()
    for keyword, value in told.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def write_dicom(path: Path, pixels: np.ndarray, *, z: float = 0.0, **elements: Any) -> Path:
    """A slice (rows, columns) of unsigned 16-bit values at a height z in mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    of_pixels = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": pixels.astype("<u2").tobytes(),
    }
    made = header(**{"ImagePositionPatient": [0, 0, z], **of_pixels, **elements})
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.save_as(path, enforce_file_format=True)
    return path


def write_deep_png(path: Path, pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> Path:
    """16-bit pixels (rows, columns, channels) as a PNG, which Pillow writes in grey only.

    Rows are filtered in turn by each of the five ways; other chunks come before the pixels.
    """
    rows, columns, n_channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[n_channels]
    size = struct.pack(">IIBBBBB", columns, rows, 16, colour_type, 0, 0, 0)
    raw = pixels.astype(">u2").view(np.uint8).reshape(rows, -1).astype(int)
    padded = np.pad(raw, ((1, 0), (2 * n_channels, 0)))
    left, up = padded[1:, : -2 * n_channels], padded[:-1, 2 * n_channels :]
    corner = padded[:-1, : -2 * n_channels]
    guesses = [np.zeros_like(raw), left, up, (left + up) // 2, _paeth(left, up, corner)]
    lines = [
        bytes([row % 5]) + ((raw[row] - guesses[row % 5][row]) % 256).astype(np.uint8).tobytes()
        for row in range(rows)
    ]
    parts = [(b"IHDR", size), *chunks, (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts))
    return path


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The neighbour that is nearest to left + up - corner, as the PNG specification has it."""
    aim = left + up - corner
    far = [abs(aim - one) for one in (left, up, corner)]
    best_of_two = np.where(far[1] <= far[2], up, corner)
    return np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, best_of_two)


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A chunk of a PNG file."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def write_tiff(path: Path, pixels: np.ndarray, *, order: str = "<", **tags: int) -> Path:
    """Pixels (rows, columns, channels) of any type as a TIFF, in which a plane is a strip.

    `tags` may be photometric, planar, compression (1, 8), predictor, orientation, and extra: the
    kind of the samples after the colours.
    """
    planar = tags.get("planar", 1)
    stored = pixels.transpose(2, 0, 1) if planar == 2 else pixels[None]
    strips = [plane.astype(pixels.dtype.newbyteorder(order)).tobytes() for plane in stored]
    if tags.get("compression", 1) == 8:
        strips = [zlib.compress(strip) for strip in strips]
    n = pixels.shape[2]
    photometric = tags.get("photometric", 2 if n >= 3 else 1)
    n_extra = n - (3 if photometric == 2 else 1)
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("I", [pixels.shape[1]]),
        257: ("I", [pixels.shape[0]]),
        258: ("H", [pixels.dtype.itemsize * 8] * n),
        259: ("H", [tags.get("compression", 1)]),
        262: ("H", [photometric]),
        273: ("I", [0] * len(strips)),
        274: ("H", [tags.get("orientation", 1)]),
        277: ("H", [n]),
        278: ("I", [pixels.shape[0]]),
        279: ("I", [len(strip) for strip in strips]),
        284: ("H", [planar]),
        339: ("H", [kind] * n),
    }
    if "predictor" in tags:
        entries[317] = ("H", [tags["predictor"]])
    if n_extra > 0:
        entries[338] = ("H", [tags.get("extra", 0)] * n_extra)
    path.write_bytes(_tiff_bytes(entries, strips, order))
    return path


def _tiff_bytes(
    entries: dict[int, tuple[str, list[int]]], strips: list[bytes], order: str
) -> bytes:
    """Header, strips, the values that fill more than four bytes, then the directory."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    body, starts = b"", []
    for strip in strips:
        starts.append(len(head) + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    entries[273] = ("I", starts)
    lines = []
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", len(head) + len(body))
            body, packed = body + packed + b"\0" * (len(packed) % 2), place
        code = {"H": 3, "I": 4}[kind]
        lines.append(struct.pack(f"{order}HHI", tag, code, len(values)) + packed.ljust(4, b"\0"))
    place = struct.pack(f"{order}I", len(head) + len(body))
    directory = struct.pack(f"{order}H", len(lines)) + b"".join(lines) + bytes(4)
    return head[:4] + place + body + directory
