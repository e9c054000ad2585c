"""Which files of a folder are images: endings in any case, twins, and what systems leave there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from catalog.contracts.files import Files
from catalog.readers.formats import delivery_sha256
from catalog.readers.images import load_image
from catalog.readers.items import ItemSource, read_item
from catalog.readers.listing import list_cases
from tests.image_files import blob, picture, write_dicom, write_nifti, write_png

GREY = picture(blob((5, 7)))
LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", ".directory", "DICOMDIR", "ehthumbs.db")


def names(root: Path, path: str, *, mask: str = "", file_format: str = "image") -> dict[str, str]:
    """Case -> the name of its image, and of its mask."""
    files = Files(
        path=f"{root}/{path}", format=file_format, mask=f"{root}/{mask}" if mask else None
    )
    return {
        case.values["case"]: "|".join([str(case.image), *(name for name, _ in case.masks)])
        for case in list_cases(files)
    }


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("{case}.png", ["a.png", "b.PNG", "c.Png"]),
        ("{case}.PNG", ["a.png", "b.PNG"]),
        ("{case}.jpg", ["a.jpg", "b.JPG", "c.jpeg", "d.JPEG"]),
        ("{case}.jpeg", ["a.jpg", "b.jpeg"]),
        ("{case}.tif", ["a.tif", "b.tiff", "c.TIF", "d.TIFF"]),
        ("{case}.tiff", ["a.tif", "b.Tiff"]),
    ],
)
def test_endings_are_alike_in_any_case_and_by_either_name(tmp_path, path, there):
    touch(tmp_path, *there, "other.bmp", "x.png.txt", "y.jpg.bak")
    assert names(tmp_path, path) == {name.partition(".")[0]: name for name in there}


def test_volumes_may_be_gzipped_or_not(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii", "c.NII.GZ", "d.Nii")
    for path in ("{case}.nii.gz", "{case}.nii"):
        found = names(tmp_path, path, file_format="nifti")
        assert found == {"a": "a.nii.gz", "b": "b.nii", "c": "c.NII.GZ", "d": "d.Nii"}


def test_a_file_of_the_very_name_has_no_twin(tmp_path):
    """What was listed before stays what it was, and so does the hash of the listing."""
    touch(tmp_path, "a.jpg", "b.jpg")
    files = Files(path=f"{tmp_path}/{{case}}.jpg", format="image")
    before = delivery_sha256(files, files.path)
    touch(tmp_path, "a.jpeg", "a.JPG", "b.Jpeg")
    assert names(tmp_path, "{case}.jpg") == {"a": "a.jpg", "b": "b.jpg"}
    assert delivery_sha256(files, files.path) == before


def test_two_twins_without_the_very_name_are_two_rows_of_one_key(tmp_path):
    touch(tmp_path, "a.JPG", "a.jpeg")
    files = Files(path=f"{tmp_path}/{{case}}.jpg", format="image")
    assert sorted(str(case.image) for case in list_cases(files)) == ["a.JPG", "a.jpeg"]


def test_masks_are_found_by_any_ending_too(tmp_path):
    touch(tmp_path, "a.png", "a.mask.PNG", "b.PNG", "b.mask.png", "c.PNG", "c.mask.PNG")
    assert names(tmp_path, "{case}.png", mask="{case}.mask.png") == {
        "a": "a.png|a.mask.PNG",
        "b": "b.PNG|b.mask.png",
        "c": "c.PNG|c.mask.PNG",
    }


@pytest.mark.parametrize("path", ["{case}.png", "{case}.*", "{case}"])
def test_what_systems_leave_in_a_folder_is_no_image(tmp_path, path):
    touch(tmp_path, "a.png", "._a.png", "._b.PNG", *LITTER)
    expected = {"a.png": "a.png"} if path == "{case}" else {"a": "a.png"}
    assert names(tmp_path, path) == expected
    touch(tmp_path, "__MACOSX/s/a.png", "@eaDir/s/a.png", "x/s/a.png")
    assert names(tmp_path, "{case}/s/*.png") == {"x": "x/s/a.png"}


def test_a_folder_of_slices_may_hold_what_systems_leave(tmp_path):
    folder = tmp_path / "s1"
    volume = np.stack([GREY, GREY + 1, GREY + 2]).astype(np.uint16)
    for i, (name, pixels) in enumerate(zip(("0.dcm", "1.DCM", "2.Dcm"), volume, strict=True)):
        write_dicom(folder / name, pixels, z=3.0 * i)
    for path in ("{case}/*.dcm", "{case}/*"):
        files = Files(path=f"{tmp_path}/{path}", format="dicom")
        (before,) = list_cases(files)
        sha256 = load_image(before.uris, "dicom").sha256
        touch(folder, "._0.dcm", "._000.DCM", *LITTER)
        (case,) = list_cases(files)
        assert len(case.uris) == 3
        np.testing.assert_array_equal(load_image(case.uris, "dicom").picture.pixels[..., 0], volume)
        source = ItemSource("image", "mask", path=files.path, format="dicom")
        rows = pa.table({"image": ["s1"], "image_sha256": [sha256]})
        np.testing.assert_array_equal(source.inputs(rows)[0][..., 0], volume)
    np.testing.assert_array_equal(read_item(folder)[..., 0], volume)


def test_items_are_read_whatever_their_ending(tmp_path):
    write_png(tmp_path / "a.PNG", GREY)
    path = write_nifti(tmp_path / "v.nii", GREY[None])
    path.rename(tmp_path / "V.NII")
    for name, template, kind in (
        ("a.PNG", "{case}.png", "image"), ("V.NII", "{case}.nii.gz", "nifti"),
    ):  # fmt: skip
        source = ItemSource("image", "mask", path=f"{tmp_path}/{template}", format=kind)
        loaded = load_image([str(tmp_path / name)], kind)
        rows = pa.table({"image": [name], "image_sha256": [loaded.sha256]})
        np.testing.assert_array_equal(source.inputs(rows)[0], loaded.picture.pixels)
        np.testing.assert_array_equal(read_item(tmp_path / name), loaded.picture.pixels)
