"""Runs as they could have been: rounds, tasks and events by hand, so that every number can be reckoned."""

from collections.abc import Sequence

from gradloom.jobs import (
    Compression,
    JobEvent,
    JobHappening,
    JobState,
    JobView,
    Note,
    RetryReason,
    RoundCompleted,
    StateChanged,
    SteeringRecord,
    TaskRetried,
    WorkerShare,
)
from gradloom.reports.facts import RunFacts
from gradloom.specs import DataSpec, JobSpec
from gradloom.traces import CopyTotals, JobTrace, RoundSpan, TaskSpan, TraceHead, WorkerTotals

BEGAN = 1_700_000_000.0
NO_COPIES = CopyTotals()
NASTY = "<script>alert('x')</script> & \"quoted\" \x00\x1b[31m"
"""What somebody may type."""


def completed(number: int, loss: float | None = None, seconds: float = 0.5) -> RoundCompleted:
    loss = 1.0 / number if loss is None else loss
    return RoundCompleted(number, 10, loss, 0.1, None, 0.05, seconds, 1e4, 2, 1.0)


def numbered(*happenings: JobHappening) -> list[JobEvent]:
    return [JobEvent(i, BEGAN + i, what) for i, what in enumerate(happenings, 1)]


def task(
    worker: str,
    number: int,
    lo: int,
    *,
    start: float,
    compute_s: float,
    load_s: float = 0.0,
    transit_s: float = 0.0,
    attempt: int = 1,
    is_copy: bool = False,
    lost: str = "",
) -> TaskSpan:
    """A task of 100 rows that begins to be computed ``start`` seconds after BEGAN."""
    given_at = BEGAN + start - transit_s / 2
    ended_at = BEGAN + start + load_s + compute_s + transit_s / 2
    return TaskSpan(
        worker,
        number,
        lo,
        lo + 1,
        attempt,
        is_copy,
        100,
        given_at,
        ended_at,
        0.0,
        load_s,
        compute_s,
        0.0,
        lost,
    )


def round_span(number: int, opened: float, closed: float, step: str = "train") -> RoundSpan:
    """A round; its number among those of training is one less, for the first round is the profile's."""
    return RoundSpan(number, step, number - 1 if step == "train" else 0, BEGAN + opened, BEGAN + closed)


def trace(
    rounds: Sequence[RoundSpan],
    tasks: Sequence[TaskSpan],
    *workers: WorkerTotals,
    copies: CopyTotals = NO_COPIES,
) -> JobTrace:
    head = TraceHead(tuple(workers), copies, BEGAN, 0, 0, len(rounds), sum(span.seconds for span in rounds))
    return JobTrace(head, tuple(rounds), tuple(tasks))


def even_trace(
    rounds: int = 5, workers: int = 2, compute_s: float = 1.0, overhead_s: float = 0.25
) -> JobTrace:
    """Every worker computes as long in every round, and every round has the same overhead."""
    spans, tasks, at = [], [], 0.0
    for number in range(2, rounds + 2):
        end = at + compute_s + overhead_s
        spans.append(round_span(number, at, end))
        tasks += [
            task(f"w-{i}", number, i, start=at + overhead_s / 2, compute_s=compute_s, transit_s=overhead_s)
            for i in range(workers)
        ]
        at = end
    totals = [
        WorkerTotals(
            f"w-{i}",
            BEGAN,
            at,
            rounds,
            100 * rounds,
            compute_s=rounds * compute_s,
            transit_s=rounds * overhead_s,
        )
        for i in range(workers)
    ]
    return trace(spans, tasks, *totals)


def view(state: JobState = JobState.COMPLETED, reason: str = "converged") -> JobView:
    spec = JobSpec("logistic", DataSpec(("/data/train.parquet",), target="late"), {"learning_rate": "0.05"})
    return JobView(
        "job-1",
        spec,
        state,
        reason,
        BEGAN,
        rounds=3,
        max_rounds=10,
        loss=0.25,
        scores={"test_accuracy": 0.9375},
        seconds=6.25,
        rows_per_second=1e4,
        rows=200,
        shards=2,
        retries=1,
        parameters_sha256="ab" * 32,
        workers=(WorkerShare("w-0", 1, 500, 0.8, 0, True), WorkerShare("w-1", 1, 500, 0.8, 1, True)),
        compression=Compression(
            "topk:0.01", "none", "", 4_000_000, 1_000_000, 2_000_000, 2_000_000, 0.5, 0.25, 0.125
        ),
        steering=(SteeringRecord(2, "ann@host", BEGAN + 2, "settings.learning_rate", "0.05", "0.01"),),
    )


def facts(
    shown: JobView | None = None, events: Sequence[JobEvent] | None = None, traced: JobTrace | None = None
) -> RunFacts:
    """A short run: three rounds, one retry, one note."""
    usual = numbered(
        StateChanged(JobState.RUNNING, "200 rows in 2 shards"),
        completed(1),
        TaskRetried(RetryReason.NONFINITE, "w-1", "1", 2, "NaN"),
        completed(2),
        Note("a note"),
        completed(3),
        StateChanged(JobState.COMPLETED, "converged"),
    )
    why = "" if traced is not None else "there is no trace of job job-1"
    return RunFacts(shown or view(), usual if events is None else events, traced, why, BEGAN + 60)
