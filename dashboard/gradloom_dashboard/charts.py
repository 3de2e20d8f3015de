"""The curves of a job as options of ECharts. Pure; what people have written is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from math import isfinite
from typing import Any

from gradloom.jobs import SteeringRecord
from gradloom_dashboard.lanes import change_label, change_words
from gradloom_dashboard.series import Point

ACCENT, SECOND, QUIET, GRID = "#2f6fde", "#d9822b", "#8490a3", "rgba(132,144,163,.22)"
MAX_LABEL = 22
CURVES = {
    "time": "Time of each round, in ms",
    "gradient": "Norm of the gradient",
    "rate": "Learning rate",
}
"""What the small chart can show."""

Options = dict[str, Any]
"""Options of ECharts, as JSON."""


def loss_chart(points: Sequence[Point], changes: Iterable[SteeringRecord], *, logarithmic: bool) -> Options:
    """Loss by round, with a line where somebody changed something. Logarithmic leaves out what is not above 0."""
    loss = _pairs(((p.round, p.loss) for p in points), positive=logarithmic)
    validation = _pairs(((p.round, p.validation_loss) for p in points), positive=logarithmic)
    lines = [_line("loss", loss, ACCENT)]
    if validation:
        lines.append(_line("validation loss", validation, SECOND))
    if points:
        lines[0]["markLine"] = _marks(changes, points[-1].round)
    options = _frame(lines, "log" if logarithmic else "value")
    options["legend"] = {
        "show": len(lines) > 1,
        "top": 0,
        "right": 8,
        "textStyle": {"color": QUIET},
        "icon": "roundRect",
    }
    return options


def small_chart(points: Sequence[Point], curve: str) -> Options:
    """One of CURVES. Of the time: where rounds were grouped, of the longest."""
    pairs = _pairs(((point.round, _value(point, curve)) for point in points), positive=False)
    line = _line(CURVES[curve], pairs, ACCENT)
    line["areaStyle"] = {"opacity": 0.12}
    options = _frame([line], "value")
    options["grid"]["top"] = 10
    options["yAxis"]["splitNumber"] = 2
    return options


def _value(point: Point, curve: str) -> float | None:
    match curve:
        case "gradient":
            return point.gradient_norm
        case "rate":
            return point.learning_rate
        case _:
            return 1000 * point.seconds


def _pairs(values: Iterable[tuple[int, float | None]], *, positive: bool) -> list[list[float]]:
    """[x, y] of those that can be drawn, y in seven digits."""
    return [
        [x, float(f"{y:.7g}")]
        for x, y in values
        if y is not None and isfinite(y) and not (positive and y <= 0)
    ]


def _line(name: str, pairs: list[list[float]], colour: str) -> Options:
    return {
        "name": name,
        "type": "line",
        "data": pairs,
        "showSymbol": len(pairs) == 1,
        "lineStyle": {"width": 2, "color": colour},
        "itemStyle": {"color": colour},
        "emphasis": {"disabled": True},
    }


def _marks(changes: Iterable[SteeringRecord], last_round: int) -> Options:
    by_round = groupby(sorted(changes, key=lambda one: one.at_round), key=lambda one: one.at_round)
    data = [_mark(min(at_round, last_round), list(records)) for at_round, records in by_round]
    return {"symbol": ["none", "none"], "animation": False, "data": data}


def _mark(at_round: int, records: Sequence[SteeringRecord]) -> Options:
    label = change_label(records[-1])
    label = label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 1]}…"
    words = "<br>".join(escape(change_words(one)) for one in records)
    return {
        "xAxis": at_round,
        "name": label,
        "lineStyle": {"color": QUIET, "type": "dashed", "width": 1.5},
        "label": {"formatter": label, "color": QUIET, "fontSize": 11, "position": "insideEndTop"},
        "tooltip": {"trigger": "item", "formatter": words},
    }


def _frame(lines: list[Options], scale: str) -> Options:
    axis = {"axisLabel": {"color": QUIET}, "axisLine": {"lineStyle": {"color": GRID}}}
    return {
        "animation": False,
        "grid": {"left": 8, "right": 20, "top": 28, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {
            **axis,
            "type": "value",
            "minInterval": 1,
            "min": "dataMin",
            "max": "dataMax",
            "splitLine": {"show": False},
        },
        "yAxis": {**axis, "type": scale, "scale": True, "splitLine": {"lineStyle": {"color": GRID}}},
        "series": lines,
    }
