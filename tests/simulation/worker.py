"""A worker's process: the real session, an executor that adds vectors, and whatever may befall it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Protocol

from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom_coordinator.scheduling.events import TaskTimes
from gradloom_worker import commands as c
from gradloom_worker import events as e
from gradloom_worker.events import Task
from gradloom_worker.session import Session
from simulation import messages as m
from simulation.clock import Clock, Happening
from simulation.mathematics import partials
from simulation.messages import ref_of, task_of
from simulation.network import Closed, End, Stream
from simulation.plan import Trouble, WorkerPlan
from simulation.transcript import Transcript

HEARTBEAT_S = 1.0
FAILURES = (RetryReason.EXCEPTION, RetryReason.OUT_OF_MEMORY, RetryReason.NONFINITE)
FOREVER_S = 1e6


class Surroundings(Protocol):
    """What a process finds around it."""

    clock: Clock
    rng: random.Random
    transcript: Transcript
    trouble: Trouble

    def connect(self, worker: str) -> Stream | None:
        """A stream to the coordinator; None = nobody listens."""

    def rows(self, task: Task) -> int:
        """Rows of a task's shards."""

    def is_deadly(self, task: Task) -> bool:
        """Whether whoever computes a task dies of it."""

    def is_big(self, job: str) -> bool:
        """Whether a job's vectors go over the bulk stream."""

    def exited(self, worker: SimWorker) -> None:
        """The process is gone."""


@dataclass(slots=True, eq=False)
class SimWorker:
    """One worker; it may live several times."""

    plan: WorkerPlan
    world: Surroundings
    session: Session = field(default_factory=Session)
    alive: bool = False
    name: str = ""
    """What the coordinator calls it."""
    stream: Stream | None = None
    _life: int = 0
    _stalled_until: float = 0.0
    _deferred: list[Happening] = field(default_factory=list)
    _messages: dict[str, tuple[int, Step, m.Vector | None]] = field(default_factory=dict)
    _outcomes: dict[Task, m.Partial | m.Failed] = field(default_factory=dict)
    _cached: set[tuple[str, int]] = field(default_factory=set)
    _unsettled: set[Task] = field(default_factory=set)
    """Announced partials that neither credit nor a refusal has come for."""
    _flushing: bool = False

    # ---- the process

    def boot(self) -> None:
        """A new process, with nothing but its name."""
        assert not self.alive
        self.alive, self._life, self.session = True, self._life + 1, Session()
        self._stalled_until, self._flushing, self.stream = 0.0, False, None
        for kept in (self._messages, self._outcomes, self._cached, self._unsettled, self._deferred):
            kept.clear()
        self.world.transcript.add(self.plan.name, "process starts")
        self._handle(e.Connect())

    def die(self, why: str, notice_s: float | None) -> None:
        """The process is gone without a word; ``notice_s`` = when the coordinator sees its stream break."""
        if not self.alive:
            return
        self.world.transcript.add(self.plan.name, f"dies: {why}")
        if self.stream is not None:
            self.stream.cut({End.WORKER: None, End.COORDINATOR: notice_s}, "connection reset")
        self._end()

    def stall(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        if self.alive and self._stalled_until <= self.world.clock.now:
            self.world.transcript.add(self.plan.name, f"is stopped for {seconds:.1f} s")
            self._stalled_until = self.world.clock.now + seconds
            life = self._life
            self.world.clock.after(seconds, lambda: self._go_on() if life == self._life else None)

    def terminate(self, reason: str = "SIGTERM") -> None:
        """Ask it to leave."""
        if self.alive:
            self._do(lambda: self._handle(e.LeaveRequested(reason)))

    def _end(self) -> None:
        self.alive, self.stream = False, None
        self.world.exited(self)

    def _do(self, happen: Happening) -> None:
        """Now, or when the process is not stopped any more."""
        if self._deferred or self._stalled_until > self.world.clock.now:
            self._deferred.append(happen)
        else:
            happen()

    def _go_on(self) -> None:
        life, deferred = self._life, self._deferred
        self._deferred = []
        for happen in deferred:
            if self.alive and life == self._life:
                happen()

    def _after(self, delay_s: float, happen: Happening) -> None:
        life = self._life

        def guarded() -> None:
            if self.alive and life == self._life:
                self._do(happen)

        self.world.clock.after(delay_s, guarded)

    # ---- what the session wants

    def _handle(self, event: e.Event) -> None:
        for command in self.session.handle(event, self.world.clock.now, self.world.rng.random()):
            self._execute(command)

    def _execute(self, command: c.Command) -> None:
        match command:
            case c.OpenSession():
                self._connect(command)
            case c.ConnectLater():
                self._after(command.after_s, lambda: self._handle(e.Connect()))
            case c.RunTask():
                self._compute(command.task)
            case c.Answer() | c.AnswerAgain():
                self._answer(command.task)
            case c.Discard():
                self._outcomes.pop(command.task, None)
            case c.Forget():
                for task in command.tasks:
                    self._outcomes.pop(task, None)
                    self._settle(task)
            case c.GiveUp():
                self._say(m.GivenUp(tuple(map(ref_of, command.tasks))))
            case c.SayDraining():
                self._say(m.Draining(command.reason))
            case c.Flush():
                self._flushing = True
                self._flush()
            case c.LimitDrain():
                self._after(command.after_s, lambda: self._handle(e.DrainTimedOut()))
            case c.SayGoodbye():
                self._say(m.Goodbye(command.reason))
            case c.Exit():
                self._exit(command)

    def _exit(self, command: c.Exit) -> None:
        self.world.transcript.add(self.plan.name, f"exits with {command.code}: {command.reason}")
        if self.stream is not None:
            self.stream.close(End.WORKER, "the worker has left")
        self._end()

    def _settle(self, task: Task) -> None:
        self._unsettled.discard(task)
        self._flush()

    def _flush(self) -> None:
        if self._flushing and not self._unsettled:
            self._flushing = False
            self._after(0.0, lambda: self._handle(e.Flushed()))

    # ---- the stream

    def _connect(self, command: c.OpenSession) -> None:
        stream = self.world.connect(self.plan.name)
        if stream is None:
            self._after(0.01, lambda: self._handle(e.SessionEnded("nobody listens")))
            return
        self.stream = stream
        stream.listeners[End.WORKER] = lambda message: self._do_on(stream, message)
        computing = ref_of(command.computing) if command.computing is not None else None
        self._say(m.Hello(self.plan.name, self.plan.host, self.plan.labels, command.resume_token, computing))

    def _do_on(self, stream: Stream, message: m.Message | Closed) -> None:
        life = self._life

        def hear() -> None:
            if self.alive and life == self._life and self.stream is stream:
                self._hear(message)

        if self.alive:
            self._do(hear)

    def _say(self, message: m.Message) -> None:
        if self.stream is not None:
            self.world.transcript.add(f"{self.plan.name} -> coordinator", message)
            self.stream.send(End.WORKER, message)

    def _beat(self, stream: Stream) -> None:
        if self.stream is stream:
            if self.world.rng.random() >= self.world.trouble.lost_heartbeats:
                stream.send(End.WORKER, m.Heartbeat())
            self._after(HEARTBEAT_S, lambda: self._beat(stream))

    def _hear(self, message: m.Message | Closed) -> None:
        self.world.transcript.add(f"coordinator -> {self.plan.name}", message)
        match message:
            case Closed():
                self._ended(message.detail)
            case m.Welcome():
                self.name = message.worker
                assert self.stream is not None
                self._beat(self.stream)
                self._handle(e.Welcomed(message.token, message.resumed))
            case m.Compute():
                self._take(message)
            case m.Broadcast():
                self._complete(message)
            case m.Credit():
                self._upload(message)
            case m.Refusal():
                self._settle(task_of(message.task))
            case m.TakeBack():
                self._handle(e.TasksTakenBack(tuple(map(task_of, message.tasks))))
            case m.Cancel():
                self._handle(e.TasksCancelled(tuple(map(task_of, message.tasks))))
            case m.Release():
                self._messages.pop(message.job, None)
                self._handle(e.JobReleased(message.job))
            case m.Drain():
                self._handle(e.DrainAsked(message.reason))
            case _:
                raise AssertionError(f"a worker was sent {message}")

    def _ended(self, detail: str) -> None:
        if self.stream is not None:
            self.stream.close(End.WORKER, "the session is over")
        self.stream = None
        self._messages.clear()
        self._unsettled.clear()
        self._handle(e.SessionEnded(detail))

    def _take(self, message: m.Compute) -> None:
        have = self._messages.get(message.job)
        if have is None or have[0] != message.round:
            self._messages[message.job] = (message.round, message.step, message.parameters)
        parameters = self._messages[message.job][2]
        now = self.world.clock.now
        tasks = tuple(Task(message.job, message.round, o.range, o.attempt, now) for o in message.tasks)
        self._handle(e.TasksGiven(tasks, message_is_here=parameters is not None))

    def _complete(self, message: m.Broadcast) -> None:
        have = self._messages.get(message.job)
        if have is None or have[0] < message.round:
            # its frames have overtaken the tasks: as if the session's message had come first
            self._after(0.001, lambda: self._complete(message))
        elif have[0] == message.round:
            self._messages[message.job] = (message.round, have[1], message.parameters)
            self._handle(e.MessageArrived(message.job, message.round))

    # ---- tasks

    def _compute(self, task: Task) -> None:
        number, step, parameters = self._messages[task.job]
        assert number == task.round, f"{self.plan.name} starts {task} with the message of round {number}"
        assert parameters is not None, f"{self.plan.name} starts {task} without its round's message"
        rng, trouble = self.world.rng, self.world.trouble
        rows = self.world.rows(task)
        compute_s = (
            (rows + 1) / self.plan.rows_per_second * rng.lognormvariate(0.0, 0.05 + trouble.heavy_tail)
        )
        lacking = [(task.job, i) for i in range(*task.range) if (task.job, i) not in self._cached]
        self._cached.update(lacking)
        load_s = 0.2 * compute_s * len(lacking) / task.range.size
        started = self.world.clock.now
        times = TaskTimes(started - task.given_at, load_s, compute_s, 0.0)
        if rng.random() < trouble.stuck:
            compute_s = FOREVER_S

        def end() -> None:
            self._computed(task, step, parameters, rows, times)

        self._after(load_s + compute_s, end)

    def _computed(self, task: Task, step: Step, parameters: m.Vector, rows: int, times: TaskTimes) -> None:
        rng, trouble = self.world.rng, self.world.trouble
        if rng.random() < trouble.death or self.world.is_deadly(task):
            self.die(f"over {task.job} {task.range}", rng.choice((0.01, 0.5, None)))
            return
        if rng.random() < trouble.failure + self.plan.failure:
            self._outcomes[task] = m.Failed(ref_of(task), rng.choice(FAILURES))
        else:
            vector = partials(step, task.range, parameters)
            big = self.world.is_big(task.job)
            self._outcomes[task] = m.Partial(ref_of(task), rows, times, vector, announced=big)
        self._handle(e.TaskEnded(task))

    def _answer(self, task: Task) -> None:
        outcome = self._outcomes.get(task)
        if outcome is None:
            return
        if isinstance(outcome, m.Failed):
            self._say(outcome)
        elif outcome.announced:
            self._unsettled.add(task)
            self._say(outcome)
        else:
            self._say(self._perhaps_damaged(outcome))

    def _perhaps_damaged(self, partial: m.Partial) -> m.Partial:
        if self.world.rng.random() >= self.world.trouble.damage:
            return partial
        return replace(partial, vector=partial.vector + 1, damaged=True)

    def _upload(self, message: m.Credit) -> None:
        task = task_of(message.task)
        outcome = self._outcomes.get(task)
        if isinstance(outcome, m.Partial):
            self._say(m.PartialBytes(self._perhaps_damaged(outcome)))
        self._settle(task)
