"""A scheduler under test: time is a number, and every invariant is checked after every event."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gradloom.canonical import Range
from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator.commands import (
    AnnounceNote,
    AnnounceRetry,
    AnnounceState,
    Command,
    SendTasks,
    TaskOrder,
)
from gradloom_coordinator.events import (
    Event,
    HeartbeatReceived,
    JobPlanned,
    JobSubmitted,
    PartialArrived,
    RoundReady,
    TaskFailed,
    TaskRef,
    Tick,
    WorkerJoined,
)
from gradloom_coordinator.scheduler import Scheduler
from gradloom_coordinator.state import Job, Worker


def task(lo: int, hi: int, attempt: int = 1, *, round: int = 1, job: str = "job") -> TaskRef:  # noqa: A002
    """One try at the shards lo..hi-1."""
    return TaskRef(job, round, Range(lo, hi), attempt)


def order(lo: int, hi: int, attempt: int = 1) -> TaskOrder:
    return TaskOrder(Range(lo, hi), attempt)


def answer(worker: str, ref: TaskRef, rows: int = 10, compute_s: float = 1.0) -> PartialArrived:
    return PartialArrived(worker, ref, rows, compute_s, busy_s=2 * compute_s)


def failure(
    worker: str, ref: TaskRef, reason: RetryReason = RetryReason.EXCEPTION, message: str = "ValueError: no"
) -> TaskFailed:
    return TaskFailed(worker, ref, reason, message)


def note(text: str, job: str = "job") -> AnnounceNote:
    return AnnounceNote(job, text)


def state(to: JobState, reason: str, job: str = "job") -> AnnounceState:
    return AnnounceState(job, to, reason)


def retry(worker: str, ref: TaskRef, reason: RetryReason, detail: str) -> AnnounceRetry:
    """Says that ``ref`` is to be tried once more."""
    return AnnounceRetry(ref.job, worker, ref.range, ref.attempt + 1, reason, detail)


def sent(commands: Iterable[Command]) -> list[tuple[str, TaskRef]]:
    """The tasks among the commands, each with the worker that gets it."""
    return [
        (command.worker, TaskRef(command.job, command.round, order.range, order.attempt))
        for command in commands
        if isinstance(command, SendTasks)
        for order in command.tasks
    ]


@dataclass
class Desk:
    """A scheduler, what it is told and when."""

    scheduler: Scheduler = field(default_factory=Scheduler)
    now: float = 0.0

    def tell(self, *events: Event) -> list[Command]:
        """The commands that the last of the events led to."""
        commands: list[Command] = []
        for event in events:
            commands = self.scheduler.handle(event, self.now)
            self.scheduler.state.check()
        return commands

    def tick(self, after_s: float = 0.0) -> list[Command]:
        self.now += after_s
        return self.tell(Tick())

    def tick_while_alive(self, after_s: float, *workers: str) -> list[Command]:
        """Let time pass in which these workers, and no others, give signs of life."""
        for _ in range(int(after_s)):
            self.now += 1.0
            self.tell(*map(HeartbeatReceived, workers))
        self.now += after_s - int(after_s)
        return self.tell(Tick())

    def join(self, *workers: str) -> list[Command]:
        return self.tell(*map(WorkerJoined, workers))

    def start(self, rows: Sequence[int], job: str = "job", policy: str = "balanced") -> list[Command]:
        """Submit and plan a job and open its first round."""
        planned = JobPlanned(job, tuple(rows))
        return self.tell(JobSubmitted(job, policy), planned, RoundReady(job, 1))

    def next_round(self, job: str = "job") -> list[Command]:
        opened = self.job(job).round
        return self.tell(RoundReady(job, opened.number + 1 if opened else 1))

    def answer_all(self, *, rows: int = 10, seconds: dict[str, float] | None = None) -> list[Command]:
        """Everybody answers everything in hand, in order of names."""
        commands: list[Command] = []
        for worker in sorted(self.scheduler.state.workers):
            for ref in self.in_hand(worker):
                commands += self.tell(answer(worker, ref, rows, (seconds or {}).get(worker, 1.0)))
        return commands

    def job(self, name: str = "job") -> Job:
        return self.scheduler.state.jobs[name]

    def worker(self, name: str) -> Worker:
        return self.scheduler.state.workers[name]

    def in_hand(self, worker: str) -> list[TaskRef]:
        return list(self.worker(worker).tasks)
