"""Image files made on the spot: PNG, TIFF, NPZ, NIfTI and DICOM, sound ones and bad ones."""

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
    made = header(**{"ImagePositionPatient": [0, 0, z], **elements})
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = pixels.astype("<u2").tobytes()
    made.save_as(path, enforce_file_format=True)
    return path
