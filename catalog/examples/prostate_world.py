"""The prostate demo's six sites: pelvis-like phantoms under six scanners, as NIfTI with masks.

Every shape and number is made up; no image is of a person. What differs from site to site stands
in `prostate/sites.yaml` as data.
"""

from __future__ import annotations

import functools
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import yaml

from catalog.examples.pelvis import draw_pelvis
from catalog.examples.phantom import Point, Scanner, Tissue, depth_inside, scan

SPLIT_SIZES = {"train": 24, "validation": 4, "test": 24}  # cases of each site; a case is a group


@dataclass(frozen=True)
class PhantomCase:
    """An image (slices, rows, columns), the mask of the prostate, and the size of a voxel in mm."""

    image: npt.NDArray[np.int16]
    mask: npt.NDArray[np.uint8]
    spacing: Point


@functools.cache
def _declared() -> dict[str, Any]:
    text = resources.files("catalog.examples").joinpath("prostate/sites.yaml").read_text("utf-8")
    declared: dict[str, Any] = yaml.safe_load(text)
    return declared


def sites() -> dict[str, Scanner]:
    """The scanner of each site by its name."""
    return {name: Scanner(**numbers) for name, numbers in _declared()["sites"].items()}


def tissues() -> dict[str, Tissue]:
    """Density and relaxation of each tissue by its name."""
    return {name: Tissue(**numbers) for name, numbers in _declared()["tissues"].items()}


def make_case(site: str, number: int, *, seed: int = 0) -> PhantomCase:
    """A case of a site, a function of site, number and seed.

    Raises:
        KeyError: the demo has no such site.
    """
    scanner = sites()[site]
    rng = np.random.default_rng([seed, number, *site.encode()])
    pelvis = draw_pelvis(rng, has_coil=scanner.coil > 0.0)
    mask = depth_inside(pelvis.prostate, scanner.points()) > 0.0
    image = scan(pelvis.organs, tissues(), scanner, rng, coil_at=pelvis.rectum.centre)
    return PhantomCase(
        image, mask.astype(np.uint8), (scanner.spacing, scanner.pixel, scanner.pixel)
    )


def write_world(folder: Path, *, seed: int = 0, cases: Mapping[str, int] = SPLIT_SIZES) -> None:
    """Write image and mask of so many cases of each site and split into the folder."""
    splits = [split for split, n in cases.items() for _ in range(n)]
    for site in sites():
        for number, split in enumerate(splits):
            case = make_case(site, number, seed=seed)
            split_folder = folder / site / split
            split_folder.mkdir(parents=True, exist_ok=True)
            name = f"{site}-{number:03d}"
            (split_folder / f"{name}.image.nii.gz").write_bytes(_nifti(case.image, case.spacing))
            (split_folder / f"{name}.mask.nii.gz").write_bytes(_nifti(case.mask, case.spacing))


def _nifti(voxels: npt.NDArray[Any], spacing: Point) -> bytes:
    """A gzipped NIfTI-1 file, the same on every run; its axes run left, back and up."""
    up, back, left = spacing
    image: Any = nibabel.Nifti1Image(voxels.transpose(2, 1, 0), np.diag((-left, -back, up, 1.0)))
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
