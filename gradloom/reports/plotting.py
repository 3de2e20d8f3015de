"""A run as a matplotlib figure: loss, round time and worker load. Needs the extra ``plot``, and no window.

The figure stands by itself: nothing is asked of pyplot, which keeps figures alive and may look for a screen.
"""

import io
from typing import TYPE_CHECKING

from gradloom.extras import missing
from gradloom.reports.facts import RunFacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = ("compute", "load", "encode", "in vain", "waiting", "other")
COLOURS = ("#1f6fb2", "#3f8f5b", "#c08a12", "#c8452f", "#8a7fb8", "#cfd5da")
SIZE = (9.0, 8.0)


def draw(facts: RunFacts) -> "Figure":
    """The figure; a notebook shows it, ``figure.savefig(path)`` keeps it. Raises InvalidInput naming the extra."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing("plot", "matplotlib", "plot") from error

    class JobFigure(Figure):
        """Shows itself in a notebook, whether pyplot was imported or not."""

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png", dpi=100)
            return picture.getvalue()

    figure = JobFigure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    loss, time, load = figure.subplots(3, 1)
    figure.suptitle(f"{facts.view.job_id}: {facts.view.state}")
    _loss(loss, facts)
    _round_time(time, facts)
    _load(load, facts)
    return figure


def _loss(axes: "Axes", facts: RunFacts) -> None:
    for name, field, colour in (("loss", "loss", COLOURS[0]), ("validation", "validation_loss", COLOURS[1])):
        label = name
        for stretch in facts.segments():
            points = [(r.done.round, y) for r in stretch if (y := getattr(r.done, field)) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=label)
                label = "_again"
    axes.set_ylabel("loss")
    _mark(axes, facts)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _round_time(axes: "Axes", facts: RunFacts) -> None:
    for stretch in facts.segments():
        axes.plot([r.done.round for r in stretch], [r.done.seconds for r in stretch], color=COLOURS[0])
    axes.set(ylabel="seconds a round", xlabel="round")
    axes.set_ylim(bottom=0)
    _mark(axes, facts)


def _mark(axes: "Axes", facts: RunFacts) -> None:
    for mark in facts.marks:
        axes.axvline(mark.at_round, color="#b3261e", linestyle="--", linewidth=0.8)


def _load(axes: "Axes", facts: RunFacts) -> None:
    if not facts.loads:
        shares = facts.view.workers
        axes.barh([s.worker for s in shares], [s.busy_fraction for s in shares], color=COLOURS[0])
        axes.set_xlabel("share of the job's time in which it computed")
        return
    names = [load.totals.worker for load in facts.loads]
    left = [0.0] * len(names)
    for part, colour, field in zip(
        PARTS,
        COLOURS,
        ("compute_s", "load_s", "encode_s", "in_vain_s", "waiting_s", "other_s"),
        strict=True,
    ):
        seconds = [getattr(load, field) for load in facts.loads]
        axes.barh(names, seconds, left=left, color=colour, label=part)
        left = [a + b for a, b in zip(left, seconds, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.legend(
        ncols=len(PARTS), fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 1.2), frameon=False
    )
