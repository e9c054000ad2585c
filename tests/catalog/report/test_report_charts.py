"""Charts: places in per cent, labels that lie on none of each other on any screen, colours."""

from __future__ import annotations

from itertools import combinations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from catalog.report import charts
from catalog.report.colours import DARK, LIGHT, READABLE, colours_of, contrast
from catalog.report.map_chart import FONT, HEIGHT, NAMED, Point, label_width, library_map
from catalog.report.tables import Table, number, plain, strong

Box = tuple[float, float, float, float]


def box_of(point: Point, width: float) -> Box:
    """Where a label stands on a map of this many pixels: left, top, right, bottom."""
    text = label_width(point.label)
    shift = {"start": 0.0, "middle": text / 2, "end": text}[point.anchor]
    left, line = point.x / 100 * width + point.dx - shift, point.y + point.dy
    return left, line - 0.8 * FONT, left + text, line + 0.2 * FONT


def meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


places = st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=2, max_size=NAMED)


@settings(max_examples=60)
@given(places, st.integers(1, 60), st.sampled_from([262.0, 330.0, 480.0, 640.0, 704.0]))
def test_no_label_lies_on_another_or_off_the_map_on_any_screen(
    found: list[tuple[float, float]], length: int, width: float
) -> None:
    names = [f"s{number}".ljust(length, "m") for number in range(len(found))]
    drawn = library_map(names, ["target"] * len(names), np.array(found))
    labelled = [point for point in drawn.points if point.label]
    boxes = [box_of(point, width) for point in labelled]
    for box in boxes:
        assert box[0] >= 0
        assert box[2] <= width
        assert box[1] >= 0
        assert box[3] <= HEIGHT
    assert not any(meet(*pair) for pair in combinations(boxes, 2))


def test_names_stand_on_a_map_with_room_and_numbers_where_there_is_none() -> None:
    few = library_map(["a", "b", "c"], ["reference"] * 3, np.eye(3))
    assert [point.label for point in few.points] == ["a", "b", "c"]
    assert not few.is_numbered
    close = library_map(
        [f"site_{n:02d}" * 5 for n in range(30)], ["target"] * 30, np.eye(30) * 1e-9
    )
    assert close.is_numbered
    assert {point.label for point in close.points} - {""} <= {str(n) for n in range(1, 31)}
    many = library_map([f"s{n}" for n in range(NAMED + 1)], ["target"] * (NAMED + 1),
                       np.eye(NAMED + 1))  # fmt: skip
    assert many.is_silent
    assert not any(point.label for point in many.points)


def test_a_source_that_is_both_has_one_name_and_one_number() -> None:
    z = np.array([[0.0, 0.0], [0.001, 0.001], [1.0, 1.0]])
    drawn = library_map(["a", "a", "b"], ["reference", "target", "target"], z)
    assert [point.label for point in drawn.points] == ["", "a", "b"]
    assert drawn.sources == [(1, "a", "reference and target"), (2, "b", "target")]


def test_the_map_keeps_the_order_of_places_on_its_axes() -> None:
    z = np.array([[0.0, 0.0], [5.0, 0.1], [10.0, 0.0], [5.0, -1.0]])
    x = [point.x for point in library_map("abcd", ["target"] * 4, z).points]
    assert (x[0] < x[1] < x[2]) or (x[0] > x[1] > x[2])
    assert x[1] == pytest.approx(x[3], abs=8)


def test_every_source_has_a_colour_that_is_its_own_and_can_be_read() -> None:
    names = [f"site_{n}" for n in range(80)]
    pairs = colours_of(names)
    assert len({light for light, _ in pairs.values()}) == len(names)
    for light, dark in pairs.values():
        assert contrast(light, LIGHT) >= READABLE
        assert contrast(dark, DARK) >= READABLE
    assert list(colours_of(names[:9]).items()) == list(pairs.items())[:9]


def weight(source: str, value: float, strategy: str = "linear") -> dict[str, object]:
    return {"strategy": strategy, "source": source, "weight": value}


def test_bars_are_as_long_as_weights_and_those_below_zero_lie_left_of_it() -> None:
    rows = [weight("a", 0.9), weight("b", 0.4), weight("c", -0.2), weight("d", -0.1)]
    rows += [weight("a", 0.5, "average"), weight("b", 0.5, "average")]
    drawn = charts.weights_chart(rows)
    assert [strategy for strategy, _, _ in drawn.lines] == ["average", "linear"]
    scale = 100 / (0.3 + 1.3)
    (_, pieces, told) = drawn.lines[1]
    assert [piece.width for piece in pieces] == pytest.approx(
        [0.9 * scale, 0.4 * scale, 0.2 * scale, 0.1 * scale], abs=0.02
    )
    assert drawn.zero == pytest.approx(0.3 * scale, abs=0.01)
    a, b, c, d = pieces
    assert a.at == drawn.zero
    assert b.at == pytest.approx(a.at + a.width)
    assert c.at + c.width == pytest.approx(drawn.zero)
    assert d.at + d.width == pytest.approx(c.at)
    assert told == "a 0.90, b 0.40, c -0.20, d -0.10"
    assert drawn.ends == ("-0.3", "1.3")


def arm(name: str, value: float, **more: object) -> dict[str, object]:
    return {"arm": name, "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1,
            "metric": "accuracy", "n_items": 50, "is_higher_better": True, **more}  # fmt: skip


def test_arms_stand_best_first_by_the_direction_of_their_metric() -> None:
    rows = [arm("base", 0.5), arm("linear", 0.8), arm("nearest", 0.6)]
    drawn = charts.arms_chart(rows, marked="nearest")
    assert [line.name for line in drawn.lines] == ["linear", "nearest", "base"]
    assert [line.is_marked for line in drawn.lines] == [False, True, False]
    assert drawn.yardstick == drawn.lines[2].at
    assert drawn.lines[0].high > drawn.lines[0].at > drawn.lines[0].low > drawn.lines[2].at
    worse = [{**row, "is_higher_better": False} for row in rows]
    assert charts.arms_chart(worse, marked="").lines[0].name == "base"


def test_one_night_has_no_trend_and_equal_scores_divide_by_nothing() -> None:
    night = {"at": None, "champion": arm("x", 0.5), "base": None, "promoted": ""}
    assert charts.trend_chart([night]) is None
    same = arm("x", 0.5) | {"ci_low": 0.5, "ci_high": 0.5}
    assert charts.arms_chart([same, same], marked="").lines[0].at == charts.arms_chart(
        [same], marked=""
    ).lines[0].at  # fmt: skip


def test_columns_stand_beside_each_other_where_there_is_room() -> None:
    def width(n: int, text: str) -> str:
        row = (strong("name"), *(number(1.0, note=text) for _ in range(n)))
        return Table("", ("head", *[text] * n), [row]).width

    assert width(3, "0.500") == "small"
    assert width(7, "0.500") == "small"
    assert width(8, "0.500") == "small"
    assert width(9, "accuracy") == "middle"
    assert width(9, "letters_of_a_hospital") == "never"
    assert Table("", ("head",), [(plain("x" * 500),)]).width == "small", "such text breaks"
