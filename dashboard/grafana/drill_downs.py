"""Dashboards about one worker and about one job: the same panels, closer."""

from collections.abc import Iterable

from boards import Board
from panels import Row
from rows_of_jobs import NETWORK, RETRIES, TRAINING
from rows_of_machines import COORDINATOR, RESOURCES
from rows_of_work import HEALTH, LOAD, STRAGGLERS


def _of(row: Row, titles: Iterable[str], name: str = "") -> Row:
    """Some panels of a row, in the order that is asked for."""
    by_title = {each.title: each for each in row.panels}
    return Row(name or row.title, tuple(by_title[title] for title in titles))


WORKER = Board(
    "gradloom-worker",
    "gradloom / Worker",
    "One worker: what it is, what it does with its time, whether it is slow and why, what failed on it.",
    (
        _of(HEALTH, ("Who is up", "Last sign of life", "What workers are")),
        _of(
            LOAD,
            (
                "Busy",
                "Where time goes",
                "Rows a second by worker",
                "Speed while computing",
                "Backlog",
                "Tasks in hand",
                "Shards",
            ),
            "Work",
        ),
        _of(
            STRAGGLERS,
            (
                "Slow against the others",
                "Who was slow, and why",
                "Slow right now",
                "Who was last",
                "Waited for this one alone",
                "Task time",
            ),
            "Is it slow",
        ),
        _of(
            RETRIES,
            ("Retries", "Whose tasks failed, and why", "Sessions that were resumed or begun anew"),
            "Failures",
        ),
        _of(NETWORK, ("Way there and back",), "Network"),
        _of(
            RESOURCES,
            (
                "Memory of workers",
                "Memory against the limit",
                "CPU of workers",
                "Shards in memory",
                "Shard cache",
                "Reading shards",
                "Tasks and rows at the workers",
                "Rows at the workers",
            ),
        ),
    ),
    one_worker=True,
)
JOB = Board(
    "gradloom-job",
    "gradloom / Job",
    "One job: its curves, its rounds, what it waits for, what failed and what that cost, what it sends.",
    (
        Row("Training", (HEALTH.panels[4], *TRAINING.panels)),
        _of(
            LOAD, ("Imbalance", "Rows a second by worker", "Work taken over", "Shards that moved"), "Balance"
        ),
        _of(
            STRAGGLERS,
            (
                "Who was slow, and why",
                "Waiting for the end of a round",
                "Copies of late tasks",
                "Does copying pay",
                "Staleness",
            ),
        ),
        _of(
            RETRIES,
            (
                "Retries",
                "Whose tasks failed, and why",
                "How tasks ended",
                "Tries left",
                "Wasted compute",
                "Not finite",
            ),
        ),
        _of(
            NETWORK,
            ("Gradients, raw and on the wire", "Compression", "Codec time", "Relative error", "Held back"),
            "Gradients",
        ),
        _of(COORDINATOR, ("Tasks of open rounds", "Age of checkpoints"), "Coordinator"),
    ),
    one_job=True,
)
