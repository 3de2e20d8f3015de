"""Charts are drawn to scale, thinned without losing peaks, and whole whatever the numbers are."""

import math

import pytest

from gradloom.reports.charts import (
    HEIGHT,
    MAX_POINTS,
    WIDTH,
    Bar,
    Curve,
    Scale,
    Stretch,
    lanes,
    line_chart,
    stacked_bars,
    thinned,
)
from gradloom.reports.facts import Mark
from gradloom.reports.markup import html_text


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def test_a_curve_falls_from_the_upper_left_to_the_lower_right() -> None:
    chart = line_chart([Curve("loss", [[(1.0, 9.0), (2.0, 5.0), (3.0, 1.0)]])], label="loss")
    line = chart.find(".//polyline")
    assert line is not None
    (x1, y1), (x2, y2), (x3, y3) = points(line.get("points", ""))
    assert x1 < x2 < x3
    assert y1 < y2 < y3, "SVG counts downwards"
    assert x2 == pytest.approx((x1 + x3) / 2, abs=0.2)


def test_values_far_apart_are_drawn_by_their_logarithm() -> None:
    chart = line_chart([Curve("loss", [[(1.0, 1.0), (2.0, 1e-2), (3.0, 1e-4)]])], label="loss")
    line = chart.find(".//polyline")
    assert line is not None
    (_, y1), (_, y2), (_, y3) = points(line.get("points", ""))
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.2)
    assert "logarithmic" in html_text(chart)


@pytest.mark.parametrize(
    "values",
    [
        [0.0],
        [5.0, 5.0],
        [-3.0, 2.0],
        [1e-300, 1e300],
        [math.nan, 1.0, math.inf],
        [0.0, 0.0],
        [1e15, 1e15 + 1],
    ],
)
def test_whatever_the_numbers_are_everything_lies_on_the_canvas(values: list[float]) -> None:
    chart = line_chart([Curve("c", [list(enumerate(values, 1))])], label="c")
    for element in chart.iter():
        for name, limit in (("cx", WIDTH), ("cy", HEIGHT), ("x1", WIDTH), ("y1", HEIGHT)):
            if (text := element.get(name)) is not None:
                assert 0 <= float(text) <= limit
        for x, y in points(element.get("points", "")):
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_nothing_to_draw_is_said() -> None:
    assert "nothing to draw" in html_text(line_chart([Curve("c", [[]])], label="c"))
    assert "nothing to draw" in html_text(lanes(["w"], [], [], ["compute"]))


def test_marks_are_lines_with_their_words_if_they_lie_within() -> None:
    chart = line_chart(
        [Curve("c", [[(1.0, 1.0), (10.0, 2.0)]])],
        [Mark(5, "codec: none → int8"), Mark(99, "later")],
        label="c",
    )
    marks = [element for element in chart.iter("line") if element.get("class") == "mark"]
    assert [mark.findtext("title") for mark in marks] == ["from round 5 on: codec: none → int8"]


def test_thinning_keeps_ends_and_peaks() -> None:
    curve = [(float(i), 0.0) for i in range(10_000)]
    curve[1234], curve[7777] = (1234.0, 9.0), (7777.0, -9.0)
    kept = thinned(curve)
    assert len(kept) <= MAX_POINTS
    assert (kept[0], kept[-1]) == (curve[0], curve[-1])
    assert curve[1234] in kept
    assert curve[7777] in kept
    assert kept == sorted(kept)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1.0, 150.0, [50.0, 100.0, 150.0]),
        (3.0, 3.0, [3.0]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 100).ticks() == pytest.approx(ticks)


def test_bars_have_one_scale() -> None:
    figure = stacked_bars([Bar("a", (4.0, 4.0)), Bar("b", (2.0, 0.0))], ("x", "y"), str)
    chart = figure.find("svg")
    assert chart is not None
    widths = [float(box.get("width", "0")) for box in chart.iter("rect")]
    assert len(widths) == 3, "what is nothing is not drawn"
    assert widths[0] == pytest.approx(2 * widths[2], abs=0.2)
    titles = [title.text for title in chart.iter("title")]
    assert titles == ["a: x 4.0", "a: y 4.0", "b: x 2.0"]


def test_lanes_put_everything_where_and_when_it_was() -> None:
    stretches = [Stretch("a", 10.0, 12.0, 0, "first"), Stretch("b", 12.0, 14.0, 1, "second")]
    chart = lanes(["a", "b"], stretches, [(10.0, 7.0)], ("compute", "load")).find("svg")
    assert chart is not None
    first, second = [box for box in chart.iter("rect") if box.find("title") is not None]
    assert float(first.get("y", "0")) < float(second.get("y", "0"))
    end_of_first = float(first.get("x", "0")) + float(first.get("width", "0"))
    assert end_of_first == pytest.approx(float(second.get("x", "0")), abs=0.2)
