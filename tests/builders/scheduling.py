"""A scheduler under test: time is a number, and every invariant is checked after every event."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradloom.canonical import Range
from gradloom.jobs import JobState, RetryReason
from gradloom.steps import Step
from gradloom_coordinator.scheduling.commands import (
    AnnounceNote,
    AnnounceRetry,
    AnnounceState,
    CancelTasks,
    Command,
    SendTasks,
    TakeBack,
    TaskOrder,
    WakeAt,
)
from gradloom_coordinator.scheduling.events import (
    Event,
    HeartbeatReceived,
    JobPlanned,
    JobSubmitted,
    PartialArrived,
    RoundReady,
    TaskFailed,
    TaskRef,
    TaskTimes,
    Tick,
    WorkerJoined,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Round
from gradloom_coordinator.scheduling.scheduler import Scheduler
from gradloom_coordinator.scheduling.state import Job, Worker


def task(lo: int, hi: int, attempt: int = 1, *, round: int = 1, job: str = "job") -> TaskRef:  # noqa: A002
    """One try at the shards lo..hi-1."""
    return TaskRef(job, round, Range(lo, hi), attempt)


def of_round(number: int, shard: int = 0) -> TaskRef:
    """The first try at one shard in a round."""
    return task(shard, shard + 1, round=number)


def order(lo: int, hi: int, attempt: int = 1) -> TaskOrder:
    return TaskOrder(Range(lo, hi), attempt)


def answer(
    worker: str, ref: TaskRef, rows: int = 10, compute_s: float = 1.0, load_s: float = 0.0
) -> PartialArrived:
    return PartialArrived(worker, ref, rows, TaskTimes(load_s=load_s, compute_s=compute_s))


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


def without_wakes(commands: Iterable[Command]) -> list[Command]:
    """All commands but those that only say when to look again."""
    return [command for command in commands if not isinstance(command, WakeAt)]


def asked_back(commands: Iterable[Command]) -> list[tuple[str, TaskRef]]:
    """The tasks that workers are to give up."""
    return [(c.worker, ref) for c in commands if isinstance(c, TakeBack) for ref in c.tasks]


def cancelled(commands: Iterable[Command]) -> list[tuple[str, TaskRef]]:
    """The tasks that nobody needs any more."""
    return [(c.worker, ref) for c in commands if isinstance(c, CancelTasks) for ref in c.tasks]


def notes(commands: Iterable[Command]) -> list[str]:
    return [command.text for command in commands if isinstance(command, AnnounceNote)]


@dataclass
class Desk:
    """A scheduler, what it is told and when."""

    scheduler: Scheduler = field(default_factory=Scheduler)
    now: float = 0.0

    @classmethod
    def of(cls, *workers: str, limits: Limits | None = None) -> "Desk":
        """A desk with workers, each on a host of its own."""
        desk = cls(Scheduler(limits or Limits()))
        desk.join(*workers)
        return desk

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

    def open(self, number: int, job: str = "job", step: Step = Step.TRAIN) -> list[Command]:
        return self.tell(RoundReady(job, number, step))

    def answer(self, worker: str, *, after_s: float = 0.0, took_s: float | None = None) -> list[Command]:
        """Its first task is done after a while, all of which it has computed, if it says nothing else."""
        self.now += after_s
        ref = self.in_hand(worker)[0]
        rows = self.job(ref.job).rows_in(ref.range)
        took_s = after_s if took_s is None else took_s
        queue_s = max(0.0, self.now - self.worker(worker).tasks[ref].at - took_s)
        return self.tell(PartialArrived(worker, ref, rows, TaskTimes(queue_s=queue_s, compute_s=took_s)))

    def answer_all(self, *, seconds_per_row: Mapping[str, float] | None = None) -> list[Command]:
        """Everybody answers whatever it is given, in order of names, until nothing is in hand; no time passes."""
        commands: list[Command] = []
        while holders := [name for name in sorted(self.scheduler.state.workers) if self.in_hand(name)]:
            for worker in holders:
                for ref in self.in_hand(worker):
                    if ref not in self.worker(worker).tasks:
                        continue  # cancelled meanwhile
                    rows = self.job(ref.job).rows_in(ref.range)
                    pace = (seconds_per_row or {}).get(worker, 0.1)
                    commands += self.tell(answer(worker, ref, rows, rows * pace))
        return commands

    def job(self, name: str = "job") -> Job:
        return self.scheduler.state.jobs[name]

    def round(self, job: str = "job") -> Round:
        """The round that is open, or was last."""
        opened = self.job(job).round
        assert opened is not None
        return opened

    def worker(self, name: str) -> Worker:
        return self.scheduler.state.workers[name]

    def in_hand(self, worker: str) -> list[TaskRef]:
        return list(self.worker(worker).tasks)
