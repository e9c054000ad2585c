"""An invented pelvis: the organs around a prostate as ellipsoids, drawn at random for each case."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from catalog.examples.phantom import Organ, Point

BALLOON = 17.0  # radius in mm of what an endorectal coil sits in
CAPSULE = 2.5  # mm


@dataclass(frozen=True)
class Pelvis:
    """The organs in the order in which they cover one another; two of them by name."""

    organs: tuple[Organ, ...]
    prostate: Organ
    rectum: Organ


class _Draw:
    """Random sizes, places and outlines."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def size(self, usual: float, spread: float = 0.1) -> float:
        """A length around the usual one, its logarithm normal."""
        return float(usual * np.exp(spread * self.rng.normal()))

    def shift(self, spread: float) -> float:
        """A normal length."""
        return float(spread * self.rng.normal())

    def share(self, low: float, high: float) -> float:
        """A number between two."""
        return float(self.rng.uniform(low, high))

    def waves(self, strength: float) -> tuple[tuple[float, float], ...]:
        """Four waves of an outline, finer ones fainter."""
        strengths = np.abs(self.rng.normal(0.0, strength / np.arange(1, 5)))
        phases = self.rng.uniform(0.0, 2 * np.pi, 4)
        return tuple(zip(strengths.tolist(), phases.tolist(), strict=True))


def draw_pelvis(rng: np.random.Generator, *, has_coil: bool) -> Pelvis:
    """A pelvis; an endorectal coil fills the rectum with its balloon and nothing else differs."""
    draw = _Draw(rng)
    centre = draw.shift(2.0), draw.shift(5.0), draw.shift(4.0)
    radii = draw.size(20.0), draw.size(17.0, 0.12), draw.size(24.0, 0.12)
    prostate = Organ("peripheral", centre, radii, draw.waves(0.04), grain=0.1)
    capsule = replace(prostate, tissue="capsule", radii=_wider(radii, CAPSULE))
    wall, rectum = _rectum(draw, prostate, has_coil=has_coil)
    inner = capsule, prostate, _central_zone(draw, prostate)
    around = *_frame(draw, centre), *_bones(draw, prostate), _bladder(draw, prostate)
    return Pelvis((*around, wall, rectum, *inner), prostate, rectum)


def _central_zone(draw: _Draw, prostate: Organ) -> Organ:
    (z, y, x), (length, height, width) = prostate.centre, prostate.radii
    share = draw.share(0.55, 0.85)  # of the gland's width
    centre = z + 0.1 * length, y - 0.2 * height, x + draw.shift(1.0)
    radii = 0.85 * length, 0.75 * share * height, share * width
    return Organ("central", centre, radii, draw.waves(0.06), grain=0.2)


def _rectum(draw: _Draw, prostate: Organ, *, has_coil: bool) -> tuple[Organ, Organ]:
    """Its wall, and what is in it."""
    (z, y, x), (_, height, _) = prostate.centre, prostate.radii
    radius = BALLOON + draw.shift(1.0) if has_coil else draw.size(11.0, 0.25)
    centre = z, y + height + radius + 1.0 + abs(draw.shift(1.0)), x + draw.shift(3.0)
    radii = 200.0, radius, radius * (1.0 if has_coil else draw.size(1.2, 0.15))
    is_empty = draw.share(0.0, 1.0) < 0.4
    content = "air" if has_coil or is_empty else "stool"
    wall = Organ("wall", centre, _wider(radii, 3.0), draw.waves(0.05))
    return wall, Organ(content, centre, radii, draw.waves(0.05), grain=0.3)


def _bladder(draw: _Draw, prostate: Organ) -> Organ:
    (z, y, x), (length, _, _) = prostate.centre, prostate.radii
    fill = draw.size(1.0, 0.2)
    centre = z + length + 16.0 * fill, y - 6.0 + draw.shift(4.0), x + draw.shift(4.0)
    return Organ("urine", centre, (24.0 * fill, 24.0 * fill, 34.0 * fill), draw.waves(0.05), 0.02)


def _frame(draw: _Draw, centre: Point) -> tuple[Organ, ...]:
    """The body with its rim of fat, and the fat between its organs."""
    _, y, x = centre
    front, side, rim = draw.size(112.0, 0.08), draw.size(170.0, 0.08), draw.size(18.0, 0.3)
    middle = 0.0, y + 8.0, x
    return (
        Organ("fat", middle, (900.0, front, side), draw.waves(0.02)),
        Organ("muscle", middle, (900.0, front - rim, side - rim), draw.waves(0.03)),
        Organ(
            "fat", (0.0, y + 4.0, x), (900.0, draw.size(52.0), draw.size(50.0)), draw.waves(0.05)
        ),
    )


def _bones(draw: _Draw, prostate: Organ) -> tuple[Organ, ...]:
    """Symphysis, and on both sides the inner muscle of the hip and the head of the femur."""
    (z, y, x), (_, height, _) = prostate.centre, prostate.radii
    front = z - 4.0, y - height - draw.size(16.0), x
    bone = Organ("bone", front, (16.0, 11.0, 30.0), draw.waves(0.05))
    organs = [bone, replace(bone, tissue="marrow", radii=_wider(bone.radii, -2.0))]
    for side in (-1.0, 1.0):
        hip = z + 12.0, y - 6.0, x + side * draw.size(92.0, 0.05)
        muscle = z, y + 2.0, x + side * draw.size(48.0, 0.05)
        radius = draw.size(26.0, 0.08)
        organs += [
            Organ("muscle", muscle, (80.0, draw.size(34.0), draw.size(10.0)), draw.waves(0.05)),
            Organ("bone", hip, (radius + 2.5,) * 3),
            Organ("marrow", hip, (radius,) * 3, grain=0.12),
        ]
    return tuple(organs)


def _wider(radii: Point, by: float) -> Point:
    z, y, x = radii
    return z + by, y + by, x + by
