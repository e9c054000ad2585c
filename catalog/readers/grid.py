"""Where an item's pixels lie in the patient, and whether a mask lies on its image."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

# Of the smallest distance between two pixels: so far may a pixel of a mask lie from its image's
PLACE_TOLERANCE = 0.1
SIZE_TOLERANCE = 0.01  # of the spacing, and of the cosines of the axes

Array = npt.NDArray[Any]
Spacing = tuple[float | None, float | None, float | None]  # mm: between slices, rows, columns


@dataclass(frozen=True)
class Grid:
    """The size of an item, the distances between its pixels, and where each of them lies.

    What a file does not tell is None: of a picture all but the size.
    """

    shape: tuple[int, ...]  # slices, rows, columns
    spacing: Spacing = (None, None, None)
    affine: Array | None = field(default=None, repr=False)  # (slice, row, column, 1) -> RAS in mm

    def lies_on(self, other: Grid) -> bool:
        """Whether two grids of one size agree in all that both of them tell.

        Spacing and the direction of axes may differ by a hundredth, and the place of any pixel by a
        tenth of the smallest distance between pixels.
        """
        by_axis = zip(self.shape, self.spacing, other.spacing, strict=True)
        if any(
            n > 1 and a and b and abs(a - b) > SIZE_TOLERANCE * max(a, b) for n, a, b in by_axis
        ):
            return False
        if self.affine is None or other.affine is None:
            return True
        near = self._along(self.affine), self._along(other.affine)
        if (np.abs(_directions(near[0]) - _directions(near[1])) > SIZE_TOLERANCE).any():
            return False
        ends = np.array(list(itertools.product(*([0, n - 1] for n in self.shape))), np.float64)
        apart = (self.affine - other.affine)[:3] @ np.c_[ends, np.ones(len(ends))].T
        smallest = min(np.linalg.norm(axes, axis=0).min() for axes in near)
        return bool(np.linalg.norm(apart, axis=0).max() <= PLACE_TOLERANCE * smallest)

    def _along(self, affine: Array) -> Array:
        """The columns of the axes that have more than one pixel, or all where none has."""
        longer = [axis for axis, n in enumerate(self.shape) if n > 1] or [0, 1, 2]
        return affine[:3, longer]


def _directions(axes: Array) -> Array:
    directions: Array = axes / np.linalg.norm(axes, axis=0)
    return directions
