"""How fast each worker was, and when: what the policy laboratory plays again. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from gradloom.reports.computing import computed_of
from gradloom.traces import TRAINING, JobTrace


@dataclass(frozen=True, slots=True)
class Speed:
    """A worker's pace over one task."""

    worker: str
    at_s: float
    """Since the first task that is kept."""
    seconds_per_row: float


def speeds_of(trace: JobTrace) -> list[Speed]:
    """Of the tasks of training that counted, by worker and time."""
    training = {span.number for span in trace.rounds if span.step == TRAINING}
    tasks = [
        task
        for task in computed_of(trace.tasks)
        if task.span.counted and task.span.rows and task.span.compute_s > 0 and task.span.round in training
    ]
    if not tasks:
        return []
    began = tasks[0].start_at
    return sorted(
        (
            Speed(task.span.worker, max(0.0, task.start_at - began), task.span.compute_s / task.span.rows)
            for task in tasks
        ),
        key=lambda speed: (speed.worker, speed.at_s),
    )


def usual_round(trace: JobTrace) -> float:
    """Seconds that half of the rounds of training stayed below; 0 = there are none."""
    seconds = sorted(span.seconds for span in trace.rounds if span.step == TRAINING)
    return seconds[len(seconds) // 2] if seconds else 0.0


def values(speeds: Iterable[Speed]) -> list[dict[str, object]]:
    """For a file."""
    return [
        {"worker": one.worker, "at_s": round(one.at_s, 6), "seconds_per_row": one.seconds_per_row}
        for one in speeds
    ]
