"""The worker's life, decided purely: connect, join, compute, answer, back off, resume, drain, leave.

Events in, commands out; no I/O, no clock, no arrays. One task is computed at a time, in the order they came, as soon
as the message of its round is here.

A session that breaks is resumed if the worker is back in time: what it computes stays wanted, and all its answers of
each job's newest round are said again. Nothing acknowledges an answer: the coordinator counts every range once and
drops what comes twice, so saying it again is always right. Tasks that had not started are dealt anew by the
coordinator. If the session can't be resumed, what is still being computed is thrown away when it ends; until then
the worker stays apart: it would be given tasks and could start none of them.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gradloom_worker import commands as c
from gradloom_worker import events as e
from gradloom_worker.commands import Command
from gradloom_worker.events import Event, JobId, Task

STILL_COMPUTING = "a task that nobody waits for is still computing"


class Phase(StrEnum):
    """Where a worker is in its life."""

    APART = "apart"
    """Not connected; a timer may be running."""
    JOINING = "joining"
    """Hello is sent."""
    ACTIVE = "active"
    DRAINING = "draining"
    """Finishes what it computes, starts nothing else, and leaves."""
    GONE = "gone"


PHASE_STEPS: Mapping[Phase, frozenset[Phase]] = {
    Phase.APART: frozenset({Phase.JOINING, Phase.GONE}),
    Phase.JOINING: frozenset({Phase.ACTIVE, Phase.APART, Phase.GONE}),
    Phase.ACTIVE: frozenset({Phase.APART, Phase.DRAINING, Phase.GONE}),
    Phase.DRAINING: frozenset({Phase.GONE}),
    Phase.GONE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Backoff:
    """How patiently to try again: exponential with full jitter."""

    base_s: float = 0.05
    limit_s: float = 1.0
    """A coordinator that comes back has all its workers back within this time and a little."""
    give_up_after_s: float = 300.0


@dataclass(slots=True)
class Session:
    """One worker's session; ``handle`` is its only door."""

    backoff: Backoff = field(default_factory=Backoff)
    resume_for_s: float = 10.0
    """For so long after a break the session may be resumed."""
    drain_timeout_s: float = 20.0
    phase: Phase = Phase.APART
    token: str = ""
    """Names the session that can be resumed; empty = there is none."""
    running: Task | None = None
    """What the executor is busy with, wanted or not."""
    wanted: bool = False
    """Whether the coordinator still waits for ``running``."""
    waiting: deque[Task] = field(default_factory=deque)
    """Not started, in the order they came."""
    messages: dict[JobId, int] = field(default_factory=dict)
    """The round of each job whose message is here."""
    kept: list[Task] = field(default_factory=list)
    """Answers of each job's newest round, said or still to be said."""
    failures: int = 0
    """Tries to connect in a row that came to nothing."""
    apart_since: float | None = None
    leaves_because: str = ""
    """Known while DRAINING."""
    signalled: bool = False
    """Whether the next signal ends it at once."""

    @property
    def connected(self) -> bool:
        """Whether the coordinator has it now."""
        return self.phase in (Phase.ACTIVE, Phase.DRAINING)

    def handle(self, event: Event, now: float, jitter: float = 1.0) -> list[Command]:
        """Take in one event at ``now`` (monotonic seconds); ``jitter`` in [0, 1] scales the next backoff."""
        if self.phase is Phase.GONE:
            return []
        match event:
            case e.TasksGiven():
                return self._take(event)
            case e.MessageArrived():
                self.messages[event.job] = event.round
                return self._run_next()
            case e.TaskEnded():
                return self._task_ended(event.task)
            case e.TasksTakenBack():
                return self._give_up(lambda task: task in event.tasks)
            case e.TasksCancelled():
                return self._drop(lambda task: task in event.tasks) + self._flush_if_done()
            case e.JobReleased():
                self.messages.pop(event.job, None)
                return self._drop(lambda task: task.job == event.job) + self._flush_if_done()
            case e.Connect():
                return self._connect(now, jitter)
            case e.Welcomed():
                return self._welcomed(event)
            case e.SessionEnded():
                return self._session_ended(event, now, jitter)
            case e.DrainAsked():
                return self._drain(event.reason) if self.phase is Phase.ACTIVE else []
            case e.LeaveRequested():
                return self._signal(event.reason)
            case e.Flushed():
                return self._leave(self.leaves_because) if self.phase is Phase.DRAINING else []
            case e.DrainTimedOut():
                return self._leave(f"{self.leaves_because}; not through after {self.drain_timeout_s:g} s")

    # ---- the session

    def _connect(self, now: float, jitter: float) -> list[Command]:
        assert self.phase is Phase.APART
        commands: list[Command] = []
        if self.apart_since is None:
            self.apart_since = now
        elif now - self.apart_since > self.resume_for_s:
            commands = self._forget_session()
        if self.running is not None and not self.token:
            return [*commands, *self._try_later(STILL_COMPUTING, now, jitter)]
        self._step(Phase.JOINING)
        return [*commands, c.OpenSession(self.token, self.running if self.wanted else None)]

    def _welcomed(self, event: e.Welcomed) -> list[Command]:
        if event.resumed:
            commands: list[Command] = [c.AnswerAgain(task) for task in self.kept]
        else:
            commands = self._forget_session()
            if self.running is not None:  # still JOINING until the coordinator ends the session
                return [*commands, c.SayGoodbye(STILL_COMPUTING)]
        self._step(Phase.ACTIVE)
        self.token = event.token
        self.failures, self.apart_since = 0, None
        return commands

    def _session_ended(self, event: e.SessionEnded, now: float, jitter: float) -> list[Command]:
        self.waiting.clear()
        self.messages.clear()
        if event.refused:
            self._step(Phase.GONE)
            return [c.Exit(2, event.detail)]
        if self.phase is Phase.DRAINING:  # what it has not answered is for others by now
            self._step(Phase.GONE)
            return [c.Exit(0, f"{self.leaves_because}; {event.detail}")]
        self._step(Phase.APART)
        return self._try_later(event.detail, now, jitter)

    def _forget_session(self) -> list[Command]:
        self.token = ""
        return self._drop(lambda _: True)

    def _try_later(self, reason: str, now: float, jitter: float) -> list[Command]:
        self.apart_since = now if self.apart_since is None else self.apart_since
        if now - self.apart_since > self.backoff.give_up_after_s:
            self._step(Phase.GONE)
            return [c.Exit(3, f"gave up after {now - self.apart_since:.0f} s: {reason}")]
        longest = min(self.backoff.limit_s, self.backoff.base_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return [c.ConnectLater(longest * jitter, reason)]

    # ---- tasks

    def _take(self, event: e.TasksGiven) -> list[Command]:
        if self.phase not in (Phase.ACTIVE, Phase.DRAINING):
            return []  # they crossed our Goodbye
        job, round_number = event.tasks[0].job, event.tasks[0].round

        def is_older(task: Task) -> bool:
            return task.job == job and task.round < round_number

        commands = self._forget(is_older)
        if any(is_older(task) for task in self.waiting):
            commands += self._give_up(is_older)
        if event.message_is_here:
            self.messages[job] = round_number
        self.waiting.extend(event.tasks)
        if self.phase is Phase.DRAINING:
            return commands + self._give_up(lambda _: True)
        return commands + self._run_next()

    def _task_ended(self, task: Task) -> list[Command]:
        assert task == self.running
        wanted, self.running, self.wanted = self.wanted, None, False
        if not wanted:
            return [c.Discard(task, "nobody waits for it any more"), *self._run_next()]
        self.kept.append(task)
        if self.phase in (Phase.APART, Phase.JOINING):
            return []  # said when the session is resumed
        return [c.Answer(task), *self._run_next(), *self._flush_if_done()]

    def _run_next(self) -> list[Command]:
        if self.running is not None:
            return []
        for i, task in enumerate(self.waiting):
            if self.messages.get(task.job) == task.round:
                del self.waiting[i]
                self.running, self.wanted = task, True
                return [c.RunTask(task)]
        return []

    def _give_up(self, asked_for: Callable[[Task], bool]) -> list[Command]:
        given_up = tuple(task for task in self.waiting if asked_for(task))
        self.waiting = deque(task for task in self.waiting if task not in given_up)
        return [c.GiveUp(given_up)]

    def _drop(self, unwanted: Callable[[Task], bool]) -> list[Command]:
        self.waiting = deque(task for task in self.waiting if not unwanted(task))
        if self.running is not None and unwanted(self.running):
            self.wanted = False
        return self._forget(unwanted, unsend=True)

    def _forget(self, unwanted: Callable[[Task], bool], *, unsend: bool = False) -> list[Command]:
        forgotten = tuple(task for task in self.kept if unwanted(task))
        if not forgotten:
            return []
        self.kept = [task for task in self.kept if not unwanted(task)]
        return [c.Forget(forgotten, unsend)]

    # ---- the end

    def _signal(self, reason: str) -> list[Command]:
        at_once = self.signalled or self.phase not in (Phase.ACTIVE, Phase.DRAINING)
        self.signalled = True
        if at_once:
            return self._leave(reason)
        return self._drain(reason) if self.phase is Phase.ACTIVE else []

    def _drain(self, reason: str) -> list[Command]:
        self._step(Phase.DRAINING)
        self.leaves_because = reason
        given_up = self._give_up(lambda _: True) if self.waiting else []
        return [c.SayDraining(reason), *given_up, c.LimitDrain(self.drain_timeout_s), *self._flush_if_done()]

    def _flush_if_done(self) -> list[Command]:
        computes = self.running is not None and self.wanted
        return [c.Flush()] if self.phase is Phase.DRAINING and not computes else []

    def _leave(self, reason: str) -> list[Command]:
        connected = self.phase in (Phase.ACTIVE, Phase.DRAINING)
        self._step(Phase.GONE)
        goodbye: list[Command] = [c.SayGoodbye(reason)] if connected else []
        return [*goodbye, c.Exit(0, reason)]

    def _step(self, to: Phase) -> None:
        assert to in PHASE_STEPS[self.phase], f"{self.phase} -> {to}"
        self.phase = to
