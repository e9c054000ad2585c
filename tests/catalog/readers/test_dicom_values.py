"""DICOM slices: the values that pydicom gives, one slice as one slice, only regular grids."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import JPEGLosslessSV1

from catalog.readers.cells import CellRefusedError
from catalog.readers.images import load_image, load_mask
from catalog.readers.pixels import Picture
from catalog.readers.reasons import reason_text
from catalog.readers.silence import without_stderr
from tests.image_files import NAME, blob, write_dicom

STORED = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
AXIAL, SAGITTAL, CORONAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]


def load(*paths: Path) -> Picture:
    return load_image([str(path) for path in paths], "dicom").picture


def reason(*paths: Path) -> str:
    with pytest.raises(CellRefusedError) as caught:
        load(*paths)
    assert reason_text(caught.value.reason)
    return caught.value.reason


def peer(path: Path) -> np.ndarray:
    """What pydicom makes of the file's values."""
    header = pydicom.dcmread(path)
    return np.asarray(apply_modality_lut(pixel_array(header), header))


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL, [0, 0.999, 0.045, 0, 0.045, -0.999]])
@pytest.mark.parametrize("position", [[0, 0, 0], [-31.5, 12, 400]])
def test_a_single_slice_is_one_slice_whichever_way_it_was_cut(tmp_path, axes, position):
    path = write_dicom(
        tmp_path / "a.dcm", STORED,
        ImageOrientationPatient=axes, ImagePositionPatient=position, PixelSpacing=[2, 0.5],
    )  # fmt: skip
    found = load(path)
    np.testing.assert_array_equal(found.pixels[0, :, :, 0], peer(path))
    assert found.spacing == pytest.approx((3.0, 2.0, 0.5), rel=1e-4)


def test_a_sagittal_slice_lies_alike_however_it_is_stored(tmp_path):
    """Rows up, columns forward, or both exchanged: as NIfTI has it too, with its mask."""
    plain = load(write_dicom(tmp_path / "a.dcm", STORED, ImageOrientationPatient=SAGITTAL))
    for axes, stored, position in (
        ([0, 1, 0, 0, 0, 1], STORED[::-1], [0, 0, -4]),
        ([0, -1, 0, 0, 0, -1], STORED[:, ::-1], [0, 3, 0]),
    ):
        other = load(
            write_dicom(
                tmp_path / "b.dcm", stored,
                ImageOrientationPatient=axes, ImagePositionPatient=position,
            )
        )  # fmt: skip
        np.testing.assert_array_equal(other.pixels, plain.pixels)
        assert other.grid.lies_on(plain.grid)
    # one slice in i; j runs to the front, k to the head: RAS of rows down and columns back
    mask = blob((3, 4), seed=1)
    affine = np.array([[3.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -2, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(mask.T[None], affine), tmp_path / "m.nii")
    found, _ = load_mask(str(tmp_path / "m.nii"), "nifti", [255], on=plain.grid)
    np.testing.assert_array_equal(found[0] * 255, mask)


def test_a_volume_keeps_its_axes_even_if_few_slices_were_cut(tmp_path):
    paths = [
        write_dicom(
            tmp_path / f"{i}.dcm", STORED + i,
            ImageOrientationPatient=SAGITTAL, ImagePositionPatient=[3.0 * i, 0, 0],
        )
        for i in range(2)
    ]  # fmt: skip
    assert load(*paths).pixels.shape == (3, 4, 2, 1)


def slices(folder: Path, positions: list[list[float]], **elements: Any) -> list[Path]:
    return [
        write_dicom(folder / f"{i}.dcm", STORED + i, ImagePositionPatient=place, **elements)
        for i, place in enumerate(positions)
    ]


def tilted(degrees: float) -> list[list[float]]:
    """Positions along the table, of slices whose normal leans by an angle."""
    lean = np.tan(np.radians(degrees))
    return [[0.0, 3.0 * i * float(lean), 3.0 * i] for i in range(5)]


@pytest.mark.parametrize(
    ("positions", "why"),
    [
        ([[x, 0.0, 3.0 * i] for i, x in enumerate((0, 40, -30, 7, 99))], "shifted_slices"),
        ([[0.0, 0.1 * i, 3.0 * i] for i in range(5)], "shifted_slices"),
        (tilted(12), "shifted_slices"),
        (tilted(-2), "shifted_slices"),
        ([[0.0, 0.0, z] for z in (0, 3, 6, 10, 13)], "uneven_slices"),
        ([[0.0, 0.0, z] for z in (0, 3, 6, 6, 9)], "uneven_slices"),
        ([[0.0, 0.0, z] for z in (0, 3, 9, 12, 15)], "uneven_slices"),
        ([[0.0, 0.0, float("nan")]] * 5, "odd_geometry"),
    ],
)
def test_slices_that_are_no_regular_grid_are_refused(tmp_path, positions, why):
    if any(np.isnan(positions).ravel()):
        paths = slices(tmp_path, [[0.0, 0.0, 3.0 * i] for i in range(5)])
        for path in paths:
            path.write_bytes(path.read_bytes().replace(b"0.0\\0.0\\3.0", b"0.0\\0.0\\NaN"))
        assert reason(*paths) == why
        return
    assert reason(*slices(tmp_path, positions)) == why


def test_rounded_positions_and_oblique_stacks_are_regular(tmp_path):
    tilt = np.radians(17)
    rows, columns = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), -np.sin(tilt)])
    normal = np.cross(rows, columns)
    positions = [(np.array([-80.0, -100, 30]) + 3 * i * normal).round(2).tolist() for i in range(9)]
    axes = [*rows.round(4), *columns.round(4)]
    found = load(*slices(tmp_path, positions, ImageOrientationPatient=axes))
    assert found.pixels.shape == (9, 3, 4, 1)
    assert found.spacing == pytest.approx((3, 2, 1), rel=1e-3)


def test_a_series_of_one_spacing_and_real_axes(tmp_path):
    mixed = slices(tmp_path / "m", [[0.0, 0, 0], [0, 0, 3]])
    write_dicom(mixed[1], STORED, z=3, PixelSpacing=[2.5, 1])
    assert reason(*mixed) == "mixed_slices"
    for axes in ([1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 2, 0], [0, 0, 0, 0, 0, 0]):
        path = write_dicom(tmp_path / "a.dcm", STORED, ImageOrientationPatient=axes)
        assert reason(path) == "odd_geometry"
    nowhere = write_dicom(
        tmp_path / "b.dcm", STORED, PixelSpacing=[0, 0], ImagePositionPatient=None
    )
    assert load(nowhere).spacing == (None, None, None)
    unmeasured = write_dicom(tmp_path / "c.dcm", STORED, PixelSpacing=None)
    np.testing.assert_array_equal(load(unmeasured).pixels[0, :, :, 0], STORED)
    assert reason(*slices(tmp_path / "n", [[0.0, 0, 0], [0, 0, 3]], PixelSpacing=None)) == (
        "odd_geometry"
    )


def modality_table(first: int, entries: list[int], bits: int = 16) -> list[Dataset]:
    table = Dataset()
    table.LUTDescriptor = [len(entries), first, bits]
    table["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    table.ModalityLUTType = "US"
    table.add_new("LUTData", "US", entries)
    return [table]


@pytest.mark.parametrize(
    ("first", "elements"),
    [
        (0, {}),
        (300, {}),
        (-2000, {"PixelRepresentation": 1}),
        (0, {"RescaleSlope": 2, "RescaleIntercept": -5}),  # the table counts, not the slope
    ],
)
def test_the_modality_table_says_what_stored_numbers_are(tmp_path, first, elements):
    entries = [(7 * i * i + 11) % 65536 for i in range(3000)]
    path = write_dicom(
        tmp_path / "a.dcm", STORED, ModalityLUTSequence=modality_table(first, entries), **elements
    )
    found = load(path).pixels[0, :, :, 0]
    np.testing.assert_array_equal(found, peer(path))
    assert found.dtype == np.uint16
    assert not np.array_equal(found, STORED)


def test_tables_of_odd_depth_dark_ends_and_wide_jumps(tmp_path):
    entries = [i % 4096 for i in range(30_000, 0, -1)]
    signed = np.array([[-32768, 32767], [0, 5]], np.int16)
    path = write_dicom(
        tmp_path / "a.dcm", signed.view(np.uint16), PixelRepresentation=1,
        ModalityLUTSequence=modality_table(-32768, entries, 12),
    )  # fmt: skip
    expected = np.take(entries, np.clip(signed.astype(int) + 32768, 0, len(entries) - 1))
    np.testing.assert_array_equal(load(path).pixels[0, :, :, 0], expected)
    dark = write_dicom(
        tmp_path / "b.dcm", STORED, PhotometricInterpretation="MONOCHROME1",
        ModalityLUTSequence=modality_table(0, list(range(4000)), 16),
    )  # fmt: skip
    np.testing.assert_array_equal(load(dark).pixels[0, :, :, 0], 65535 - STORED)
    broken = write_dicom(tmp_path / "c.dcm", STORED, ModalityLUTSequence=modality_table(0, [1, 2]))
    assert load(broken).pixels.max() == 2, "what is past the table is its last entry"
    table = modality_table(0, [1, 2, 3])
    table[0].LUTDescriptor = [9, 0, 16]
    assert (
        reason(write_dicom(tmp_path / "d.dcm", STORED, ModalityLUTSequence=table)) == "odd_values"
    )


@pytest.mark.parametrize("slope", [None, "", 1])
@pytest.mark.parametrize("intercept", [None, "", 0, -7])
def test_an_empty_slope_or_intercept_is_none(tmp_path, slope, intercept):
    path = write_dicom(tmp_path / "a.dcm", STORED)
    header = pydicom.dcmread(path)
    header.RescaleSlope, header.RescaleIntercept = slope, intercept
    header.save_as(path)
    np.testing.assert_array_equal(
        load(path).pixels[0, :, :, 0], STORED.astype(int) + (intercept or 0)
    )


def test_values_that_no_header_explains_are_refused(tmp_path):
    assert reason(write_dicom(tmp_path / "a.dcm", STORED, RescaleSlope=0)) == "odd_values"
    left = write_dicom(tmp_path / "b.dcm", STORED << 4, BitsStored=12, HighBit=15)
    assert reason(left) == "odd_values"


def test_each_slice_has_its_own_slope(tmp_path):
    paths = [
        write_dicom(
            tmp_path / f"{i}.dcm", STORED, z=3.0 * i, RescaleSlope=0.5 + i, RescaleIntercept=i
        )
        for i in range(3)
    ]
    found = load(*paths).pixels[..., 0]
    np.testing.assert_allclose(found, [peer(path) for path in paths])


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsStored": 12, "HighBit": 11},
        {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1},
        {"PixelRepresentation": 1, "RescaleSlope": 1, "RescaleIntercept": -1024},
        {"PixelPaddingValue": 300, "RescaleSlope": 2, "RescaleIntercept": 0},
        {"RescaleSlope": 0.25, "RescaleIntercept": 1.5},
    ],
)
def test_bits_signs_and_padding_are_what_pydicom_makes_of_them(tmp_path, elements):
    stored = np.array([[0x0800, 0x0FFF], [0x07FF, 0xF001]], np.uint16)
    path = write_dicom(tmp_path / "a.dcm", stored, **elements)
    np.testing.assert_allclose(load(path).pixels[0, :, :, 0], peer(path))


@pytest.mark.parametrize("planes", [0, 1])
def test_colours_come_by_pixel_or_by_plane(tmp_path, planes):
    colours = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    stored = colours.transpose(2, 0, 1) if planes else colours
    path = write_dicom(
        tmp_path / "a.dcm", STORED, SamplesPerPixel=3, PhotometricInterpretation="RGB",
        BitsAllocated=8, BitsStored=8, HighBit=7, PlanarConfiguration=planes,
        PixelData=np.ascontiguousarray(stored).tobytes(),
    )  # fmt: skip
    np.testing.assert_array_equal(load(path).pixels[0], colours)
    np.testing.assert_array_equal(peer(path), colours)


def test_an_enhanced_image_of_one_frame_says_it_in_groups(tmp_path):
    def group(sequence: str, **told: Any) -> dict[str, list[Dataset]]:
        item = Dataset()
        for keyword, value in told.items():
            setattr(item, keyword, value)
        return {sequence: [item]}

    shared, own = Dataset(), Dataset()
    for to, parts in (
        (shared, group("PixelMeasuresSequence", PixelSpacing=[0.7, 0.6], SliceThickness=4)),
        (shared, group("PlaneOrientationSequence", ImageOrientationPatient=SAGITTAL)),
        (own, group("PlanePositionSequence", ImagePositionPatient=[1, 2, 3])),
        (own, group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-100)),
    ):
        for sequence, items in parts.items():
            setattr(to, sequence, items)
    path = write_dicom(
        tmp_path / "a.dcm", STORED, NumberOfFrames=1, PixelSpacing=None, SliceThickness=None,
        ImageOrientationPatient=None, ImagePositionPatient=None,
        SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=[own],
    )  # fmt: skip
    found = load(path)
    np.testing.assert_array_equal(found.pixels[0, :, :, 0], STORED.astype(int) * 2 - 100)
    assert found.spacing == pytest.approx((4, 0.7, 0.6))


def test_pixels_may_be_floats(tmp_path):
    values = np.random.default_rng(0).random((3, 4))
    for keyword, kind, bits in (("FloatPixelData", "<f4", 32), ("DoubleFloatPixelData", "<f8", 64)):
        path = write_dicom(
            tmp_path / "a.dcm", STORED, PixelData=None, BitsAllocated=bits, BitsStored=None,
            HighBit=None, PixelRepresentation=None, **{keyword: values.astype(kind).tobytes()},
        )  # fmt: skip
        np.testing.assert_allclose(load(path).pixels[0, :, :, 0], values, rtol=1e-6)


def test_compressed_pixels_are_called_by_name_where_the_extra_is_missing(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", STORED)
    names = {
        "1.2.840.10008.1.2.4.57": "jpeg_lossless",
        JPEGLosslessSV1: "jpeg_lossless",
        "1.2.840.10008.1.2.4.80": "jpeg_ls",
        "1.2.840.10008.1.2.4.102": "compressed_pixels",  # a film
    }
    has_extra = find_spec("gdcm") is not None or find_spec("pylibjpeg") is not None
    for syntax, name in names.items():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = syntax
        header.PixelData = encapsulate([b"\xff\xd8 damaged"])
        header.save_as(tmp_path / "b.dcm")
        expected = "compressed_pixels" if has_extra else name
        assert reason(tmp_path / "b.dcm") == expected
    told = reason_text("jpeg_lossless(image)")
    assert "1.2.840.10008.1.2.4.57 or .70" in told
    assert "pip install -e .[dicom]" in told


def test_pydicom_warns_of_values_and_nobody_hears_it(tmp_path, capfd, caplog):
    path = write_dicom(tmp_path / "a.dcm", STORED, StudyDate="20260101")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"20260101", NAME.encode()[:8]).replace(b"PROSTATE", b"\xff" * 8))
    with caplog.at_level(logging.DEBUG):
        load(path)
    path.write_bytes(raw[:-9])
    assert reason(path) == "unreadable_image"
    assert "".join(capfd.readouterr()) == ""
    assert not [record for record in caplog.records if record.name.startswith("pydicom")]


def test_what_a_library_of_c_writes_goes_nowhere_and_then_somewhere_again(capfd):
    with without_stderr():
        os.write(2, NAME.encode())
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
