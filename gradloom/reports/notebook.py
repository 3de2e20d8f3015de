"""Jobs and models as a notebook shows them: small tables without a script. Pure; everything typed is escaped."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from gradloom.jobs import JobView
from gradloom.reports.markup import Child, div, html_text, node
from gradloom.words import counted, number_text, seconds_text

if TYPE_CHECKING:
    from gradloom.models.model import Model

MAX_NAMES = 12
"""Of columns, classes and settings, before the rest is only counted."""
_CELL = "text-align:left;vertical-align:top;padding:1px 12px 1px 0;background:none"
_BAR = "display:inline-block;width:160px;height:8px;border-radius:4px;background:rgba(128,128,128,.3)"


def job_html(view: JobView) -> str:
    """How a job stands."""
    share = 1.0 if view.state.settled else view.rounds / max(view.max_rounds, 1)
    rows: dict[str, Child] = {
        "algorithm": view.spec.algorithm,
        "state": f"{view.state}: {view.reason}" if view.reason else str(view.state),
        "rounds": node("span", {}, _bar(share), f" {view.rounds:,} of at most {view.max_rounds:,}"),
        "loss": number_text(view.loss),
        **{name: number_text(score) for name, score in view.scores.items()},
        "rows": f"{view.rows:,} in {counted(view.shards, 'shard')}",
        "time": f"{seconds_text(view.seconds)}, {view.rows_per_second:,.0f} rows/s",
        "workers": counted(sum(share.present for share in view.workers), "worker"),
    }
    return _card(f"job {view.job_id}", rows)


def missing_html(job_id: str, why: str) -> str:
    """A job that can't be looked at."""
    return _card(f"job {job_id}", {"": why})


def model_html(model: "Model") -> str:
    """What a model was trained on, and what became of it."""
    shapes = {name: "x".join(map(str, array.shape)) or "a number" for name, array in model.arrays.items()}
    rows: dict[str, Child] = {"target": model.target or "-", "columns": _some(model.features)}
    if model.classes is not None:
        rows["classes"] = _some(map(str, model.classes))
    rows["settings"] = _pairs(model.settings)
    rows["became"] = _pairs(model.metadata)
    rows["arrays"] = _pairs(shapes)
    rows["sha256"] = model.parameters_sha256
    return _card(f"{model.algorithm} model", rows)


def _card(title: str, rows: Mapping[str, Child]) -> str:
    lines = [
        node("tr", {"style": "background:none"}, _cell(name, soft=True), _cell(value))
        for name, value in rows.items()
    ]
    body = node("table", {"style": "border:none;margin:2px 0"}, node("tbody", {}, *lines))
    return html_text(div("gradloom", node("strong", {}, title), body))


def _cell(value: Child, *, soft: bool = False) -> Element:
    return node("td", {"style": f"{_CELL};opacity:.65" if soft else f"{_CELL};word-break:break-word"}, value)


def _bar(share: float) -> Element:
    done = f"display:block;height:8px;border-radius:4px;background:#1f6fb2;width:{100 * min(max(share, 0.0), 1.0):.0f}%"
    return node("span", {"style": _BAR}, node("span", {"style": done}))


def _some(names: Iterable[str]) -> str:
    every = list(names)
    left = len(every) - MAX_NAMES
    return ", ".join(every[:MAX_NAMES]) + (f" and {left:,} more" if left > 0 else "")


def _pairs(values: Mapping[str, object]) -> str:
    return (
        _some(
            f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in values.items()
        )
        or "-"
    )
