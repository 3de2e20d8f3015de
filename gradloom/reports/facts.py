"""What the coordinator keeps of a run, and what follows from it. Pure: values in, values out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from gradloom.jobs import JobEvent, JobView, RoundCompleted, StateChanged, SteeringRecord, TaskRetried
from gradloom.synchrony import parse_synchrony
from gradloom.traces import JobTrace, WorkerTotals


@dataclass(frozen=True, slots=True)
class RoundAt:
    """A round of training, and when it was over by the epoch."""

    at: float
    done: RoundCompleted


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that people changed, on the axis of rounds."""

    at_round: int
    text: str

    @classmethod
    def of(cls, record: SteeringRecord) -> "Mark":
        """What a record says, short."""
        change = f"{record.old} → {record.new}" if record.old else record.new
        return cls(record.at_round, f"{record.field}: {change}".strip(": "))


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What a worker's time went to; the parts sum to ``held_s``. Seconds."""

    totals: WorkerTotals
    load_s: float
    compute_s: float
    encode_s: float
    in_vain_s: float
    """Tasks that did not count."""
    waiting_s: float
    """Its answer given, for the others."""
    other_s: float
    """Messages on their way, the coordinator's work between two rounds, other jobs."""

    @property
    def held_s(self) -> float:
        """In which the job held it."""
        return self.useful_s + self.in_vain_s + self.waiting_s + self.other_s

    @property
    def useful_s(self) -> float:
        """Of tasks that counted."""
        return self.load_s + self.compute_s + self.encode_s


def load_of(totals: WorkerTotals) -> WorkerLoad:
    """The parts of a worker's time; what was measured twice, at two clocks, is not counted twice."""
    held_s = max(totals.held_s, totals.useful_s + totals.in_vain_s)
    left_s = held_s - totals.useful_s - totals.in_vain_s
    waiting_s = min(totals.wait_s, left_s)
    return WorkerLoad(
        totals,
        totals.load_s,
        totals.compute_s,
        totals.encode_s,
        totals.in_vain_s,
        waiting_s,
        left_s - waiting_s,
    )


@dataclass(frozen=True)
class RunFacts:
    """A job as it stood at a moment, with what happened to it."""

    view: JobView
    events: Sequence[JobEvent]
    """The oldest first, as far as they are kept."""
    trace: JobTrace | None
    """None = nothing of it is kept."""
    no_trace_because: str
    taken_at: float
    """Seconds since the epoch."""

    @cached_property
    def rounds(self) -> tuple[RoundAt, ...]:
        """Of training, as they were over; a number that comes twice was done twice."""
        return tuple(RoundAt(e.at, e.what) for e in self.events if isinstance(e.what, RoundCompleted))

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        """What people changed."""
        return tuple(map(Mark.of, self.view.steering))

    @property
    def synchrony(self) -> str:
        """By which its rounds were over; one under which not all count, if there ever was one."""
        was = [self.view.spec.synchrony]
        for one in self.view.steering:
            was += (one.old, one.new) if one.field == "synchrony" else ()
        return next((text for text in was if not parse_synchrony(text).exact), was[0])

    @property
    def first_events_gone(self) -> bool:
        """Whether the oldest events are no longer kept."""
        return bool(self.events) and self.events[0].sequence > 1

    @cached_property
    def retries(self) -> Mapping[str, Mapping[str, int]]:
        """Tries that came to nothing: reason -> worker -> how many, of the events that are kept."""
        found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for event in self.events:
            if isinstance(event.what, TaskRetried):
                found[event.what.reason][event.what.worker] += 1
        return {reason: dict(sorted(workers.items())) for reason, workers in sorted(found.items())}

    @cached_property
    def happenings(self) -> tuple[JobEvent, ...]:
        """All events but rounds."""
        return tuple(event for event in self.events if not isinstance(event.what, RoundCompleted))

    @cached_property
    def loads(self) -> tuple[WorkerLoad, ...]:
        """What each worker's time went to, by name; empty without a trace."""
        if self.trace is None:
            return ()
        return tuple(map(load_of, sorted(self.trace.head.workers, key=lambda one: _natural(one.worker))))

    @property
    def goodput(self) -> float | None:
        """Seconds on tasks that counted over seconds in which the job held workers; None = unknown."""
        held_s = sum(load.held_s for load in self.loads)
        return sum(load.useful_s for load in self.loads) / held_s if held_s else None

    @property
    def whole(self) -> bool:
        """Whether the totals begin with the job; else with the coordinator's last start."""
        started = next(
            (e.at for e in self.events if isinstance(e.what, StateChanged) and e.what.state == "running"),
            None,
        )
        if self.trace is None or started is None:
            return False
        return self.trace.head.since - started < 1.0

    def segments(self) -> Iterator[tuple[RoundAt, ...]]:
        """The rounds in stretches that go forward: a rollback begins a new one."""
        stretch: list[RoundAt] = []
        for one in self.rounds:
            if stretch and one.done.round <= stretch[-1].done.round:
                yield tuple(stretch)
                stretch = []
            stretch.append(one)
        if stretch:
            yield tuple(stretch)


def _natural(name: str) -> tuple[str, int]:
    head, _, number = name.rpartition("-")
    plain = number.isascii() and number.isdigit() and len(number) < 10
    return (head, int(number)) if plain else (name, 0)
