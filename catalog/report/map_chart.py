"""The map of the library: places in feature space, and names that lie on none of each other.

Places are per cent of the width, names hang on them by so many pixels. Two names are apart on every
screen if they are on the narrowest and on the widest, in the same order: their distance is linear
in the width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

NAMED = 60  # points that still have room for their names or numbers
HEIGHT = 360
FONT = 12  # pixels, on every screen
_NARROW, _WIDE = 262.0, 704.0  # pixels that the map may be wide: what labels are placed for
_USUAL_WIDTH = 480.0  # at which both axes have one scale
_LINE = 15.0  # pixels that a line of text is high
_SIZE = 8.5  # of a mark, from its middle
_EDGE_X, _EDGE_Y = 6.0, 22.0  # per cent and pixels that stay free around the marks
_WIDTHS = {"i": 0.29, "l": 0.29, "j": 0.3, "f": 0.37, "t": 0.41, "r": 0.43, "m": 1.0, "w": 0.84}
_USUAL = 0.66  # of the font's size that a letter is wide, in a wide font
_GAP = 7  # lines that a name may be away from its mark


@dataclass(frozen=True)
class Point:
    """A dataset on the map; `label` is the name or number of its source, if it bears one."""

    number: int
    source: str
    role: str
    x: float  # per cent
    y: float  # pixels
    label: str = ""
    dx: float = 0.0
    dy: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Map:
    """Points of one encoder; where names have no room they bear numbers, and a list names them."""

    points: Sequence[Point]
    share: float  # of the variance that two axes show
    is_numbered: bool

    @property
    def sources(self) -> list[tuple[int, str, str]]:
        """Number, name and roles of every source on the map."""
        roles: dict[tuple[int, str], list[str]] = {}
        for point in self.points:
            roles.setdefault((point.number, point.source), []).append(point.role)
        return [(*key, " and ".join(of_source)) for key, of_source in sorted(roles.items())]

    @property
    def is_silent(self) -> bool:
        """Whether there is no room for any label."""
        return len(self.points) > NAMED


def library_map(names: Sequence[str], roles: Sequence[str], z: npt.NDArray[np.float64]) -> Map:
    """The library in feature space: z (n, d) on its two main axes."""
    centred = z - z.mean(axis=0)
    _, singular, axes_of_space = np.linalg.svd(centred, full_matrices=False)
    places = centred @ axes_of_space[:2].T
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    low, span = places.min(axis=0), np.ptp(places, axis=0)
    room = np.array([(100.0 - 2 * _EDGE_X) / 100 * _USUAL_WIDTH, HEIGHT - 2 * _EDGE_Y])
    # one scale for both axes, so that far is far in either direction
    scale = float(np.min(room / np.maximum(span, 1e-12 + 1e-9 * span.max())))
    pixels = (room - span * scale) / 2 + (places - low) * scale
    numbers = {name: number for number, name in enumerate(sorted(set(names)), 1)}
    points = [
        Point(
            numbers[name],
            name,
            role,
            round(_EDGE_X + x / _USUAL_WIDTH * 100.0, 2),
            round(HEIGHT - _EDGE_Y - y, 1),
        )
        for name, role, (x, y) in zip(names, roles, pixels, strict=True)
    ]
    share = float((singular[:2] ** 2).sum() / max((singular**2).sum(), 1e-30))
    if len(points) > NAMED:
        return Map(points, share, is_numbered=False)
    wanted = [not _is_told_by_other(point, points) for point in points]
    named = place_labels(
        points, [p.source if w else "" for p, w in zip(points, wanted, strict=True)]
    )
    if all(point.label for point, is_wanted in zip(named, wanted, strict=True) if is_wanted):
        return Map(named, share, is_numbered=False)
    labels = [str(p.number) if w else "" for p, w in zip(points, wanted, strict=True)]
    return Map(place_labels(points, labels), share, is_numbered=True)


def _is_told_by_other(point: Point, points: Sequence[Point]) -> bool:
    """Whether it is the reference of a source whose target lies beside it, and bears the label."""
    return point.role == "reference" and any(
        other.source == point.source
        and other.role != point.role
        and abs(other.y - point.y) < 2 * _SIZE
        and abs(other.x - point.x) / 100 * _WIDE < 2 * _SIZE
        for other in points
    )


def place_labels(points: Sequence[Point], labels: Sequence[str]) -> list[Point]:
    """Points with those of the labels that lie on no mark and on no other label.

    Who has the most neighbours chooses first.
    """
    marks = [_Box(p.x, -_SIZE, _SIZE, p.y - _SIZE, p.y + _SIZE) for p in points]
    taken = list(marks)
    placed = dict(enumerate(points))
    crowd = [sum(abs(p.y - q.y) < 3 * _LINE for q in points) for p in points]
    labelled = [number for number, label in enumerate(labels) if label]
    for number in sorted(labelled, key=lambda i: (-crowd[i], i)):
        for candidate, box in _candidates(points[number], labels[number]):
            if box.is_inside() and not any(box.meets(other) for other in taken):
                placed[number] = candidate
                taken.append(box)
                break
    return [placed[number] for number in sorted(placed)]


def label_width(text: str) -> float:
    """Pixels that a label is wide at most, in a wide font.

    >>> label_width("ill") < label_width("mmm")
    True
    """
    return FONT * sum(_WIDTHS.get(letter, _USUAL) for letter in text) + 2.0


@dataclass(frozen=True)
class _Box:
    """A rectangle that hangs on a place: per cent across, and pixels from there."""

    x: float
    left: float
    right: float
    top: float
    bottom: float

    def ends(self, width: float) -> tuple[float, float]:
        return self.x / 100 * width + self.left, self.x / 100 * width + self.right

    def is_inside(self) -> bool:
        both = [(*self.ends(width), width) for width in (_NARROW, _WIDE)]
        is_across = all(left >= 0 and right <= width for left, right, width in both)
        return is_across and self.top >= 0 and self.bottom <= HEIGHT

    def meets(self, other: _Box) -> bool:
        if self.bottom <= other.top or other.bottom <= self.top:
            return False
        pairs = [(self.ends(width), other.ends(width)) for width in (_NARROW, _WIDE)]
        is_left = all(mine[1] <= theirs[0] for mine, theirs in pairs)
        is_right = all(theirs[1] <= mine[0] for mine, theirs in pairs)
        return not (is_left or is_right)


def _candidates(point: Point, label: str) -> Iterator[tuple[Point, _Box]]:
    """Where a label could stand, the nearest first: right, left, below, above, then further."""
    width, near = label_width(label), _SIZE + 3.0
    steps = [0.0]
    for step in range(1, _GAP):
        steps += [step * _LINE / 2, -step * _LINE / 2]
    for down in steps:
        beside = abs(down) < _LINE
        sides = [("start", near if beside else 0.0), ("end", -near if beside else 0.0)]
        if not beside:
            sides.append(("middle", 0.0))
        for anchor, dx in sides:
            left = {"start": dx, "end": dx - width, "middle": dx - width / 2}[anchor]
            middle = point.y + down
            box = _Box(point.x, left, left + width, middle - _LINE / 2, middle + _LINE / 2)
            yield replace(point, label=label, dx=dx, dy=down + FONT / 3, anchor=anchor), box
