"""Charts of the report as places in per cent: a template draws them, and text stays as it is.

Across a chart everything is in per cent of its width and nothing is scaled, so that text and lines
have one size on every screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catalog.report.tables import to_the_second

Row = Mapping[str, Any]
NIGHTS = 30  # of a trend: as many as are told apart at phone width
_EDGE = 3.0  # per cent that stay free on either side of a track


@dataclass(frozen=True)
class Track:
    """One line of a chart: a dot with its interval, and what it says in words."""

    name: str
    at: float
    low: float
    high: float
    value: str
    description: str
    is_marked: bool = False
    ticks: Sequence[float] = ()  # further marks, such as the lowest and the highest seed


@dataclass(frozen=True)
class Tracks:
    """Dots with intervals on one scale, the best on top; `yardstick` is a line across all."""

    caption: str
    lines: Sequence[Track]
    ends: tuple[str, str]
    yardstick: float | None


@dataclass(frozen=True)
class Piece:
    """A part of a bar, in the colour of its source."""

    source: str
    at: float
    width: float


@dataclass(frozen=True)
class Bars:
    """Weights of each strategy over sources; those below zero lie left of `zero`."""

    lines: Sequence[tuple[str, Sequence[Piece], str]]  # strategy, its pieces, what they say
    sources: Sequence[str]
    ends: tuple[str, str]
    zero: float


@dataclass(frozen=True)
class Line:
    """One series of a trend as paths over a square of 100 by 100."""

    name: str
    path: str
    band: str
    dots: str


@dataclass(frozen=True)
class Trend:
    """Scores over nights: the champion's and the base's, with intervals, promotions marked."""

    lines: Sequence[Line]
    promotions: str
    ends: tuple[str, str]
    dates: tuple[str, str]
    description: str


def arms_chart(rows: Sequence[Row], *, marked: str) -> Tracks:
    """A dot for each arm with its 95 % interval, the best on top; base is the yardstick."""
    is_higher_better = rows[0].get("is_higher_better", True)
    ordered = sorted(rows, key=lambda row: row["value"], reverse=bool(is_higher_better))
    base = next((row["value"] for row in rows if row["arm"] == "base"), None)
    caption = (
        f"{ordered[0]['metric']} of each arm on {ordered[0]['n_items']:,} items,"
        " with its 95 % interval"
    )
    return _tracks(
        caption, [(row["arm"], row, row["arm"] == marked) for row in ordered], yardstick=base
    )


def quantity_chart(rows: Sequence[Row], quantity: str, *, title: str) -> Tracks:
    """One quantity of every method, the one compared with on top; marks are single seeds."""
    lines = [(row["method"], row[quantity], number == 0) for number, row in enumerate(rows)]
    return _tracks(title, lines, yardstick=rows[0][quantity]["value"])


def weights_chart(rows: Sequence[Row]) -> Bars:
    """Weights of each strategy over the sources, side by side on one scale."""
    strategies = sorted({row["strategy"] for row in rows})
    chosen = {s: [row for row in rows if row["strategy"] == s] for s in strategies}
    below = max(sum(-min(row["weight"], 0.0) for row in part) for part in chosen.values())
    above = max(sum(max(row["weight"], 0.0) for row in part) for part in chosen.values())
    scale = _scale(-below, max(above, 1e-9), edge=0.0)
    lines = []
    for strategy, part in chosen.items():
        left, right, pieces = 0.0, 0.0, []
        for row in part:
            width = abs(row["weight"])
            start = right if row["weight"] >= 0 else left - width
            pieces.append(Piece(row["source"], scale(start), scale(start + width) - scale(start)))
            right, left = (right + width, left) if row["weight"] >= 0 else (right, start)
        text = ", ".join(f"{row['source']} {row['weight']:.2f}" for row in part)
        lines.append((strategy, pieces, text))
    sources = sorted({row["source"] for row in rows})
    return Bars(lines, sources, (f"{-below:.2g}" if below else "0", f"{above:.2g}"), scale(0.0))


def nights_of(history: Sequence[Row]) -> list[Row]:
    """Rows of mart.target_history, the oldest first, as one point for each evaluation."""
    points: dict[str, dict[str, Any]] = {}
    for row in history:
        point = points.setdefault(
            row["evaluation_id"],
            {
                "at": row["evaluated_at"],
                "champion": None,
                "base": None,
                "version": row["champion_version"],
            },
        )
        if row["is_champion"]:
            point["champion"] = point["champion"] or row
        elif row["arm"] == "base":
            point["base"] = row
    former = None
    for point in points.values():
        version = point["version"]
        point["promoted"] = f"version {version}" if version and version != former else ""
        former = version
    return list(points.values())


def trend_chart(points: Sequence[Row]) -> Trend | None:
    """The last nights of a target on one scale; None where there are fewer than two to compare.

    A point has `at` and, each or None: `champion`, `base` (rows with value, ci_low, ci_high),
    `promoted` (what began to serve then).
    """
    points = [p for p in points if p["champion"] or p["base"]][-NIGHTS:]
    if len(points) < 2:
        return None
    cells = [p[name] for p in points for name in ("champion", "base") if p[name]]
    low, high = min(c["ci_low"] for c in cells), max(c["ci_high"] for c in cells)
    y, x = _scale(low, high, edge=6.0), _scale(0, len(points) - 1, edge=_EDGE)
    lines = [
        _line(name, [(x(i), p[name]) for i, p in enumerate(points) if p[name]], y)
        for name in ("base", "champion")
    ]
    marks = " ".join(f"M{x(i):.1f} 0V100" for i, p in enumerate(points) if p["promoted"])
    dates = _dates(points[0]["at"], points[-1]["at"])
    text = "; ".join(f"{to_the_second(p['at'])[:10]}: {_told_of(p)}" for p in points)
    return Trend(lines, marks, (f"{low:.3f}", f"{high:.3f}"), dates, text)


def _dates(first: datetime, last: datetime) -> tuple[str, str]:
    """The first and the last day; of one day the times."""
    start, other = to_the_second(first), to_the_second(last)
    return (start[:10], other[:10]) if start[:10] != other[:10] else (start[:-4], other[11:])


def _told_of(point: Row) -> str:
    parts = [f"{name} {point[name]['value']:.3f}" for name in ("champion", "base") if point[name]]
    return ", ".join([*parts, *(["promoted " + point["promoted"]] if point["promoted"] else [])])


def _line(name: str, places: Sequence[tuple[float, Row]], y: Any) -> Line:
    def joined(ends: Sequence[tuple[float, float]]) -> str:
        return "L".join(f"{a:.1f} {100 - b:.1f}" for a, b in ends)

    values = [(at, y(row["value"])) for at, row in places]
    lower = [(at, y(row["ci_low"])) for at, row in places]
    upper = [(at, y(row["ci_high"])) for at, row in places]
    if not places:
        return Line(name, "", "", "")
    dots = "".join(f"M{a:.1f} {100 - b:.1f}h.01" for a, b in values)
    return Line(name, f"M{joined(values)}", f"M{joined(upper)}L{joined(lower[::-1])}Z", dots)


def _tracks(
    caption: str, lines: Sequence[tuple[str, Row, bool]], *, yardstick: float | None
) -> Tracks:
    ends = [row[name] for _, row, _ in lines for name in ("ci_low", "ci_high", "value")]
    ends += [row[name] for _, row, _ in lines for name in ("seed_low", "seed_high") if name in row]
    low, high = min(ends), max(ends)
    scale = _scale(low, high, edge=_EDGE)
    drawn = [
        Track(
            name,
            scale(row["value"]),
            scale(row["ci_low"]),
            scale(row["ci_high"]),
            f"{row['value']:.3f}",
            f"{row['value']:.3f}, interval {row['ci_low']:.3f} to {row['ci_high']:.3f}",
            is_marked,
            [scale(row[end]) for end in ("seed_low", "seed_high") if end in row],
        )
        for name, row, is_marked in lines
    ]
    yardstick_at = None if yardstick is None else scale(yardstick)
    return Tracks(caption, drawn, (f"{low:.3g}", f"{high:.3g}"), yardstick_at)


def _scale(low: float, high: float, *, edge: float) -> Any:
    """From a number between two to per cent, with an edge on both sides."""
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return round(edge + (value - low) / span * (100.0 - 2 * edge), 2)

    return place
