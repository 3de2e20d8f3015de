"""What a job's events tell: its curves and what happened, in words. Pure."""

from collections import deque
from dataclasses import dataclass, field

from gradloom.cli.progress import sentence_of
from gradloom.jobs import JobEvent, JobHappening, RoundCompleted, StateChanged, TaskRetried
from gradloom_dashboard.series import Point, Series

MAX_ENTRIES = 300
"""Sentences that are kept; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, in words."""

    sequence: int
    at: float
    """Seconds since the epoch."""
    kind: str
    """``retry``, ``note``, or the state that the job is in now."""
    words: str


@dataclass(frozen=True, slots=True)
class Told:
    """A story as far as it has come."""

    number: int = 0
    """Grows with every event; the same number = the same story."""
    points: tuple[Point, ...] = ()
    newest: RoundCompleted | None = None
    entries: tuple[Entry, ...] = ()
    """The newest first."""


@dataclass(slots=True)
class Story:
    """Grows with a job's events, in their order."""

    seen: int = 0
    """Sequence of the last event."""
    ended: bool = False
    """Whether the last state that was told is final."""
    _number: int = 0
    _series: Series = field(default_factory=Series)
    _newest: RoundCompleted | None = None
    _entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=MAX_ENTRIES))

    def take(self, event: JobEvent) -> None:
        """Take in the next event."""
        self.seen, self._number = event.sequence, self._number + 1
        what = event.what
        if isinstance(what, RoundCompleted):
            self._series.add(what)
            self._newest = what
            return
        if isinstance(what, StateChanged):
            self.ended = what.state.final
        self._entries.appendleft(Entry(event.sequence, event.at, _kind(what), sentence_of(what)))

    def is_as(self, told: Told) -> bool:
        """Whether nothing has happened since that was told."""
        return told.number == self._number

    def told(self) -> Told:
        """The story so far, as a value."""
        return Told(self._number, self._series.points, self._newest, tuple(self._entries))


def _kind(what: JobHappening) -> str:
    match what:
        case TaskRetried():
            return "retry"
        case StateChanged(state, _):
            return str(state)
        case _:
            return "note"
