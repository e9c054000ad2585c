"""A mask has to lie on its image: places are computed by nibabel, never by the code under test."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from catalog.readers.cells import CellRefusedError
from catalog.readers.grid import Grid
from catalog.readers.images import load_image, load_mask
from tests.image_files import blob, write_dicom, write_nifti, write_png

SHAPE = (8, 7, 6)  # i, j, k
VOXELS = blob(SHAPE, seed=3)
PLAIN = np.diag([-1.0, -1.0, 2.0, 1.0])


def write(path: Path, voxels: np.ndarray, affine: np.ndarray, **codes: int) -> str:
    image = nib.Nifti1Image(voxels, affine)
    for name, code in codes.items():
        getattr(image, f"set_{name}")(affine, code=code)
    nib.save(image, path)
    return str(path)


def judged(
    image: str, mask: str, *, image_format: str = "nifti", mask_format: str = "nifti"
) -> str:
    """'accepted', or why the mask is set aside."""
    return verdict_on(load_image([image], image_format).picture.grid, mask, mask_format)


def verdict_on(grid: Grid, mask: str, mask_format: str) -> str:
    verdict = "accepted"
    try:
        load_mask(mask, mask_format, [255], on=grid)
    except CellRefusedError as refused:
        verdict = refused.reason
    return verdict


def moved(affine: np.ndarray, *, by: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    out = affine.copy()
    out[:3, 3] += by
    return out


def rotated(affine: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ affine


@pytest.mark.parametrize(
    ("of_mask", "verdict"),
    [
        (PLAIN, "accepted"),
        (np.eye(4), "mask_geometry"),  # the example: no voxel of 32 in common
        (np.diag([1.0, 1.0, 2.0, 1.0]), "mask_geometry"),  # other handedness
        (np.diag([-1.0, -1.0, 2.5, 1.0]), "mask_geometry"),
        (np.diag([-1.01, -1.0, 2.0, 1.0]), "accepted"),  # 1 % and 0.07 of a pixel at the end
        (np.diag([-1.02, -1.0, 2.0, 1.0]), "mask_geometry"),
        (moved(PLAIN, by=(0, 0, 0.09)), "accepted"),
        (moved(PLAIN, by=(0, 0, 0.11)), "mask_geometry"),
        (moved(PLAIN, by=(50, 0, 0)), "mask_geometry"),
        (moved(PLAIN, by=(0.08, -0.08, 0)), "mask_geometry"),  # 0.113 of a pixel together
        (rotated(PLAIN, 0.4), "accepted"),
        (rotated(PLAIN, 1.5), "mask_geometry"),
        (rotated(PLAIN, 90), "mask_size"),
        (rotated(PLAIN, 180), "mask_geometry"),
    ],
)
def test_a_mask_is_set_aside_unless_it_lies_within_the_stated_tolerance(
    tmp_path: Path, of_mask: np.ndarray, verdict: str
) -> None:
    image = write(tmp_path / "i.nii", np.zeros(SHAPE, np.int16), PLAIN)
    mask = write(tmp_path / "m.nii.gz", VOXELS, of_mask)
    assert judged(image, mask) == verdict


def test_equal_axes_in_any_order_of_storage_are_one_place(tmp_path: Path) -> None:
    """Of 48 ways to store a mask, each lies where nibabel says that its voxel is."""
    item = VOXELS.transpose(2, 1, 0)
    image = str(write_nifti(tmp_path / "i.nii", item, axes="RAS", spacing=(2, 1.5, 1)))
    cube = np.zeros((6, 6, 6), np.uint8)
    cube[1, 2, 3] = 255
    for order in itertools.permutations(("LR", "PA", "IS")):
        for axes in itertools.product(*order):
            path = write_nifti(tmp_path / "m.nii", item, axes="".join(axes), spacing=(2, 1.5, 1))
            assert judged(image, str(path)) == "accepted"
            turn = nib.orientations.axcodes2ornt(axes)
            affine = nib.orientations.inv_ornt_aff(turn, cube.shape)
            place = nib.affines.apply_affine(affine, [1, 2, 3]).round().astype(int)
            bright = np.zeros(cube.shape, np.uint8)
            bright[tuple(place)] = 255
            square = write(tmp_path / "c.nii", bright, np.eye(4))
            mask = write(tmp_path / "n.nii", cube, affine)
            assert judged(square, mask) == "accepted"
            pixels = load_image([square], "nifti").picture.pixels
            found, _ = load_mask(mask, "nifti", [255])
            np.testing.assert_array_equal(found * 255, pixels[..., 0])


def test_what_nibabel_takes_for_the_place_is_what_counts(tmp_path: Path) -> None:
    """The sform where its code is set, then the qform, then what pixdim alone says."""
    image = write(tmp_path / "i.nii", np.zeros(SHAPE, np.int16), PLAIN, sform=1, qform=1)
    far = moved(PLAIN, by=(30, 0, 0))
    both = nib.Nifti1Image(VOXELS, PLAIN)
    both.set_sform(far, code=2)
    both.set_qform(PLAIN, code=1)
    nib.save(both, tmp_path / "s.nii")
    both.set_sform(far, code=0)
    nib.save(both, tmp_path / "q.nii")
    both.set_qform(PLAIN, code=0)
    nib.save(both, tmp_path / "none.nii")
    verdicts = {}
    for name in ("s", "q", "none"):
        stands = np.allclose(nib.load(tmp_path / f"{name}.nii").affine, PLAIN, atol=1e-3)
        verdicts[name] = judged(image, str(tmp_path / f"{name}.nii"))
        assert (verdicts[name] == "accepted") == stands
    assert verdicts == {"s": "mask_geometry", "q": "accepted", "none": "mask_geometry"}


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([np.nan, 1.0, 1.0, 1.0]),
        np.diag([1.0, 1.0, np.inf, 1.0]),
        np.diag([1.0, 0.0, 1.0, 1.0]),
        np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),  # two axes are one
        np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),  # sheared
    ],
)
def test_an_affine_that_is_none_is_refused_of_image_and_of_mask(
    tmp_path: Path, affine: np.ndarray
) -> None:
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header["sform_code"] = 1
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[name] = affine[row]
    raw = bytearray(image.to_bytes())
    raw[254:256] = (1).to_bytes(2, "little")
    for row in range(3):
        at = 280 + 16 * row
        raw[at : at + 16] = affine[row].astype("<f4").tobytes()
    (tmp_path / "m.nii").write_bytes(raw)
    sound = write(tmp_path / "i.nii", np.zeros(SHAPE, np.int16), np.eye(4))
    assert judged(sound, str(tmp_path / "m.nii")) == "odd_geometry"
    with pytest.raises(CellRefusedError) as caught:
        load_image([str(tmp_path / "m.nii")], "nifti")
    assert caught.value.reason == "odd_geometry"


def test_units_count(tmp_path: Path) -> None:
    image = write(tmp_path / "i.nii", np.zeros(SHAPE, np.int16), PLAIN)
    metres = nib.Nifti1Image(VOXELS, np.diag([0.001, 0.001, 0.001, 1]) @ PLAIN)
    metres.header.set_xyzt_units("meter")
    nib.save(metres, tmp_path / "m.nii")
    assert judged(image, str(tmp_path / "m.nii")) == "accepted"
    metres.header.set_xyzt_units("micron")
    nib.save(metres, tmp_path / "m.nii")
    assert judged(image, str(tmp_path / "m.nii")) == "mask_geometry"


def series(folder: Path, *, corner: tuple[float, float] = (0, 0)) -> list[str]:
    """Six axial slices of SHAPE, 2 mm apart, pixels of 1 mm, head last."""
    return [
        str(
            write_dicom(
                folder / f"{k}.dcm",
                np.zeros((SHAPE[1], SHAPE[0])),
                PixelSpacing=[1, 1],
                ImagePositionPatient=[*corner, 2.0 * k],
            )
        )
        for k in range(SHAPE[2])
    ]


@pytest.mark.parametrize(
    ("of_mask", "verdict"),
    [
        (PLAIN, "accepted"),  # LPS of DICOM is -x, -y of NIfTI
        (np.diag([1.0, 1.0, 2.0, 1.0]), "mask_geometry"),
        (moved(PLAIN, by=(0, 3, 0)), "mask_geometry"),
        (np.diag([-1.0, -1.0, 3.0, 1.0]), "mask_geometry"),
    ],
)
def test_a_nifti_mask_lies_on_its_dicom_series(
    tmp_path: Path, of_mask: np.ndarray, verdict: str
) -> None:
    grid = load_image(series(tmp_path / "s"), "dicom").picture.grid
    mask = write(tmp_path / "m.nii", VOXELS, of_mask)
    assert verdict_on(grid, mask, "nifti") == verdict


def test_a_long_series_of_rounded_positions_still_has_its_mask(tmp_path: Path) -> None:
    """Its steps are 2.50 mm but for each tenth, and a converter tells their mean."""
    voxels = blob((4, 4, 200), seed=1)
    step = 2.501
    files = [
        str(
            write_dicom(
                tmp_path / "s" / f"{k:03d}.dcm", np.zeros((4, 4)), PixelSpacing=[0.5, 0.5],
                ImagePositionPatient=[0, 0, round(step * k, 2)],
            )
        )
        for k in range(200)
    ]  # fmt: skip
    picture = load_image(files, "dicom").picture
    assert picture.spacing == pytest.approx((2.5, 0.5, 0.5))
    mask = write(tmp_path / "m.nii", voxels, np.diag([-0.5, -0.5, step, 1]))
    assert verdict_on(picture.grid, mask, "nifti") == "accepted"


def test_arrays_and_pictures_are_judged_by_what_they_tell(tmp_path: Path) -> None:
    item = VOXELS.transpose(2, 1, 0)
    image = str(write_nifti(tmp_path / "i.nii", item, spacing=(2, 1, 1)))
    for spacing, verdict in (
        ((2, 1, 1), "accepted"), ((2, 1, 1.005), "accepted"),
        ((2, 1, 1.1), "mask_geometry"), ((1, 1, 2), "mask_geometry"),
    ):  # fmt: skip
        np.savez(tmp_path / "m.npz", mask=item, image=item, spacing=spacing)
        assert judged(image, str(tmp_path / "m.npz"), mask_format="npz") == verdict
    np.savez(tmp_path / "m.npz", mask=item)
    assert judged(image, str(tmp_path / "m.npz"), mask_format="npz") == "accepted"
    np.savez(tmp_path / "m.npz", mask=item[1:])
    assert judged(image, str(tmp_path / "m.npz"), mask_format="npz") == "mask_size"
    flat = str(write_nifti(tmp_path / "f.nii", item[:1], spacing=(2, 1, 1)))
    mask = str(write_png(tmp_path / "m.png", item[0]))
    assert judged(flat, mask, mask_format="image") == "accepted"
    picture = str(write_png(tmp_path / "p.png", item[0]))
    assert judged(picture, mask, image_format="image", mask_format="image") == "accepted"
