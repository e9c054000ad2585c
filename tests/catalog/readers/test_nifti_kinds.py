"""NIfTI files of kinds that archives hold, held against nibabel; what is damaged stays mute."""

from __future__ import annotations

import gzip
import logging
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from catalog.readers.cells import CellRefusedError
from catalog.readers.images import load_image
from tests.image_files import NAME

RNG = np.random.default_rng(0)
VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
LPS = np.diag([-1.0, -2.0, 3.0, 1.0])


def load(path: Path):
    return load_image([str(path)], "nifti").picture


@pytest.mark.parametrize("names", ["RGB", "RGBA"])
def test_the_colours_of_a_voxel_are_channels_and_alpha_is_dropped(tmp_path, names):
    colours = RNG.integers(0, 256, (5, 4, 3, len(names))).astype(np.uint8)
    voxels = colours.view([(name, "u1") for name in names])[..., 0]
    nib.save(nib.Nifti1Image(voxels, LPS), tmp_path / "a.nii.gz")
    found = load(tmp_path / "a.nii.gz").pixels
    np.testing.assert_array_equal(found, colours.transpose(2, 1, 0, 3)[..., :3])


def test_complex_voxels_are_called_what_they_are(tmp_path):
    nib.save(nib.Nifti1Image(VOXELS.astype(np.complex64), LPS), tmp_path / "a.nii")
    with pytest.raises(CellRefusedError) as caught:
        load(tmp_path / "a.nii")
    assert caught.value.reason == "unsupported_image"


@pytest.mark.parametrize(
    ("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (4, 1), (5, 1), (6, 1), (7, 1)]
)
@pytest.mark.parametrize("of_time", [0, 8, 56])
def test_units_that_no_table_has_are_millimetres(tmp_path, code, factor, of_time):
    raw = bytearray(nib.Nifti1Image(VOXELS, LPS).to_bytes())
    raw[123] = code + of_time
    (tmp_path / "a.nii").write_bytes(raw)
    found = load(tmp_path / "a.nii")
    np.testing.assert_array_equal(found.pixels[..., 0], VOXELS.transpose(2, 1, 0))
    assert found.spacing == pytest.approx((3 * factor, 2 * factor, 1 * factor))


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_voxels_of_any_type_are_what_nibabel_reads(tmp_path, kind, order):
    voxels = (RNG.random((5, 4, 3)) * 120).astype(f"{order}{kind}")
    image = nib.Nifti1Image(voxels, LPS, nib.Nifti1Header(endianness=order), dtype=voxels.dtype)
    for slope, intercept in ((None, None), (0.5, -3)):
        image.header.set_slope_inter(slope, intercept)
        nib.save(image, tmp_path / "a.nii")
        peer = nib.as_closest_canonical(nib.load(tmp_path / "a.nii")).get_fdata()
        expected = peer[::-1, ::-1].transpose(2, 1, 0)  # nibabel's RAS is LPS turned about
        np.testing.assert_allclose(load(tmp_path / "a.nii").pixels[..., 0], expected, rtol=1e-6)


def test_a_single_slice_is_one_slice_whichever_way_it_was_cut(tmp_path):
    """Rows from the head down, or from the front back; columns back, or from right to left."""
    cuts = {
        "axial": (VOXELS[:, :, :1], LPS, VOXELS[:, :, 0].T),
        "sagittal": (VOXELS[:1], LPS, VOXELS[0].T[::-1]),
        "coronal": (VOXELS[:, :1], LPS, VOXELS[:, 0].T[::-1]),
    }
    for name, (voxels, affine, expected) in cuts.items():
        stored = nib.Nifti1Image(voxels, affine)
        for axes in ("RAS", "LPS", "PIR", "ASL", "SRP"):
            turn = nib.orientations.ornt_transform(
                nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
            )
            nib.save(stored.as_reoriented(turn), tmp_path / f"{name}.nii")
            found = load(tmp_path / f"{name}.nii")
            np.testing.assert_array_equal(found.pixels[..., 0], expected[None])
            assert found.spacing == {
                "axial": (3, 2, 1), "sagittal": (1, 3, 2), "coronal": (2, 3, 1),
            }[name]  # fmt: skip


def test_nothing_of_a_damaged_file_is_printed(tmp_path, capfd, caplog):
    raw = nib.Nifti1Image(VOXELS, LPS).to_bytes()
    secret = NAME.encode()
    with caplog.at_level(logging.DEBUG):
        for start in (0, 4, 40, 70, 72, 108, 123, 148, 252, 254, 344):
            for make in (bytes, gzip.compress):
                path = tmp_path / "a.nii"
                path.write_bytes(make(raw[:start] + secret[:4] + raw[start + 4 :]))
                with suppress(CellRefusedError):  # some are sound in spite of it
                    load(path)
    assert "".join(capfd.readouterr()) == ""
    assert not [record for record in caplog.records if record.name.startswith("nibabel")]
