"""Phantoms: soft ellipsoids painted one over another, and the MR scanner that looks at them.

Values in, values out. Which bodies and scanners there are belongs to the worlds. Lengths are in
mm, times in ms; axes are (slice, row, column), rows from front to back, slices from foot to head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Floats = npt.NDArray[np.float64]
Point = tuple[float, float, float]
Points = tuple[Floats, Floats, Floats]

DEPTHS = (-0.33, 0.0, 0.33)  # of a slice's thickness: it shows the mean of what lies there
FWHM = 2.3548  # full width at half maximum of a Gaussian, in standard deviations
GRAIN_SCALE = 4.0  # mm: how coarse the texture of tissue is


@dataclass(frozen=True)
class Tissue:
    """Proton density (0 to 1) and relaxation times."""

    density: float
    t1: float
    t2: float


@dataclass(frozen=True)
class Organ:
    """An ellipsoid of one tissue whose outline waves; `grain` is the strength of its texture.

    A wave is an amplitude, as a share of the radius, and a phase; the first has two crests.
    """

    tissue: str
    centre: Point
    radii: Point
    waves: tuple[tuple[float, float], ...] = ()
    grain: float = 0.06


@dataclass(frozen=True)
class Scanner:
    """How a site makes its images."""

    tr: float
    te: float
    t1_factor: float  # T1 grows with the field: 1.0 at 3 T
    n_slices: int
    spacing: float  # from slice to slice
    thickness: float
    matrix: int
    field_of_view: float
    blur: float  # full width at half maximum of the point spread in the slice
    noise: float  # standard deviation in each channel, as a share of the mean signal
    bias: float  # amplitude of the logarithm of the multiplicative field
    coil: float  # gain of an endorectal coil at its centre, 0 without one
    receiver: float  # stored numbers have no unit

    @property
    def pixel(self) -> float:
        """The edge of a pixel."""
        return self.field_of_view / self.matrix

    def points(self, *, depths: Sequence[float] = (0.0,)) -> Points:
        """Coordinates around the centre of the volume, ready to broadcast: slices, rows, columns.

        A slice is looked at in several depths, given as shares of its thickness from its middle.
        """
        middles = _centred(self.n_slices) * self.spacing
        z = np.add.outer(middles, np.asarray(depths) * self.thickness).ravel()
        edge = _centred(self.matrix) * self.pixel
        return z[:, None, None], edge[None, :, None], edge[None, None, :]


def _centred(n: int) -> Floats:
    return np.arange(n, dtype=np.float64) - (n - 1) / 2


def depth_inside(organ: Organ, points: Points) -> Floats:
    """How deep each point lies inside the outline, negative outside; exact at the outline only."""
    z, y, x = ((p - c) / r for p, c, r in zip(points, organ.centre, organ.radii, strict=True))
    flat = y * y + x * x
    reach: Floats = np.ones((1, 1, 1))
    if organ.waves:
        angle, out = np.arctan2(y, x), np.sqrt(flat)
        for n, (amplitude, phase) in enumerate(organ.waves, start=2):
            reach = reach + amplitude * out * np.cos(n * angle + phase)
    return (reach - np.sqrt(z * z + flat)) * min(organ.radii)


def signal(tissue: Tissue, scanner: Scanner) -> float:
    """Spin echo: density (1 - exp(-TR / T1)) exp(-TE / T2)."""
    recovered = 1.0 - np.exp(-scanner.tr / (tissue.t1 * scanner.t1_factor))
    return float(tissue.density * recovered * np.exp(-scanner.te / tissue.t2))


def scan(
    organs: Sequence[Organ],
    tissues: Mapping[str, Tissue],
    scanner: Scanner,
    rng: np.random.Generator,
    *,
    coil_at: Point,
) -> npt.NDArray[np.int16]:
    """The image of organs painted in their order, shape (slices, rows, columns).

    Partial volume and texture, then point spread, coil and bias field, Rician noise, receiver.
    """
    brightness = {name: signal(tissue, scanner) for name, tissue in tissues.items()}
    texture = _texture(scanner, rng)
    clean = _painted(organs, brightness, scanner, texture)
    sigma = scanner.blur / FWHM / scanner.pixel
    blurred = gaussian_filter(clean, (0.0, sigma, sigma))
    seen = blurred * _field(scanner, rng, coil_at)
    level = scanner.noise * float(clean[clean > 0.0].mean())
    real, imaginary = rng.normal(0.0, level, (2, *seen.shape))
    stored = np.rint(scanner.receiver * np.hypot(seen + real, imaginary))
    return np.asarray(np.clip(stored, 0, np.iinfo(np.int16).max), dtype=np.int16)


def _painted(
    organs: Sequence[Organ], brightness: Mapping[str, float], scanner: Scanner, texture: Floats
) -> Floats:
    """Organs one over another, soft by a pixel; a slice is the mean of what lies in its depth."""
    points = scanner.points(depths=DEPTHS)
    grain = np.repeat(texture, len(DEPTHS), axis=0)
    canvas = np.zeros_like(grain)
    for organ in organs:
        box = _box(organ, points)
        z, y, x = points[0][box[0]], points[1][:, box[1]], points[2][:, :, box[2]]
        cover = np.clip(0.5 + depth_inside(organ, (z, y, x)) / scanner.pixel, 0.0, 1.0)
        colour = brightness[organ.tissue] * (1.0 + organ.grain * grain[box])
        canvas[box] += cover * (colour - canvas[box])
    stacked = canvas.reshape(scanner.n_slices, len(DEPTHS), scanner.matrix, scanner.matrix)
    return np.asarray(stacked.mean(axis=1))


def _box(organ: Organ, points: Points) -> tuple[slice, slice, slice]:
    """Where on each axis the organ can be, its waves and its soft outline included."""
    reach = 1.2 + sum(amplitude for amplitude, _ in organ.waves)
    spans = []
    for axis, centre, radius in zip(points, organ.centre, organ.radii, strict=True):
        near = np.flatnonzero(np.abs(axis.ravel() - centre) <= reach * radius)
        spans.append(slice(near[0], near[-1] + 1) if near.size else slice(0))
    return spans[0], spans[1], spans[2]


def _texture(scanner: Scanner, rng: np.random.Generator) -> Floats:
    """Smooth noise of unit variance."""
    sigma = GRAIN_SCALE / FWHM / scanner.pixel
    rough = rng.normal(size=(scanner.n_slices, scanner.matrix, scanner.matrix))
    smooth = gaussian_filter(rough, (0.0, sigma, sigma))
    return np.asarray(smooth / smooth.std())


def _field(scanner: Scanner, rng: np.random.Generator, coil_at: Point) -> Floats:
    """The multiplicative field: a random quadratic in the exponent, times what the coil hears."""
    z, y, x = scanner.points()
    half = scanner.field_of_view / 2
    y, x, z = y / half, x / half, z / (scanner.spacing * scanner.n_slices)
    a = rng.normal(size=6)
    wave = a[0] * x + a[1] * y + a[2] * z + a[3] * x * y + a[4] * (x * x - 0.5) + a[5] * (y * y)
    smooth = np.exp(scanner.bias * wave / np.abs(wave).max())
    gaps = zip(scanner.points(), coil_at, strict=True)
    squared = sum(((p - c) * (p - c) for p, c in gaps), start=np.zeros(()))
    heard = 1.0 + scanner.coil / (1.0 + squared / 25.0**2)
    return np.asarray(smooth * heard)
