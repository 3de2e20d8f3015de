"""One life of the coordinator: the real scheduler, and an edge that carries out what it says, as runtime.py does.

It may die before any command. What it knew is gone then, but for the storage.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import add

from gradloom.canonical import CanonicalSum
from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.scheduler import Scheduler
from simulation import messages as m
from simulation.clock import Clock, Happening
from simulation.mathematics import Descent, answer, undisturbed
from simulation.network import Closed, End, Stream
from simulation.properties import Properties
from simulation.storage import JobRecord, Storage
from simulation.transcript import Transcript

TICK_S = 0.25
NEVER = float("inf")


class CoordinatorDied(Exception):
    """Between two commands."""


@dataclass(slots=True, eq=False)
class Link:
    """The record of one session; without a stream its worker is away."""

    name: str
    token: str
    stream: Stream | None
    incoming: dict[e.TaskRef, m.Partial] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    """The round of each job whose parameters it has."""


@dataclass(slots=True, eq=False)
class Run:
    """A job's arrays."""

    record: JobRecord
    descent: Descent
    tree: CanonicalSum[m.Vector]
    number: int = 0


@dataclass(slots=True, eq=False)
class SimCoordinator:
    """From its start to its death."""

    clock: Clock
    rng: random.Random
    transcript: Transcript
    storage: Storage
    limits: Limits
    checkpoint_every: int
    log: list[e.Event | c.Command]
    die_before: Callable[[c.Command], bool]
    """Asked before each command."""
    scheduler: Scheduler = field(init=False)
    properties: Properties = field(init=False)
    links: dict[str, Link] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    alive: bool = True
    _inbox: list[e.Event] = field(default_factory=list)
    _dispatching: bool = False
    _arriving: m.Vector | None = None
    _wake_at: float = NEVER

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.limits)
        self.properties = Properties(self.scheduler)

    def start(self) -> None:
        """Go on with the jobs that the storage knows."""
        self.transcript.add("coordinator", "starts")
        self._after(TICK_S, self._tick)
        for worker in sorted(self.storage.excluded):
            self.dispatch(e.ExcludeRequested(worker, "excluded by a person"))
        for record in self.storage.unfinished():
            self.submit(record)

    def die(self) -> None:
        """The process is gone."""
        self.transcript.add("coordinator", "dies")
        self.alive = False

    def _after(self, delay_s: float, happen: Happening) -> None:
        self.clock.after(delay_s, lambda: happen() if self.alive else None)

    def _tick(self) -> None:
        self._after(TICK_S, self._tick)
        self.dispatch(e.Tick())

    # ---- order

    def dispatch(self, event: e.Event) -> None:
        """Hand an event to the scheduler and do what it says; events that this raises follow in order."""
        self._inbox.append(event)
        if self._dispatching:
            return
        self._dispatching = True
        while self._inbox:
            event = self._inbox.pop(0)
            if not isinstance(event, e.Tick | e.HeartbeatReceived):
                self.transcript.add("-> scheduler", event)
                self.log.append(event)
            commands = self.scheduler.handle(event, self.clock.now)
            for command in commands:
                self.transcript.add("scheduler ->", command)
            self.log += commands
            self.properties.check(event, commands, self.clock.now)
            for command in commands:
                if self.die_before(command):
                    self.transcript.add("coordinator", f"is killed before {command}")
                    raise CoordinatorDied
                self._execute(command)
        self._dispatching = False

    def _execute(self, command: c.Command) -> None:
        match command:
            case c.SendTasks():
                self._send_tasks(command)
            case c.MergePartial():
                assert self._arriving is not None
                counted = self.runs[command.task.job].tree.add(command.task.range, self._arriving)
                assert counted, f"shards {command.task.range} are counted twice"
            case c.AcceptOffer():
                self._say(command.worker, m.Credit(command.task))
            case c.DropPartial():
                if (link := self.links.get(command.worker)) and link.incoming.pop(command.task, None):
                    self._say(command.worker, m.Refusal(command.task))
            case c.TakeBack():
                self._say(command.worker, m.TakeBack(command.tasks))
            case c.CancelTasks():
                self._say(command.worker, m.Cancel(command.tasks))
            case c.DrainWorker():
                self._say(command.worker, m.Drain(command.reason))
            case c.EndSession() | c.ForgetWorker():
                self._end_session(command)
            case c.WakeAt():
                self._wake(command.at)
            case _:
                self._execute_about_a_job(command)

    def _execute_about_a_job(self, command: c.Command) -> None:
        match command:
            case c.StartPlanning():
                planned = e.JobPlanned(command.job, self.storage.jobs[command.job].plan.shard_rows)
                self._after(self.rng.random() * 0.1, lambda: self.dispatch(planned))
            case c.StartRounds():
                record = self.storage.jobs[command.job]
                descent = record.restored()
                self.runs[command.job] = Run(record, descent, CanonicalSum(descent.n_shards, add))
                self._go_on(self.runs[command.job])
            case c.CloseRound():
                run = self.runs[command.job]
                assert run.number == command.round
                exact = run.record.plan.synchrony.exact or run.descent.step is not Step.TRAIN
                total = run.tree.total() if exact else run.tree.total_so_far()
                self._after(run.record.plan.slow_update_s, lambda: self._update(run, total))
            case c.ReleaseJob():
                self.runs.pop(command.job, None)
                for link in self.links.values():
                    if link.given.pop(command.job, None) is not None:
                        self._say(link.name, m.Release(command.job))
            case c.AnnounceState():
                record = self.storage.jobs[command.job]
                record.state, record.reason = command.state, command.reason

    def _wake(self, at: float) -> None:
        if at < self._wake_at:
            self._wake_at = at
            self._after(max(0.0, at - self.clock.now), lambda: self._woken(at))

    def _woken(self, at: float) -> None:
        if at == self._wake_at:
            self._wake_at = NEVER
            self.dispatch(e.Tick())

    # ---- jobs

    def submit(self, record: JobRecord) -> None:
        """A job is in the storage: let the scheduler have it."""
        plan = record.plan
        self.dispatch(
            e.JobSubmitted(
                plan.name,
                plan.policy,
                algorithm="descent",
                share_weight=plan.share_weight,
                required_labels=plan.required_labels,
                speculation=plan.speculation,
                synchrony=plan.synchrony,
            )
        )
        if record.pause_because:
            self.dispatch(e.PauseRequested(plan.name, record.pause_because))

    def _go_on(self, run: Run) -> None:
        """Open the next round, or end the job after the last one."""
        if run.descent.finished and run.descent.step is not Step.QUERY:
            self._finish(run)
            return
        run.record.last_round += 1
        run.number = run.record.last_round
        run.tree = CanonicalSum(run.descent.n_shards, add)
        self.dispatch(e.RoundReady(run.record.plan.name, run.number, run.descent.step))

    def _update(self, run: Run, total: m.Vector) -> None:
        """The round's sum is complete."""
        name = run.record.plan.name
        if self.runs.get(name) is not run:
            return
        if run.descent.step is Step.QUERY:
            self._answered(run, total)
            return
        run.descent.advance(total)
        if run.descent.rounds % self.checkpoint_every == 0:
            run.record.save(run.descent)
        self._go_on(run)

    def _finish(self, run: Run) -> None:
        run.record.result = run.descent.parameters.tobytes()
        same = run.record.result == undisturbed(run.descent.n_shards, run.descent.max_rounds)
        exact = run.record.plan.synchrony.exact
        assert same or not exact, f"{run.record.plan.name} has other bits than an undisturbed run"
        if run.record.answered < run.record.plan.queries:
            run.descent.step = Step.QUERY
            self.dispatch(e.JobServes(run.record.plan.name, "ready for queries"))
            self._ask_later(run)
        else:
            self.dispatch(e.JobFinished(run.record.plan.name, "all rounds are done"))

    def _ask_later(self, run: Run) -> None:
        """Somebody asks, sooner or later."""
        still = run.record.plan.name
        self._after(self.rng.random(), lambda: self._go_on(run) if self.runs.get(still) is run else None)

    def _answered(self, run: Run, total: m.Vector) -> None:
        expected = answer(run.descent.n_shards, run.descent.parameters)
        assert total.tobytes() == expected.tobytes(), "an answer has other bits than one worker's alone"
        run.record.answered += 1
        if run.record.answered < run.record.plan.queries:
            self._ask_later(run)
        else:
            self.dispatch(e.CancelRequested(run.record.plan.name, "nobody asks any more"))

    # ---- workers

    def hear(self, stream: Stream, message: m.Message | Closed) -> None:
        """Something arrives on a stream that is new or belongs to a session."""
        if isinstance(message, m.Hello):
            self._welcome(stream, message)
            return
        link = next((link for link in self.links.values() if link.stream is stream), None)
        if link is None:
            return
        match message:
            case Closed():
                self._break(link, message.detail)
            case m.Heartbeat():
                self.dispatch(e.HeartbeatReceived(link.name))
            case m.Partial():
                self._partial(link, message)
            case m.PartialBytes():
                if link.incoming.pop(message.partial.task, None) is not None:
                    self._arrived(link, message.partial)
            case m.Failed():
                self.dispatch(e.TaskFailed(link.name, message.task, message.reason, "ValueError: bad luck"))
            case m.GivenUp():
                self.dispatch(e.TasksGivenUp(link.name, message.tasks))
            case m.Draining():
                self.dispatch(e.WorkerDraining(link.name, message.reason))
            case m.Goodbye():
                del self.links[link.name]
                stream.close(End.COORDINATOR, "goodbye")
                self.dispatch(e.WorkerLeft(link.name, message.reason))
            case _:
                raise AssertionError(f"the coordinator was sent {message}")

    def _welcome(self, stream: Stream, hello: m.Hello) -> None:
        known = next((link for link in self.links.values() if link.token == hello.resume_token), None)
        if known is None:
            taken = self.links
            names = (hello.name, *(f"{hello.name}-{i}" for i in range(2, 1000)))
            name = next(name for name in names if name not in taken)
            link = self.links[name] = Link(name, f"{self.rng.getrandbits(64):x}", stream)
            self._say(name, m.Welcome(name, link.token, resumed=False))
            self.dispatch(e.WorkerJoined(name, hello.host, hello.labels))
            return
        if known.stream is not None:
            known.stream.close(End.COORDINATOR, "the session goes on on another stream")
            self._break(known, "its session goes on on another stream")
        if self.links.get(known.name) is known:
            known.stream = stream
            self._say(known.name, m.Welcome(known.name, known.token, resumed=True))
            self.dispatch(e.WorkerResumed(known.name, hello.computing))

    def _break(self, link: Link, detail: str) -> None:
        link.stream = None
        link.incoming.clear()
        link.given.clear()
        self.dispatch(e.StreamBroken(link.name, detail))

    def _end_session(self, command: c.EndSession | c.ForgetWorker) -> None:
        link = self.links.pop(command.worker, None)
        if link is not None and link.stream is not None:
            assert isinstance(command, c.EndSession), f"{link.name} is forgotten while it is connected"
            link.stream.close(End.COORDINATOR, command.reason)

    def _partial(self, link: Link, message: m.Partial) -> None:
        if message.announced:
            link.incoming[message.task] = message
            self.dispatch(e.PartialOffered(link.name, message.task))
        else:
            self._arrived(link, message)

    def _arrived(self, link: Link, partial: m.Partial) -> None:
        if partial.damaged:
            self.dispatch(e.TaskFailed(link.name, partial.task, RetryReason.CHECKSUM, "damaged on the way"))
            return
        self._arriving = partial.vector
        self.dispatch(
            e.PartialArrived(link.name, partial.task, partial.rows, partial.times, partial.vector.nbytes)
        )
        self._arriving = None

    def _say(self, worker: str, message: m.Message) -> None:
        link = self.links.get(worker)
        if link is not None and link.stream is not None:
            link.stream.send(End.COORDINATOR, message)

    def _send_tasks(self, command: c.SendTasks) -> None:
        run, link = self.runs[command.job], self.links[command.worker]
        assert link.stream is not None, f"{command.worker} is away and was given tasks"
        assert run.number == command.round
        parameters = None if link.given.get(command.job) == command.round else run.descent.parameters
        link.given[command.job] = command.round
        inline = None if run.record.plan.big else parameters
        step = run.descent.step
        self._say(command.worker, m.Compute(command.job, command.round, step, command.tasks, inline))
        if run.record.plan.big and parameters is not None:
            self._say(command.worker, m.Broadcast(command.job, command.round, parameters))
