"""Workers and jobs as they were looked at last, each with when it changed: what a watcher lacks is never queued.

Whoever watches has seen everything up to some sequence; ``since`` says what is new to it, however long it was away. So
a slow watcher costs no memory, and is told only how things stand now. Pure: looks and times come in.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Generic, TypeVar

from gradloom.jobs import JobView, WorkerActivity, WorkerShare, WorkerView
from gradloom.watching import ClusterChange

T = TypeVar("T")
MAX_GONE = 1000
"""Names that are remembered as gone; who has not heard of older ones is told everything anew."""
PART_SIZE = 1000
"""Workers, and shares of workers in jobs, that one message holds: some 100 KB."""


@dataclass(slots=True)
class Seen(Generic[T]):
    """One thing as it was looked at last."""

    value: T
    lasting: object
    """What is compared: without what changes by itself as time passes."""
    sequence: int
    """When it changed."""


class Shelf(Generic[T]):
    """Things of one kind by name, in the order in which they came."""

    def __init__(self, lasting: Callable[[T], object]) -> None:
        self._lasting = lasting
        self._seen: dict[str, Seen[T]] = {}
        self._gone: dict[str, int] = {}
        self.forgotten = 0
        """Sequence of the newest name that is gone and no longer remembered."""

    def take(self, values: Iterable[tuple[str, T]], sequence: int, *, refresh: bool) -> bool:
        """What is there now; whether anything has changed that lasts, or at all if it is to be refreshed."""
        missing, changed = set(self._seen), False
        for name, value in values:
            missing.discard(name)
            changed |= self._put(name, value, sequence, refresh=refresh)
        for name in missing:
            del self._seen[name]
            self._gone[name] = sequence
        while len(self._gone) > MAX_GONE:
            self.forgotten = self._gone.pop(next(iter(self._gone)))
        return changed or bool(missing)

    def _put(self, name: str, value: T, sequence: int, *, refresh: bool) -> bool:
        seen = self._seen.get(name)
        if seen is None:
            self._gone.pop(name, None)
            self._seen[name] = Seen(value, self._lasting(value), sequence)
            return True
        if seen.value is value or (refresh and seen.value == value):
            return False
        lasting = self._lasting(value)
        if not refresh and lasting == seen.lasting:
            return False
        seen.value, seen.lasting, seen.sequence = value, lasting, sequence
        return True

    def since(self, sequence: int) -> tuple[T, ...]:
        """What has changed after a sequence."""
        return tuple(seen.value for seen in self._seen.values() if seen.sequence > sequence)

    def gone_since(self, sequence: int) -> tuple[str, ...]:
        """What went after a sequence."""
        return tuple(name for name, at in self._gone.items() if at > sequence)


@dataclass(slots=True)
class Picture:
    """How a cluster stands, for all who watch it."""

    version: str
    """Of this coordinator."""
    sequence: int = 0
    at: float = 0.0
    _workers: Shelf[WorkerView] = field(default_factory=lambda: Shelf(_lasting_worker))
    _jobs: Shelf[JobView] = field(default_factory=lambda: Shelf(_lasting_job))
    _last: tuple[int, ClusterChange] | None = None
    """What was new to those who had seen so much: most have seen the same."""

    def take(
        self, workers: Iterable[WorkerView], jobs: Iterable[JobView], at: float, *, refresh: bool
    ) -> bool:
        """The next look, the oldest job first; whether there is anything to tell. ``at``: seconds since the epoch.

        Times that only pass are told when it is to be ``refresh``-ed.
        """
        new = self.sequence + 1
        changed = self._workers.take(((w.worker, w) for w in workers), new, refresh=refresh)
        changed |= self._jobs.take(((j.job_id, j) for j in jobs), new, refresh=refresh)
        self.at = at
        if changed:
            self.sequence = new
        if changed or refresh:
            self._last = None
        return changed

    def since(self, sequence: int) -> ClusterChange:
        """What is new to somebody who has seen everything up to a sequence; 0 = nothing yet."""
        if self._last is not None and self._last[0] == sequence:
            return self._last[1]
        anew = sequence == 0 or sequence < max(self._workers.forgotten, self._jobs.forgotten)
        after = 0 if anew else sequence
        change = ClusterChange(
            sequence=self.sequence,
            at=self.at,
            version=self.version,
            anew=anew,
            workers=self._workers.since(after),
            workers_gone=() if anew else self._workers.gone_since(after),
            jobs=self._jobs.since(after),
            jobs_gone=() if anew else self._jobs.gone_since(after),
        )
        self._last = (sequence, change)
        return change


def parts(change: ClusterChange) -> Iterator[ClusterChange]:
    """A change in pieces that fit into messages, to be taken in this order; most changes are one piece."""
    if len(change.workers) + sum(1 + len(job.workers) for job in change.jobs) <= PART_SIZE:
        yield change  # itself, so that it is translated once for everybody
        return
    workers, jobs, first = list(change.workers), list(change.jobs), True
    while True:
        room = PART_SIZE
        some_workers, workers = workers[:room], workers[room:]
        room -= len(some_workers)
        fit = 0
        while fit < len(jobs) and room > 0:
            room -= 1 + len(jobs[fit].workers)
            fit += 1
        some_jobs, jobs = jobs[:fit], jobs[fit:]
        yield replace(
            change,
            anew=change.anew and first,
            more=bool(workers or jobs),
            workers=tuple(some_workers),
            jobs=tuple(some_jobs),
            workers_gone=change.workers_gone if first else (),
            jobs_gone=change.jobs_gone if first else (),
        )
        first = False
        if not workers and not jobs:
            return


def _all_but(kind: type, *names: str) -> Callable[[object], tuple[object, ...]]:
    """Gives the values of all fields but some."""
    return attrgetter(*(one.name for one in fields(kind) if one.name not in names))


_of_worker = _all_but(WorkerView, "heartbeat_age_s", "connected_s", "phases", "activity")
_of_activity = _all_but(WorkerActivity, "seconds")
_of_job = _all_but(JobView, "seconds", "workers")
_of_share = _all_but(WorkerShare, "busy_fraction")


def _lasting_worker(worker: WorkerView) -> object:
    return _of_worker(worker), worker.activity and _of_activity(worker.activity)


def _lasting_job(job: JobView) -> object:
    return _of_job(job), [_of_share(share) for share in job.workers]
