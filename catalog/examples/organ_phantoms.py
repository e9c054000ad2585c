"""Phantoms of no anatomy: a body with a few random organs, of which one stands out.

A small model is pretrained on them before it sees any prostate: to find what stands out most.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from catalog.examples.phantom import Organ, Point, Scanner, Tissue, depth_inside, scan

N_SLICES = 4
N_OTHERS = (2, 6)  # organs beside the one that stands out
FAINTER = 0.5  # their contrast to the body is at most this share of its contrast


def make_phantom(
    number: int, *, matrix: int, seed: int = 0
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8], Point]:
    """An image (slices, rows, columns), the mask of what stands out, the edges of a voxel in mm."""
    rng = np.random.default_rng([seed, number])
    scanner = _scanner(rng, matrix)
    body = float(rng.uniform(0.3, 0.7))
    contrast = float(rng.uniform(0.2, 0.3)) * float(rng.choice((-1.0, 1.0)))
    middle = _place(rng, 0.1)
    size = float(rng.uniform(65.0, 110.0)), float(rng.uniform(80.0, 140.0))
    organs = [
        Organ("rim", middle, (900.0, size[0] + 15.0, size[1] + 15.0), _waves(rng)),
        Organ("body", middle, (900.0, *size), _waves(rng)),
    ]
    levels = {"rim": float(rng.uniform(0.1, 1.0)), "body": body}
    for n in range(int(rng.integers(*N_OTHERS, endpoint=True))):
        levels[f"other_{n}"] = body + contrast * FAINTER * float(rng.uniform(-1.0, 1.0))
        organs.append(Organ(f"other_{n}", _place(rng, 0.6), _radii(rng), _waves(rng)))
    levels["target"] = body + contrast
    target = Organ("target", _place(rng, 0.5), _radii(rng), _waves(rng))
    tissues = {name: Tissue(level, t1=1.0, t2=1e6) for name, level in levels.items()}
    image = scan([*organs, target], tissues, scanner, rng, coil_at=(0.0, 0.0, 0.0))
    mask = depth_inside(target, scanner.points()) > 0.0
    return image, mask.astype(np.uint8), (scanner.spacing, scanner.pixel, scanner.pixel)


def _scanner(rng: np.random.Generator, matrix: int) -> Scanner:
    return Scanner(
        tr=1000.0,
        te=0.0,
        t1_factor=1.0,
        n_slices=N_SLICES,
        spacing=float(rng.uniform(4.0, 9.0)),
        thickness=4.0,
        matrix=matrix,
        field_of_view=float(rng.uniform(150.0, 260.0)),
        blur=float(rng.uniform(1.5, 4.0)),
        noise=float(rng.uniform(0.03, 0.12)),
        bias=float(rng.uniform(0.0, 0.5)),
        coil=0.0,
        receiver=1000.0,
    )


def _place(rng: np.random.Generator, spread: float) -> Point:
    z, y, x = rng.normal(0.0, spread * np.array((10.0, 50.0, 60.0)))
    return float(z), float(y), float(x)


def _radii(rng: np.random.Generator) -> Point:
    z, y, x = rng.uniform(10.0, 32.0, 3)
    return float(z), float(y), float(x)


def _waves(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    sizes, phases = np.abs(rng.normal(0.0, 0.05, 3)), rng.uniform(0.0, 2 * np.pi, 3)
    return tuple(zip(sizes.tolist(), phases.tolist(), strict=True))
