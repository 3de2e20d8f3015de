"""Remembers where each job's time went: its last rounds and tasks as spans, and totals by worker. Decides nothing.

Bounded: of each job the last MAX_TASKS tasks and MAX_ROUNDS rounds, packed, and of at most MAX_JOBS jobs; that is 40 MB
at most. Totals are a few numbers for each worker of a job. No I/O, no clock: times are the scheduler's.
"""

from collections import defaultdict, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from gradloom.jobs import JobState
from gradloom.steps import Step
from gradloom.traces import CopyTotals, TraceHead, WorkerTotals
from gradloom_coordinator.scheduling.copies import CopyLedger
from gradloom_coordinator.scheduling.events import JobId, TaskRef, TaskTimes, WorkerId
from gradloom_coordinator.scheduling.packed_spans import TraceReading, packed_round, packed_task

MAX_TASKS = 16_384
MAX_ROUNDS = 4_096
MAX_WORKERS = 4_096
"""Names of one job; workers beyond them are counted together."""
OTHERS = "others"
MAX_JOBS = 16


@dataclass(slots=True)
class _Totals:
    """Of one worker."""

    number: int
    first_given_at: float
    stood_before_s: float
    """Of the job's standing still: before its first task, and up to its last answer."""
    stood_s: float
    last_at: float
    tasks: int = 0
    rows: int = 0
    load_s: float = 0.0
    compute_s: float = 0.0
    encode_s: float = 0.0
    transit_s: float = 0.0
    wait_s: float = 0.0
    rounds_last: int = 0
    awaited_s: float = 0.0
    lost_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    slow_rounds: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))


class TraceBook:
    """One job's trace while it is written."""

    __slots__ = (
        "_copies",
        "_numbers",
        "_open",
        "_reasons",
        "_rounds",
        "_rounds_written",
        "_since",
        "_stands_since",
        "_step",
        "_stood_s",
        "_tasks",
        "_tasks_written",
        "_training_rounds",
        "_training_s",
        "_workers",
        "written_at",
    )

    def __init__(self, copies: CopyLedger, now: float) -> None:
        self._copies = copies
        self._since = self.written_at = now
        self._tasks: deque[bytes] = deque(maxlen=MAX_TASKS)
        self._rounds: deque[bytes] = deque(maxlen=MAX_ROUNDS)
        self._tasks_written = self._rounds_written = 0
        self._workers: dict[WorkerId, _Totals] = {}
        self._reasons: dict[str, int] = {"": 0}
        self._open: tuple[int, int, float] | None = None
        """Number, round of training and time of opening of the open round."""
        self._step = Step.PROFILE
        self._stands_since: float | None = None
        """When the job began to stand still, or to serve; None = it trains."""
        self._stood_s = 0.0
        self._training_rounds = 0
        self._training_s = 0.0

    # ---- writing

    def stepped(self, to: JobState, now: float) -> None:
        """The job took a step in its life: only while it runs are workers held for it."""
        runs = to is JobState.RUNNING
        if not runs and self._stands_since is None:
            self._stands_since = now
        elif runs and self._stands_since is not None:
            self._stood_s += now - self._stands_since
            self._stands_since = None

    def opened(self, number: int, step: Step, training_round: int, now: float) -> None:
        """A round begins."""
        self.written_at, self._step = now, step
        self._open = number, training_round, now

    def closed(self, now: float) -> None:
        """The open round has all that it needs."""
        if self._open is None:
            return
        number, training_round, opened_at = self._open
        self._open = None
        self._rounds_written += 1
        self._rounds.append(packed_round(number, self._step, training_round, opened_at, now))
        if self._step is Step.TRAIN:
            self._training_rounds += 1
            self._training_s += now - opened_at

    def counted(
        self,
        worker: WorkerId,
        task: TaskRef,
        given_at: float | None,
        rows: int,
        times: TaskTimes,
        now: float,
        *,
        is_copy: bool,
    ) -> None:
        """An answer counts. ``given_at``: None = it was taken out of the worker's hands before it came."""
        known_s = times.queue_s + times.busy_s
        given_at = now - known_s if given_at is None else given_at
        totals = self._totals(worker, given_at, now)
        if self._step is not Step.QUERY:
            totals.tasks += 1
            totals.rows += rows
            totals.load_s += times.load_s
            totals.compute_s += times.compute_s
            totals.encode_s += times.encode_s
            totals.transit_s += max(0.0, now - given_at - known_s)
        self._write(totals.number, task, 0, rows, given_at, now, times, is_copy)

    def lost(
        self,
        worker: WorkerId,
        task: TaskRef,
        given_at: float,
        rows: int,
        spent_s: float,
        why: str,
        now: float,
        *,
        is_copy: bool,
    ) -> None:
        """A task left a worker's hands without an answer that counts."""
        totals = self._totals(worker, given_at, now)
        if self._step is not Step.QUERY:
            totals.lost_s[why] += spent_s
        reason = self._reasons.setdefault(why, len(self._reasons))
        self._write(totals.number, task, reason, rows, given_at, now, TaskTimes(compute_s=spent_s), is_copy)

    def waited(self, worker: WorkerId, seconds: float) -> None:
        """A worker had nothing to do but to wait for the end of a round."""
        if totals := self._training(worker):
            totals.wait_s += seconds

    def was_last(self, worker: WorkerId, awaited_s: float) -> None:
        """A round ended with a worker's answer; all others had answered so long before."""
        if totals := self._training(worker):
            totals.rounds_last += 1
            totals.awaited_s += awaited_s

    def was_slow(self, worker: WorkerId, cause: str) -> None:
        """A worker was slow in a round."""
        if totals := self._training(worker):
            totals.slow_rounds[cause] += 1

    def _training(self, worker: WorkerId) -> _Totals | None:
        """What is counted of a worker; nothing while the job only answers queries."""
        return None if self._step is Step.QUERY else self._workers.get(worker)

    def _totals(self, worker: WorkerId, given_at: float, now: float) -> _Totals:
        totals = self._workers.get(worker)
        if totals is None and len(self._workers) >= MAX_WORKERS:
            worker = OTHERS
            totals = self._workers.get(worker)
        if totals is None:
            totals = _Totals(len(self._workers), given_at, self._stood_s, self._stood_s, now)
            self._workers[worker] = totals
        totals.last_at, totals.stood_s = now, self._stood_s
        return totals

    def _write(
        self,
        worker: int,
        task: TaskRef,
        reason: int,
        rows: int,
        given_at: float,
        now: float,
        times: TaskTimes,
        is_copy: bool,
    ) -> None:
        self._tasks_written += 1
        self._tasks.append(packed_task(worker, task, reason, rows, given_at, now, times, is_copy))

    # ---- reading

    def read(self, epoch: float, now: float, present: Collection[WorkerId]) -> TraceReading:
        """All of it at ``now``; ``epoch``: when the scheduler's clock was 0, by the epoch."""
        return TraceReading(
            self._head(epoch, now, present),
            epoch,
            tuple(self._rounds),
            tuple(self._tasks),
            tuple(self._workers),
            tuple(self._reasons),
        )

    def _head(self, epoch: float, now: float, present: Collection[WorkerId]) -> TraceHead:
        until = now if self._stands_since is None else self._stands_since
        copies = self._copies
        return TraceHead(
            workers=tuple(
                self._worker(name, one, epoch, until if name in present else None)
                for name, one in self._workers.items()
            ),
            copies=CopyTotals(
                copies.launched,
                copies.won,
                copies.lost,
                copies.cancelled,
                copies.saved_s,
                copies.wasted_s + copies.cancelled_s,
            ),
            since=epoch + self._since,
            dropped_tasks=self._tasks_written - len(self._tasks),
            dropped_rounds=self._rounds_written - len(self._rounds),
            training_rounds=self._training_rounds,
            training_s=self._training_s,
        )

    def _worker(self, name: WorkerId, one: _Totals, epoch: float, until: float | None) -> WorkerTotals:
        """``until``: None = it is gone."""
        stood_s = (one.stood_s if until is None else self._stood_s) - one.stood_before_s
        until = one.last_at if until is None else until
        return WorkerTotals(
            worker=name,
            first_given_at=epoch + one.first_given_at,
            held_s=max(0.0, until - one.first_given_at - stood_s),
            tasks=one.tasks,
            rows=one.rows,
            load_s=one.load_s,
            compute_s=one.compute_s,
            encode_s=one.encode_s,
            transit_s=one.transit_s,
            wait_s=one.wait_s,
            lost_s=dict(sorted(one.lost_s.items())),
            rounds_last=one.rounds_last,
            awaited_s=one.awaited_s,
            slow_rounds=dict(sorted(one.slow_rounds.items())),
        )


class Traces:
    """The books of the jobs that ran last."""

    def __init__(self) -> None:
        self._books: dict[JobId, TraceBook] = {}

    def begin(self, job: JobId, copies: CopyLedger, now: float) -> TraceBook:
        """The book of a job, a new one if there is none; the one that was written in least recently makes room."""
        book = self._books.get(job)
        if book is None:
            if len(self._books) >= MAX_JOBS:
                del self._books[min(self._books, key=lambda name: self._books[name].written_at)]
            book = self._books[job] = TraceBook(copies, now)
        return book

    def of(self, job: JobId) -> TraceBook | None:
        """The book of a job, if it is still there."""
        return self._books.get(job)

    def forget(self, job: JobId) -> None:
        """Nobody needs a job's trace any more."""
        self._books.pop(job, None)
