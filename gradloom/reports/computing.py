"""When each task was computed, reckoned from what is known: when its answer came, and how long its parts took. Pure.

A worker computes one task at a time. How long the answer travelled is not known, only the way there and back together:
half of it is taken for each, and a task never begins before the one before it has ended.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gradloom.traces import TaskSpan


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a task."""

    name: str
    start_at: float
    """Seconds since the epoch."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Computed:
    """A task, and when its worker worked on it."""

    span: TaskSpan
    start_at: float
    """Seconds since the epoch."""

    @property
    def end_at(self) -> float:
        """When its worker was through with it."""
        return self.start_at + self.span.busy_s

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Load, compute, encode: in that order, without a gap."""
        span, load_end = self.span, self.start_at + self.span.load_s
        return (
            Phase("load", self.start_at, span.load_s),
            Phase("compute", load_end, span.compute_s),
            Phase("encode", load_end + span.compute_s, span.encode_s),
        )


def computed_of(spans: Iterable[TaskSpan]) -> list[Computed]:
    """All tasks by the time at which they began, each worker's one after the other."""
    free_at: dict[str, float] = {}
    found = []
    for span in sorted(spans, key=_reckoned_start):
        start = max(_reckoned_start(span), free_at.get(span.worker, float("-inf")))
        found.append(Computed(span, start))
        free_at[span.worker] = start + span.busy_s
    return sorted(found, key=lambda one: one.start_at)


def _reckoned_start(span: TaskSpan) -> float:
    return span.ended_at - span.transit_s / 2 - span.busy_s
