"""Image formats: what each file becomes as an item, and what is refused before it is allocated."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import tracemalloc
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow as pa
import pydicom
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from catalog.readers.cells import REASONS, CellRefusedError
from catalog.readers.images import IMAGE_REASONS, class_indices, load_image, load_mask
from catalog.readers.items import ItemSource
from tests.image_files import NAME, blob, picture, png_chunk, write_dicom, write_nifti, write_png


def load(path: Path, file_format: str) -> np.ndarray:
    return load_image([str(path)], file_format).picture.pixels


def refusal(path: Path, file_format: str) -> str:
    with pytest.raises(CellRefusedError) as caught:
        load(path, file_format)
    assert caught.value.reason in {*REASONS, *IMAGE_REASONS}
    assert NAME not in str(caught.value)
    return caught.value.reason


GREY = picture(blob((5, 7)))
DEEP = GREY.astype(np.uint16) * 257
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
CLEAR = np.dstack([COLOUR, np.full_like(GREY, 9)])


@pytest.mark.parametrize(
    ("ending", "pixels", "item"),
    [
        ("png", GREY, GREY[None, :, :, None]),
        ("png", DEEP, DEEP[None, :, :, None]),
        ("tif", DEEP, DEEP[None, :, :, None]),
        ("tif", GREY.astype(np.float32), GREY[None, :, :, None].astype(np.float32)),
        ("png", COLOUR, COLOUR[None]),
        ("png", CLEAR, COLOUR[None]),
        ("png", GREY > 99, (GREY > 99)[None, :, :, None] * np.uint8(255)),
    ],
)
def test_grey_deep_coloured_and_clear_pixels(tmp_path, ending, pixels, item):
    found = load(write_png(tmp_path / f"a.{ending}", pixels), "image")
    assert (found.dtype, found.shape) == (item.dtype, item.shape)
    np.testing.assert_array_equal(found, item)


def test_a_palette_is_its_colours_as_an_image_and_its_numbers_as_a_mask(tmp_path):
    paletted = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    paletted.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10])
    paletted.save(tmp_path / "a.png")
    assert load(tmp_path / "a.png", "image")[0, 1, 0].tolist() == [10, 200, 10]
    mask, _ = load_mask(str(tmp_path / "a.png"), "image", [2, 1])
    assert mask.tolist() == [[[0, 2], [1, 2]]]


def test_a_jpeg_is_nearly_its_pixels(tmp_path):
    found = load(write_png(tmp_path / "a.jpg", GREY, quality=95), "image")
    assert np.abs(found[0, :, :, 0].astype(int) - GREY).mean() < 9


def test_the_pages_of_a_tiff_are_slices_of_one_size(tmp_path):
    pages = [Image.fromarray(GREY + i) for i in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert load(tmp_path / "a.tif", "image")[2, :, :, 0].tolist() == (GREY + 2).tolist()
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[Image.fromarray(GREY[:3])])
    assert refusal(tmp_path / "b.tif", "image") == "mixed_slices"


def test_no_more_is_allocated_than_any_image_may_have(tmp_path):
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, header)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("image.npy", written.getvalue())
    assert refusal(tmp_path / "a.npz", "npz") == "too_large"
    small = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_bytes()
    large = bytearray(small)
    large[40:48] = np.array([3, 32000, 32000, 32000], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(large)
    assert refusal(tmp_path / "a.nii", "nifti") == "too_large"
    large[40:48] = np.array([3, 600, 600, 600], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(large)
    assert refusal(tmp_path / "a.nii", "nifti") == "unreadable_image"
    sized = struct.pack(">IIBBBBB", 1 << 20, 1 << 20, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", sized) + png_chunk(b"IDAT")
    )
    assert refusal(tmp_path / "a.png", "image") == "too_large"


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path):
    pages = [Image.new("L", size) for size in ((8, 8), (5_000, 5_000))]
    pages[0].save(
        tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_deflate"
    )
    series = tmp_path / "deflated"
    path = write_dicom(series / "a.dcm", DEEP)
    deflated = pydicom.dcmread(path)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated.save_as(path, enforce_file_format=True)
    tracemalloc.start()
    try:
        assert refusal(tmp_path / "a.tif", "image") == "mixed_slices"
        assert refusal(path, "dicom") == "compressed_pixels"
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (GREY, (1, 5, 7, 1)),
        (COLOUR, (1, 5, 7, 3)),
        (np.stack([GREY, GREY]), (2, 5, 7, 1)),
        (np.stack([COLOUR, COLOUR]), (2, 5, 7, 3)),
    ],
)
def test_arrays_of_an_npz_have_two_to_four_axes(tmp_path, array, shape):
    np.savez(tmp_path / "a.npz", image=array, spacing=[3.0, 2.0, 1.0])
    loaded = load_image([str(tmp_path / "a.npz")], "npz")
    assert loaded.picture.pixels.shape == shape
    assert loaded.picture.spacing == (3.0, 2.0, 1.0)


def test_an_npz_is_refused_for_pickles_missing_arrays_and_nan(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.array([{"name": NAME}], dtype=object))
    assert refusal(tmp_path / "a.npz", "npz") == "unreadable_image"
    np.savez(tmp_path / "b.npz", other=GREY)
    assert refusal(tmp_path / "b.npz", "npz") == "no_array"
    np.savez(tmp_path / "c.npz", image=np.full((3, 3), np.nan))
    assert refusal(tmp_path / "c.npz", "npz") == "not_finite"


ITEM = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
ORIENTATIONS = [
    "".join(axes)
    for order in itertools.permutations(("LR", "PA", "IS"))
    for axes in itertools.product(*order)
]


def test_every_orientation_of_a_nifti_is_the_same_item(tmp_path):
    assert len(ORIENTATIONS) == 48
    for axes in ORIENTATIONS:
        path = write_nifti(tmp_path / f"{axes}.nii", ITEM, axes=axes, spacing=(3, 2, 1))
        found = load_image([str(path)], "nifti").picture
        np.testing.assert_array_equal(found.pixels[..., 0], ITEM)
        assert found.spacing == (3.0, 2.0, 1.0)


def test_a_nifti_is_scaled_gzipped_and_has_three_axes(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", ITEM)
    assert gzip.decompress(path.read_bytes())[:4] == (348).to_bytes(4, "little")
    assert load(path, "nifti").dtype == np.int16
    scaled = nib.Nifti1Image(ITEM, np.eye(4))
    scaled.header.set_slope_inter(0.5, 1.0)
    nib.save(scaled, tmp_path / "b.nii")
    assert load(tmp_path / "b.nii", "nifti").max() == ITEM.max() * 0.5 + 1.0
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 3)), np.eye(4)), tmp_path / "c.nii")
    assert refusal(tmp_path / "c.nii", "nifti") == "odd_axes"
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), np.inf), np.eye(4)), tmp_path / "d.nii")
    assert refusal(tmp_path / "d.nii", "nifti") == "not_finite"


def write_series(folder: Path, volume: np.ndarray, **elements) -> list[str]:
    """A volume (slices, rows, columns), its files named against the order of the slices."""
    files = []
    for i, pixels in enumerate(volume):
        name = folder / f"{len(volume) - i:03d}.dcm"
        files.append(str(write_dicom(name, pixels, z=3.0 * i, **elements)))
    return sorted(files)


def test_a_series_is_sorted_by_place_rescaled_and_lies_as_its_nifti_does(tmp_path):
    files = write_series(tmp_path / "s", ITEM, RescaleSlope=2, RescaleIntercept=-1000)
    loaded = load_image(files, "dicom").picture
    np.testing.assert_array_equal(loaded.pixels[..., 0], ITEM * 2 - 1000)
    assert (loaded.pixels.dtype, loaded.spacing) == (np.int16, (3.0, 2.0, 1.0))
    assert loaded.header == {"modality": "CT", "manufacturer": "SIEMENS", "body_part": "PROSTATE"}
    twin = write_nifti(tmp_path / "s.nii", ITEM, axes="RAS", spacing=(3, 2, 1))
    np.testing.assert_array_equal(load(twin, "nifti")[..., 0], ITEM)


def test_a_series_is_found_again_whatever_its_folder_is_called(tmp_path):
    files = write_series(tmp_path / "s [1]*", ITEM)
    sha256 = load_image(files, "dicom").sha256
    source = ItemSource("image", "mask", path=f"{tmp_path}/{{case}}/*.dcm", format="dicom")
    rows = pa.table({"image": ["s [1]*"], "image_sha256": [sha256]})
    np.testing.assert_array_equal(source.inputs(rows)[0][..., 0], ITEM)


def test_a_sagittal_series_is_turned_like_any_other(tmp_path):
    sagittal = ITEM.transpose(2, 0, 1)[:, ::-1, :]  # columns apart, rows from the head, then back
    files = [
        str(write_dicom(
            tmp_path / f"{i}.dcm", pixels, PixelSpacing=[3, 2],
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[1.0 * i, 0, 0],
        ))
        for i, pixels in enumerate(sagittal)
    ]  # fmt: skip
    loaded = load_image(files, "dicom").picture
    np.testing.assert_array_equal(loaded.pixels[..., 0], ITEM)
    assert loaded.spacing == (3.0, 2.0, 1.0)


def test_what_is_no_whole_series_is_refused(tmp_path):
    def reason(name: str, **elements) -> str:
        folder = tmp_path / name
        files = write_series(folder, np.concatenate([ITEM, ITEM]))
        write_dicom(folder / "002.dcm", **{"pixels": ITEM[0], "z": 6.0, **elements})
        with pytest.raises(CellRefusedError) as caught:
            load_image(files, "dicom")
        return caught.value.reason

    assert reason("foreign", SeriesInstanceUID="1.2.9") == "foreign_file"
    assert reason("place", z=7.5) == "uneven_slices"
    assert reason("size", pixels=ITEM[0, :2]) == "mixed_slices"
    assert reason("nowhere", ImagePositionPatient=None) == "odd_geometry"
    assert reason("frames", NumberOfFrames=2) == "several_frames"


def test_labels_that_nobody_declared_and_colours_are_no_mask():
    wrong = {"unknown_label": np.full((1, 2, 2, 1), 3), "mask_colours": np.full((1, 2, 2, 1), 0.5)}
    for reason, pixels in wrong.items():
        with pytest.raises(CellRefusedError) as caught:
            class_indices(pixels, [255])
        assert caught.value.reason == reason
