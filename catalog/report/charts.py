"""Charts of the report as inline SVG: arms with intervals, weight bars, the map of the library."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]
INK, ACCENT, MUTED, NEGATIVE = "#1d2733", "#1f6f8b", "#8a97a6", "#b5533c"
WIDTH_INCHES = 5.2
NAMED = 60  # points of a map that still have room for their names


def draw_arms(rows: Sequence[Row], *, challenger: str) -> str:
    """One dot per arm with its 95 % interval, the best on top; base as a dashed line."""
    ordered = sorted(rows, key=lambda row: row["value"])
    figure, axes = _canvas(0.3 * len(ordered) + 0.7)
    for y, row in enumerate(ordered):
        color = ACCENT if row["arm"] == challenger else MUTED if row["arm"] == "base" else INK
        axes.plot([row["ci_low"], row["ci_high"]], [y, y], color=color, linewidth=1.6)
        axes.plot([row["value"]], [y], "o", color=color, markersize=5)
        if row["arm"] == "base":
            axes.axvline(row["value"], color=MUTED, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(ordered)), [row["arm"] for row in ordered])
    axes.set_xlabel(f"{ordered[0]['metric']}, 95 % interval, n = {ordered[0]['n_items']}")
    return _svg(figure)


def draw_weights(rows: Sequence[Row]) -> str:
    """Weights of each strategy over the sources, stacked; negative weights to the left of zero."""
    strategies = sorted({row["strategy"] for row in rows}, reverse=True)
    sources = sorted({row["source"] for row in rows})
    figure, axes = _canvas(0.32 * len(strategies) + 1.1)
    colors = matplotlib.colormaps["tab10"]
    for y, strategy in enumerate(strategies):
        left = {True: 0.0, False: 0.0}
        for row in (r for r in rows if r["strategy"] == strategy):
            sign = row["weight"] >= 0
            color = colors(sources.index(row["source"]) % 10)
            axes.barh(y, row["weight"], left=left[sign], color=color, height=0.6)
            left[sign] += row["weight"]
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(strategies)), strategies)
    axes.set_xlabel("weight (sums to one)")
    handles = [matplotlib.patches.Patch(color=colors(i % 10)) for i in range(len(sources))]
    axes.legend(handles, sources, fontsize=7, frameon=False, loc="upper left",
                bbox_to_anchor=(0, 1.02 + 0.28), ncols=3)  # fmt: skip
    return _svg(figure)


def draw_methods(rows: Sequence[Row], quantities: Sequence[str]) -> str:
    """A panel for each quantity, a dot for each method with its 95 % interval; marks are seeds.

    `rows` has a `method` each, and under the name of a quantity its row.
    """
    figure = Figure(figsize=(2 * WIDTH_INCHES, 0.3 * len(rows) + 0.9), layout="constrained")
    panels = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    ordered = list(reversed(rows))
    for axes, quantity in zip(panels, quantities, strict=True):
        _tidy(axes)
        for y, row in enumerate(ordered):
            found, color = row[quantity], ACCENT if y == len(ordered) - 1 else INK
            axes.plot([found["ci_low"], found["ci_high"]], [y, y], color=color, linewidth=1.6)
            axes.plot([found["value"]], [y], "o", color=color, markersize=5)
            axes.plot([found["seed_low"], found["seed_high"]], [y, y], "|", color=MUTED)
        axes.axvline(ordered[-1][quantity]["value"], color=MUTED, linewidth=0.8, linestyle="--")
        axes.set_xlabel(quantity.replace("_", " "))
        axes.margins(y=0.15)
    panels[0].set_yticks(range(len(ordered)), [row["method"] for row in ordered])
    return _svg(figure)


def draw_map(names: Sequence[str], roles: Sequence[str], z: npt.NDArray[np.float64]) -> str:
    """The library in feature space: z (n, d) on its two main axes; targets are diamonds.

    Names stand beside the points while there is room.
    """
    centred = z - z.mean(axis=0)
    _, singular, axes_of_space = np.linalg.svd(centred, full_matrices=False)
    places = centred @ axes_of_space[:2].T
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    figure, axes = _canvas(3.6)
    for role, marker, color in (("reference", "o", INK), ("target", "D", ACCENT)):
        chosen = [i for i, r in enumerate(roles) if r == role]
        axes.plot(places[chosen, 0], places[chosen, 1], marker, color=color, markersize=6)
        for i in chosen if len(names) <= NAMED else ():
            offset = (5, 4) if role == "reference" else (5, -10)
            axes.annotate(names[i], places[i], xytext=offset, textcoords="offset points",
                          fontsize=8, color=color)  # fmt: skip
    share = float((singular[:2] ** 2).sum() / max((singular**2).sum(), 1e-30))
    axes.set_xlabel(f"two main axes of the representations, {share:.0%} of their variance")
    axes.margins(0.2)
    return _svg(figure)


def _canvas(height_inches: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.subplots()
    _tidy(axes)
    return figure, axes


def _tidy(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.xaxis.label.set_fontsize(8)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # text as text, ids from a fixed salt, no date: the same lake makes the same page
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rpe"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
