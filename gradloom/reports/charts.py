"""Charts as SVG elements, drawn here so that a page needs no script: curves, stacked bars, lanes. Pure."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from gradloom.reports.facts import Mark
from gradloom.reports.markup import div, node
from gradloom.words import counted, number_text

WIDTH, HEIGHT = 920, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 26, 30
MAX_POINTS = 700
"""Of a curve: about as many as there are pixels across."""
LOG_FROM = 30.0
"""A curve whose values differ by more than that is drawn by their logarithm."""
MAX_BADGES = 40
BAR, GAP = 18, 8

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line, in stretches that are not joined."""

    name: str
    stretches: Sequence[Sequence[Point]]

    @property
    def points(self) -> list[Point]:
        """All of them that can be drawn."""
        return [(x, y) for stretch in self.stretches for x, y in stretch if math.isfinite(y)]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values -> pixels, straight or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    by_log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        low, high, at = self.low, self.high, value
        if self.by_log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values between its ends."""
        if self.by_log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            step = max(1, (last - first) // 6 + 1)
            powers = [10.0**power for power in range(first, last + 1, step)]
            return powers if len(powers) > 1 else [self.low, self.high]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        size = 10 ** math.floor(math.log10(span / 5))
        step_of = next(size * times for times in (1, 2, 5, 10) if span / (size * times) <= 6)
        first = math.ceil(self.low / step_of - 1e-9)
        return [step_of * i for i in range(first, math.floor(self.high / step_of + 1e-9) + 1)]


def line_chart(
    curves: Sequence[Curve],
    marks: Sequence[Mark] = (),
    *,
    label: str,
    value: Callable[[float], str] = number_text,
    from_zero: bool = False,
    axis: str = "round",
) -> Element:
    """Curves over rounds (or whatever ``axis`` says), with a dashed line where people changed something."""
    points = [point for curve in curves for point in curve.points]
    if not points:
        return node("p", {"class": "soft"}, "There is nothing to draw yet.")
    across = _scale([x for x, _ in points], LEFT, WIDTH - RIGHT)
    up = _upwards([y for _, y in points], from_zero)
    title = label + (", logarithmic" if up.by_log else "")
    chart = _canvas(HEIGHT, title)
    chart.extend(_grid(across, up, value))
    chart.extend(_marks(marks, across))
    for i, curve in enumerate(curves):
        chart.extend(_curve(curve, i, across, up, value))
    chart.append(node("text", {"x": str(LEFT), "y": "14"}, title))
    chart.append(_text(WIDTH - RIGHT, TOP - 12, f"{axis} →", "end"))
    return node("figure", {}, chart, *([key([c.name for c in curves])] if len(curves) > 1 else []))


def _canvas(height: float, title: str) -> Element:
    attributes = {"viewBox": f"0 0 {WIDTH} {height:g}", "role": "img", "xmlns": "http://www.w3.org/2000/svg"}
    return node("svg", {**attributes, "aria-label": title})


def _scale(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = min(values), max(values)
    return Scale(low, high if high > low else low + 1, start, end)


def _upwards(values: Sequence[float], from_zero: bool) -> Scale:
    low, high = min(values), max(values)
    start, end = HEIGHT - BOTTOM, TOP
    if low > 0 and high / low > LOG_FROM and not from_zero:
        return Scale(low, high, start, end, by_log=True)
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return Scale(0.0 if from_zero else low - room, high + room, start, end)


def _grid(across: Scale, up: Scale, value: Callable[[float], str]) -> Iterable[Element]:
    for tick in up.ticks():
        y = up(tick)
        yield _line(LEFT, y, WIDTH - RIGHT, y, "grid")
        yield _text(LEFT - 6, y + 4, value(tick), "end")
    for tick in across.ticks():
        if tick == int(tick):
            yield _text(across(tick), HEIGHT - BOTTOM + 16, f"{tick:,.0f}", "middle")
    yield _line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis")


def _marks(marks: Sequence[Mark], across: Scale) -> Iterable[Element]:
    for number, mark in enumerate(marks, 1):
        if not across.low <= mark.at_round <= across.high:
            continue
        x = across(mark.at_round)
        line = _line(x, TOP, x, HEIGHT - BOTTOM, "mark")
        line.append(node("title", {}, f"from round {mark.at_round} on: {mark.text}"))
        yield line
        if len(marks) <= MAX_BADGES:
            badge = _text(x + 3, TOP + 9, str(number), "start")
            badge.set("class", "marked")
            yield badge


def _curve(
    curve: Curve, number: int, across: Scale, up: Scale, value: Callable[[float], str]
) -> Iterable[Element]:
    colour = number % 6
    for stretch in curve.stretches:
        drawn = [(across(x), up(y)) for x, y in thinned(stretch) if math.isfinite(y)]
        if len(drawn) == 1:
            x, y = drawn[0]
            yield node("circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "2.5", "class": f"dot f{colour}"})
        elif drawn:
            joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
            yield node("polyline", {"points": joined, "class": f"curve l{colour}"})
    if points := curve.points:
        x, y = points[-1]
        end = node(
            "circle", {"cx": f"{across(x):.1f}", "cy": f"{up(y):.1f}", "r": "3", "class": f"dot f{colour}"}
        )
        end.append(node("title", {}, f"{curve.name}: {value(y)} at {x:,.0f}"))
        yield end


def thinned(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most so many points: of each group of neighbours the lowest and the highest, so that peaks stay."""
    whole = [point for point in points if math.isfinite(point[1])]
    if len(whole) <= limit:
        return whole
    groups = limit // 2
    kept: list[Point] = []
    for i in range(groups):
        group = whole[i * len(whole) // groups : (i + 1) * len(whole) // groups]
        ends = {min(group, key=lambda p: p[1]), max(group, key=lambda p: p[1])}
        kept += sorted(ends)
    kept[0], kept[-1] = whole[0], whole[-1]
    return kept


# ---- bars and lanes


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of parts that stand one after the other."""

    name: str
    parts: Sequence[float]
    note: str = ""


def stacked_bars(bars: Sequence[Bar], kinds: Sequence[str], value: Callable[[float], str]) -> Element:
    """Rows of parts, all to one scale; ``kinds`` name the parts."""
    longest = max((sum(bar.parts) for bar in bars), default=0.0) or 1.0
    left = _room_for(bar.name for bar in bars)
    across = Scale(0.0, longest, left, WIDTH - 90)
    chart = _canvas(len(bars) * (BAR + GAP) + GAP, f"{', '.join(kinds)} of {counted(len(bars), 'row')}")
    for row, bar in enumerate(bars):
        y = GAP + row * (BAR + GAP)
        chart.append(_text(left - 8, y + BAR - 5, _short(bar.name), "end"))
        at = 0.0
        for i, part in enumerate(bar.parts):
            if part <= 0:
                continue
            chart.append(_box(across(at), y, across(at + part) - across(at), f"f{i % 6}"))
            chart[-1].append(node("title", {}, f"{bar.name}: {kinds[i]} {value(part)}"))
            at += part
        chart.append(_text(across(at) + 6, y + BAR - 5, bar.note or value(at), "start"))
    return node("figure", {}, chart, key(kinds))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Something that lasted, on a lane."""

    lane: str
    start: float
    end: float
    kind: int
    """Which colour."""
    title: str


def lanes(
    names: Sequence[str], stretches: Sequence[Stretch], lines: Sequence[Point], kinds: Sequence[str]
) -> Element:
    """Who did what when: a lane for each name; ``lines`` are moments (and a number to write beside each)."""
    if not stretches:
        return node("p", {"class": "soft"}, "There is nothing to draw yet.")
    start, end = min(s.start for s in stretches), max(s.end for s in stretches)
    start = min([start, *(at for at, _ in lines)])
    left = _room_for(names)
    across = Scale(start, max(end, start + 1e-6), left, WIDTH - RIGHT)
    height = TOP + len(names) * (BAR + GAP)
    chart = _canvas(height + BOTTOM, "what each worker did when")
    for row, name in enumerate(names):
        chart.append(_text(left - 8, TOP + row * (BAR + GAP) + BAR - 5, _short(name), "end"))
    for at, number in lines:
        chart.append(_line(across(at), TOP - 6, across(at), height, "axis"))
        chart.append(_text(across(at) + 2, TOP - 10, f"{number:.0f}", "start"))
    place = {name: TOP + row * (BAR + GAP) for row, name in enumerate(names)}
    for one in stretches:
        width = max(0.7, across(one.end) - across(one.start))
        chart.append(_box(across(one.start), place[one.lane], width, f"f{one.kind}"))
        chart[-1].append(node("title", {}, one.title))
    seconds = Scale(0.0, end - start, left, WIDTH - RIGHT)
    for tick in seconds.ticks():
        chart.append(_text(seconds(tick), height + 16, f"{tick:.4g} s", "middle"))
    return node("figure", {}, chart, key(kinds))


def key(names: Sequence[str]) -> Element:
    """Which colour is which."""
    spans = []
    for i, name in enumerate(names):
        swatch = node("svg", {"viewBox": "0 0 12 12", "aria-hidden": "true"}, _box(0, 0, 12, f"f{i % 6}", 12))
        spans.append(node("span", {}, swatch, name))
    return div("key", *spans)


def _room_for(names: Iterable[str]) -> float:
    return min(220, 24 + 7 * max((len(_short(name)) for name in names), default=0))


def _short(name: str, limit: int = 26) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _box(x: float, y: float, width: float, class_: str, height: float = BAR) -> Element:
    size = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:g}"}
    return node("rect", {**size, "class": class_})


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Element:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return node("line", {**ends, "class": class_})


def _text(x: float, y: float, text: str, anchor: str) -> Element:
    return node("text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}, text)
