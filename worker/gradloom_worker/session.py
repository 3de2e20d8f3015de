"""The worker's side of a session as a pure state machine: connect, join, compute, send, back off, leave.

Events in, commands out; no I/O, no clock, no arrays. One task is computed at a time, in the order they came. A
session that breaks takes its tasks with it: the coordinator gives them to others, so what is still being computed
is thrown away when it ends. Until then the worker stays apart: it would be given tasks and could start none of them.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gradloom.canonical import Range

JobId = str
STILL_COMPUTING = "a task that nobody waits for is still computing"


class Phase(StrEnum):
    """Where a worker is in its life."""

    APART = "apart"
    """Not connected; a timer may be running."""
    JOINING = "joining"
    """Hello is sent."""
    ACTIVE = "active"
    GONE = "gone"


PHASE_STEPS: Mapping[Phase, frozenset[Phase]] = {
    Phase.APART: frozenset({Phase.JOINING, Phase.GONE}),
    Phase.JOINING: frozenset({Phase.ACTIVE, Phase.APART, Phase.GONE}),
    Phase.ACTIVE: frozenset({Phase.APART, Phase.GONE}),
    Phase.GONE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One range of one round to compute."""

    job: JobId
    round: int
    range: Range
    attempt: int
    given_at: float = 0.0


# ---- events


@dataclass(frozen=True, slots=True)
class Connect:
    """The process is up, or the time to try again has come."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The coordinator took us in."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The streams are gone. ``refused``: the coordinator said that trying again gives the same."""

    detail: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class TasksGiven:
    """Tasks of one job and round. Unfinished ones of the job's earlier rounds are taken back by it."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """The executor is through with a task, well or badly."""

    task: Task


@dataclass(frozen=True, slots=True)
class JobReleased:
    """The job is over."""

    job: JobId


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """SIGTERM, or the parent is gone."""

    reason: str


Event = Connect | Welcomed | SessionEnded | TasksGiven | TaskEnded | JobReleased | LeaveRequested


# ---- commands


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Connect and say Hello."""


@dataclass(frozen=True, slots=True)
class ConnectLater:
    """Raise Connect after a while."""

    after_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class RunTask:
    """Give a task to the executor; it is idle."""

    task: Task


@dataclass(frozen=True, slots=True)
class Answer:
    """Send what the executor made of the task."""

    task: Task


@dataclass(frozen=True, slots=True)
class Discard:
    """Throw away what the executor made of the task."""

    task: Task
    reason: str


@dataclass(frozen=True, slots=True)
class SayGoodbye:
    """Tell the coordinator that we leave on purpose."""

    reason: str


@dataclass(frozen=True, slots=True)
class Exit:
    """End the process."""

    code: int
    reason: str


Command = OpenSession | ConnectLater | RunTask | Answer | Discard | SayGoodbye | Exit


@dataclass(frozen=True, slots=True)
class Backoff:
    """How patiently to try again: exponential with full jitter."""

    base_s: float = 0.1
    limit_s: float = 5.0
    give_up_after_s: float = 300.0


@dataclass(slots=True)
class Session:
    """One worker's session; ``handle`` is its only door."""

    backoff: Backoff = field(default_factory=Backoff)
    phase: Phase = Phase.APART
    running: Task | None = None
    """What the executor is busy with, wanted or not."""
    wanted: bool = False
    """Whether the coordinator still waits for ``running``."""
    waiting: deque[Task] = field(default_factory=deque)
    failures: int = 0
    """Tries to connect in a row that came to nothing."""
    apart_since: float | None = None

    def handle(self, event: Event, now: float, jitter: float = 1.0) -> list[Command]:
        """Take in one event at ``now`` (monotonic seconds); ``jitter`` in [0, 1] scales the next backoff."""
        if self.phase is Phase.GONE:
            return []
        match event:
            case TasksGiven():
                return self._take(event.tasks)
            case TaskEnded():
                return self._task_ended(event.task)
            case JobReleased():
                return self._drop(lambda task: task.job == event.job)
            case Connect():
                return self._connect(now, jitter)
            case Welcomed():
                self._step(Phase.ACTIVE)
                self.failures, self.apart_since = 0, None
                return []
            case SessionEnded():
                return self._session_ended(event, now, jitter)
            case LeaveRequested():
                goodbye: list[Command] = [SayGoodbye(event.reason)] if self.phase is Phase.ACTIVE else []
                self._step(Phase.GONE)
                return [*goodbye, Exit(0, event.reason)]

    def _connect(self, now: float, jitter: float) -> list[Command]:
        assert self.phase is Phase.APART
        if self.running is not None:
            return self._try_later(STILL_COMPUTING, now, jitter)
        self.apart_since = now if self.apart_since is None else self.apart_since
        self._step(Phase.JOINING)
        return [OpenSession()]

    def _take(self, tasks: tuple[Task, ...]) -> list[Command]:
        job, round_number = tasks[0].job, tasks[0].round
        self._drop(lambda task: task.job == job and task.round < round_number)
        self.waiting.extend(tasks)
        return self._run_next()

    def _task_ended(self, task: Task) -> list[Command]:
        assert task == self.running
        answer: Command = Answer(task) if self.wanted else Discard(task, "nobody waits for it any more")
        self.running, self.wanted = None, False
        return [answer, *self._run_next()]

    def _run_next(self) -> list[Command]:
        if self.running is not None or not self.waiting:
            return []
        self.running, self.wanted = self.waiting.popleft(), True
        return [RunTask(self.running)]

    def _drop(self, unwanted: Callable[[Task], bool]) -> list[Command]:
        self.waiting = deque(task for task in self.waiting if not unwanted(task))
        if self.running is not None and unwanted(self.running):
            self.wanted = False
        return []

    def _session_ended(self, event: SessionEnded, now: float, jitter: float) -> list[Command]:
        self._drop(lambda _: True)
        if event.refused:
            self._step(Phase.GONE)
            return [Exit(2, event.detail)]
        self._step(Phase.APART)
        return self._try_later(event.detail, now, jitter)

    def _try_later(self, reason: str, now: float, jitter: float) -> list[Command]:
        self.apart_since = now if self.apart_since is None else self.apart_since
        if now - self.apart_since > self.backoff.give_up_after_s:
            self._step(Phase.GONE)
            return [Exit(3, f"gave up after {now - self.apart_since:.0f} s: {reason}")]
        self.failures += 1
        longest = min(self.backoff.limit_s, self.backoff.base_s * 2.0 ** min(self.failures, 30))
        return [ConnectLater(longest * jitter, reason)]

    def _step(self, to: Phase) -> None:
        assert to in PHASE_STEPS[self.phase], f"{self.phase} -> {to}"
        self.phase = to
