"""One colour for each source on the whole page, dark enough to be read on either background."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

LIGHT, DARK = "#f3f6f9", "#1a2129"  # behind charts in either scheme: where a colour shows least
READABLE = 4.5  # contrast that WCAG 2 asks of text at level AA
_GOLDEN_DEGREES = 137.508  # between two that follow each other: any first few lie far apart
_CHROMA = 0.13


def colours_of(sources: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Source -> its colour on the light and on the dark background, in the order they came.

    A source keeps its colour when others come after it.

    >>> colours_of(["a"])["a"] == colours_of(["a", "b"])["a"]
    True
    """
    return {
        source: (_readable(number, LIGHT), _readable(number, DARK))
        for number, source in enumerate(sources)
    }


def contrast(colour: str, other: str) -> float:
    """The contrast ratio of two colours by WCAG 2, from 1 to 21.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    darker, lighter = sorted((_luminance(colour), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _readable(number: int, background: str) -> str:
    """The n-th hue, as near to the middle of lightness as can be read on the background."""
    hue = math.radians(250.0 + number * _GOLDEN_DEGREES)
    is_dark = background == DARK
    lightness = 0.68 if is_dark else 0.58
    # neighbours on the wheel differ in lightness too: not everyone tells hues apart
    lightness += (0.11 if is_dark else -0.12) * (number % 2)
    while contrast(_hex(lightness, hue), background) < READABLE:
        lightness += 0.01 if is_dark else -0.01
    return _hex(lightness, hue)


def _hex(lightness: float, hue: float) -> str:
    """A colour of the OKLCH space as `#rrggbb`, with less chroma where a screen has not so much."""
    chroma = _CHROMA
    rgb = _linear_rgb(lightness, chroma, hue)
    while not all(0.0 <= value <= 1.0 for value in rgb) and chroma > 0.01:
        chroma -= 0.005
        rgb = _linear_rgb(lightness, chroma, hue)
    encoded = (
        12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055
        for v in (min(1.0, max(0.0, value)) for value in rgb)
    )
    return "#" + "".join(f"{round(value * 255):02x}" for value in encoded)


def _linear_rgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """OKLCH to linear sRGB, by the matrices of its author, Björn Ottosson."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _luminance(colour: str) -> float:
    values = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
