"""``gradloom top``: what the workers of a cluster do now, and where their time goes. No calls are made here."""

from collections.abc import Iterable, Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gradloom.cli.phases import Trail, activity_text, lately, longer, short
from gradloom.cli.views import jobs_table
from gradloom.jobs import WorkerView
from gradloom.visible import visible
from gradloom.watching import ClusterView


def pictures(views: Iterable[ClusterView]) -> Iterator[Group]:
    """A picture for each view of a cluster; the time is that of the last seconds."""
    trails: dict[str, Trail] = {}
    for view in views:
        trails = {one.worker: longer(trails.get(one.worker, ()), one.phases) for one in view.workers}
        active = [job for job in view.jobs if not job.state.final]
        yield Group(busy_table(view.workers, trails), "", jobs_table(active))


def busy_table(workers: Iterable[WorkerView], trails: dict[str, Trail]) -> Table:
    """One line a worker: what it does, and where its time went of late."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("worker", "state", "does", "time", "rows/s", "shards", "heartbeat", "remarks"):
        numbers = column in ("rows/s", "shards", "heartbeat")
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for worker in workers:
        table.add_row(
            worker.worker,
            worker.state,
            Text(activity_text(worker.activity) or "waits"),
            short(lately(trails.get(worker.worker, ()))),
            f"{worker.rows_per_second:,.0f}",
            str(worker.shards),
            f"{worker.heartbeat_age_s:.1f} s",
            Text(visible("; ".join(filter(None, (worker.reason, worker.straggler))))),
        )
    return table
