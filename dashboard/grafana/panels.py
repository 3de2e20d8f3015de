"""What dashboards are made of: panels with a title, how to read them, a unit and thresholds, laid out in rows.

Only these few shapes are used, so that all panels look and behave alike; ids, query letters and places are given here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

COLUMNS = 24
SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED = "green", "yellow", "red"

Shape = Literal["graph", "stack", "share", "number", "bars", "timeline"]
Builder = timeseries.Panel | stat.Panel | bargauge.Panel | statetimeline.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query, and what its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A value from which on a panel changes its colour."""

    value: float
    color: str = RED


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    description: str
    """How to read it: what is good, what is not, where to look next."""
    unit: str
    """As Grafana names units: ``s``, ``bytes``, ``percentunit``, ``short``, ..."""
    queries: tuple[Query, ...]
    shape: Shape = "graph"
    limits: tuple[Limit, ...] = ()
    base: str = GREEN
    """Colour below the first limit."""
    width: int = 8
    height: int = 8
    decimals: int | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def panel(title: str, description: str, unit: str, *queries: tuple[str, str], **options: object) -> Panel:
    """A panel from (expression, legend) pairs."""
    return Panel(title, description, unit, tuple(Query(*query) for query in queries), **options)  # type: ignore[arg-type]


def add_rows(board: dashboard.Dashboard, rows: Sequence[Row]) -> None:
    """Lay the rows out from left to right and top to bottom, and give every panel its id."""
    number, y = 0, 0
    for row in rows:
        number += 1
        board.with_row(dashboard.Row(row.title).id(number).grid_pos(models.GridPos(h=1, w=COLUMNS, x=0, y=y)))
        y += 1
        x = line = 0
        for each in row.panels:
            if x + each.width > COLUMNS:
                x, y, line = 0, y + line, 0
            number += 1
            place = models.GridPos(h=each.height, w=each.width, x=x, y=y)
            board.with_panel(_built(each).id(number).grid_pos(place))
            x, line = x + each.width, max(line, each.height)
        y += line


def _built(each: Panel) -> Builder:
    built = _shaped(each)
    built.title(each.title).description(each.description).unit(each.unit).datasource(SOURCE)
    steps = [models.Threshold(color=each.base, value=None)]  # the first one has no lower end
    steps += [models.Threshold(color=limit.color, value=limit.value) for limit in each.limits]
    built.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    if each.decimals is not None:
        built.decimals(each.decimals)
    if each.maximum is not None:
        built.max(each.maximum)
    instant = each.shape == "bars"
    for letter, query in zip("ABCDEFGH", each.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)
        built.with_target((target.instant() if instant else target.range()).datasource(SOURCE))
    return built


def _shaped(each: Panel) -> Builder:
    match each.shape:
        case "number":
            return _number()
        case "bars":
            return _bars()
        case "timeline":
            return _timeline()
        case _:
            return _graph(each)


def _graph(each: Panel) -> timeseries.Panel:
    lines = timeseries.Panel().min(0.0) if each.shape in ("stack", "share") else timeseries.Panel()
    legend = (
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    lines.legend(legend).tooltip(tooltip.sort(common_models.SortOrder.DESCENDING)).line_width(1.0)
    lines.show_points(common_models.VisibilityMode.NEVER).span_nulls(False)
    if each.limits:
        shown = common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
        lines.thresholds_style(shown)
    if each.shape == "graph":
        return lines.fill_opacity(5.0)
    mode = common_models.StackingMode.PERCENT if each.shape == "share" else common_models.StackingMode.NORMAL
    return lines.fill_opacity(60.0).stacking(common.StackingConfig().mode(mode).group("A"))


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _number() -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(_last())
        .color_mode(common_models.BigValueColorMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .justify_mode(common_models.BigValueJustifyMode.AUTO)
        .text_mode(common_models.BigValueTextMode.AUTO)
    )


def _bars() -> bargauge.Panel:
    return (
        bargauge.Panel()
        .reduce_options(_last())
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .value_mode(common_models.BarGaugeValueMode.COLOR)
        .min(0.0)
    )


def _timeline() -> statetimeline.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    return (
        statetimeline.Panel()
        .show_value(common_models.VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(80)
        .merge_values(True)
        .legend(legend)
    )
