"""A job as it lives, in a terminal: a bar with the time that is left, the loss as a curve, the workers, what happened.

Sentences scroll by above; what moves stays below. ``look`` asks the coordinator for the workers, at most once a second,
and only this module decides when.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from gradloom.cli.output import PlainConsole
from gradloom.cli.progress import round_text
from gradloom.errors import GradloomError
from gradloom.jobs import JobView, RoundCompleted, WorkerView
from gradloom.visible import indented, visible
from gradloom.words import number_text

LOOK_EVERY_S = 1.0
REFRESHES_A_SECOND = 4
WIDTH = 60
"""Columns of the curve."""
KEPT = 4 * WIDTH
"""Points of the curve: when there are more, every other one goes."""
BARS = "▁▂▃▄▅▆▇█"
BUSY_WIDTH = 20

Look = Callable[[], tuple[JobView, Sequence[WorkerView]]]


class Curve:
    """Numbers as they came, thinned out evenly so that they never take more room."""

    def __init__(self) -> None:
        self.points: list[float] = []
        self._every, self._seen = 1, 0

    def add(self, value: float | None) -> None:
        """Take in the next number; what is none or not finite is left out."""
        if value is None or not math.isfinite(value):
            return
        if self._seen % self._every == 0:
            self.points.append(value)
        self._seen += 1
        if len(self.points) > KEPT:
            self.points = self.points[::2]
            self._every *= 2

    def text(self, width: int = WIDTH) -> str:
        """The curve in eight heights, the newest at the right; logarithmic where it spans more than a decade."""
        if not self.points:
            return ""
        step = max(1, -(-len(self.points) // width))
        shown = [
            sum(part) / len(part)
            for i in range(0, len(self.points), step)
            if (part := self.points[i : i + step])
        ]
        if min(shown) > 0 and max(shown) > 10 * min(shown):
            shown = [math.log(value) for value in shown]
        low, high = min(shown), max(shown)
        scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
        return "".join(BARS[round((value - low) * scale)] for value in shown)


class LiveScreen:
    """What ``gradloom watch`` shows in a terminal."""

    def __init__(self, look: Look | None = None, console: Console | None = None) -> None:
        self._look = look
        self._looked_at = -LOOK_EVERY_S
        self._seen: tuple[JobView, Sequence[WorkerView]] | None = None
        self._curve = Curve()
        self._last: RoundCompleted | None = None
        self._bar = Progress(
            TextColumn("round {task.completed:.0f}/{task.total:.0f}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
        )
        self._task = self._bar.add_task("waiting for the first round", total=1, visible=False)
        console = console or PlainConsole(sys.stderr)
        self._live = Live(
            get_renderable=self._picture,
            console=console,
            refresh_per_second=REFRESHES_A_SECOND,
            transient=True,
        )
        self._live.start()

    def round_done(self, done: RoundCompleted) -> None:
        """Move the bar and the curve."""
        self._last = done
        self._curve.add(done.loss)
        self._bar.update(
            self._task,
            completed=done.round,
            total=done.max_rounds,
            description=round_text(done),
            visible=True,
        )

    def line(self, sentence: str) -> None:
        """Show the sentence above what moves."""
        self._live.console.print(indented(sentence))

    def close(self) -> None:
        """Leave the last state as lines that stay."""
        self._look = None
        self._live.stop()
        self._live.console.print(self._picture())

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = [self._bar.get_renderable()]
        if self._last is not None and self._last.loss is not None:
            parts.append(
                Text(
                    f"loss {self._curve.text()} {number_text(self._last.loss)}", overflow="crop", no_wrap=True
                )
            )
        if (seen := self._glance()) is not None and seen[0].workers:
            parts.append(load_table(*seen))
        return Group(*parts)

    def _glance(self) -> tuple[JobView, Sequence[WorkerView]] | None:
        now = time.monotonic()
        if self._look is not None and now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            try:
                self._seen = self._look()
            except GradloomError:  # the events will say what is wrong
                self._look = None
        return self._seen


def load_table(view: JobView, workers: Sequence[WorkerView]) -> Table:
    """What each worker of a job does, and who is slow and why."""
    by_name = {worker.worker: worker for worker in workers}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("worker", "state", "busy", "shards", "rows/s", "retries", "remarks"):
        table.add_column(name, justify="right" if name in ("shards", "rows/s", "retries") else "left")
    for share in view.workers:
        worker = by_name.get(share.worker)
        remarks = "left" if worker is None else "; ".join(filter(None, (worker.reason, worker.straggler)))
        full = round(BUSY_WIDTH * min(share.busy_fraction, 1.0))
        table.add_row(
            share.worker,
            "" if worker is None else str(worker.state),
            f"{'█' * full}{'░' * (BUSY_WIDTH - full)} {share.busy_fraction:4.0%}",
            str(share.shards),
            "" if worker is None else f"{worker.rows_per_second:,.0f}",
            str(share.retries),
            Text(visible(remarks)),
        )
    return table


def show_top(pictures: Iterator[RenderableType], console: Console, *, once: bool) -> None:
    """The cluster, whenever something has changed, until Ctrl-C; once where nobody watches."""
    first = next(pictures)
    if once:
        console.print(first)
        return
    with Live(first, console=console, screen=True, auto_refresh=False) as live:
        for picture in pictures:
            live.update(picture, refresh=True)
