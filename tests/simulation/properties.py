"""What must hold after every event, whatever happens. Watches the scheduler from outside; keeps books of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradloom.canonical import Range, path_to
from gradloom.jobs import RetryReason, WorkerState
from gradloom.steps import Step
from gradloom.synchrony import SynchronyKind
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.closing import MAX_STALENESS_PER_WORKER
from gradloom_coordinator.scheduling.commands import Command
from gradloom_coordinator.scheduling.events import Event, JobId, TaskRef, WorkerId
from gradloom_coordinator.scheduling.rounds import Round
from gradloom_coordinator.scheduling.scheduler import Scheduler

R = RetryReason
REASONS: Mapping[type[Event], frozenset[RetryReason]] = {
    e.StreamBroken: frozenset({R.STREAM_RESET}),
    e.WorkerLeft: frozenset({R.WORKER_LOST}),
    e.Tick: frozenset({R.HEARTBEAT_TIMEOUT, R.DEADLINE, R.WORKER_LOST}),
    e.TaskFailed: frozenset({R.EXCEPTION, R.OUT_OF_MEMORY, R.NONFINITE, R.CHECKSUM}),
}
"""Why something may have to be computed again after an event; after others nothing does."""
SIGNS_OF_LIFE = (
    e.WorkerJoined,
    e.WorkerResumed,
    e.HeartbeatReceived,
    e.PartialOffered,
    e.PartialArrived,
    e.TaskFailed,
)
MAX_TICK_S = 0.3
"""Between two looks at the time."""


@dataclass(slots=True)
class Properties:
    """The books of one life of the coordinator."""

    scheduler: Scheduler
    mute: dict[WorkerId, str] = field(default_factory=dict)
    """Workers that must not be given anything, and why."""
    shut_out: set[WorkerId] = field(default_factory=set)
    """Those that a person has excluded, whether they are here or not."""
    asked_back: dict[TaskRef, WorkerId] = field(default_factory=dict)
    """What somebody was asked to give up, and has not answered for."""
    heard_at: dict[WorkerId, float] = field(default_factory=dict)
    now: float = 0.0

    def check(self, event: Event, commands: list[Command], now: float) -> None:
        """After the scheduler has taken in an event, before its commands are carried out."""
        self.now = now
        self.scheduler.state.check()
        self._hear(event)
        for command in commands:
            match command:
                case c.SendTasks():
                    self._check_sending(command)
                case c.TakeBack():
                    self._note_asked(command)
                case c.AnnounceRetry():
                    self._check_retry(event, command)
                case c.MergePartial():
                    self._check_staleness(command)
                case c.CancelTasks():
                    self._settle(tasks=command.tasks)
                case c.EndSession():
                    self._settle(worker=command.worker)
                case c.CloseRound() | c.ReleaseJob():
                    if isinstance(command, c.CloseRound):
                        self._check_missing(command)
                    self._settle(job=command.job)
        self._check_bounds()

    # ---- who may be given what

    def _hear(self, event: Event) -> None:
        if isinstance(event, SIGNS_OF_LIFE):
            self.heard_at[event.worker] = self.now
        match event:
            case e.StreamBroken() | e.WorkerLeft():
                self.mute[event.worker] = "is gone"
                self._settle(worker=event.worker)
            case e.WorkerDraining():
                self.mute[event.worker] = "drains"
            case e.ExcludeRequested():
                self.shut_out.add(event.worker)
            case e.ReadmitRequested():
                self.shut_out.discard(event.worker)
            case e.Stalled():
                self.heard_at = {worker: at + event.seconds for worker, at in self.heard_at.items()}
            case e.WorkerJoined() | e.WorkerResumed():
                self.mute.pop(event.worker, None)
            case e.TasksGivenUp():
                self._settle(tasks=event.tasks)
                worker = self.scheduler.state.workers.get(event.worker)
                kept = worker.tasks.keys() & set(event.tasks) if worker is not None else ()
                assert not kept, f"{event.worker} gave up {kept} and is thought to compute it"
            case e.PartialArrived() | e.TaskFailed():
                self._settle(tasks=(event.task,))

    def _note_asked(self, command: c.TakeBack) -> None:
        for task in command.tasks:
            self.asked_back[task] = command.worker

    def _settle(self, tasks: tuple[TaskRef, ...] = (), worker: WorkerId = "", job: JobId = "") -> None:
        """Others may start these from now on."""
        self.asked_back = {
            task: victim
            for task, victim in self.asked_back.items()
            if task not in tasks and victim != worker and task.job != job
        }

    def _check_sending(self, command: c.SendTasks) -> None:
        worker = self.scheduler.state.workers[command.worker]
        assert command.reason, f"{worker.id} is given tasks without a reason"
        assert worker.id not in self.mute, f"{worker.id} {self.mute[worker.id]} and is given tasks"
        assert worker.id not in self.shut_out, f"{worker.id} was excluded by a person and is given tasks"
        silent_s = self.now - self.heard_at[worker.id]
        limit_s = self.scheduler.limits.suspect_after_s + MAX_TICK_S
        assert silent_s < limit_s, f"{worker.id} was silent for {silent_s:.1f} s and is given tasks"
        allowed = (WorkerState.IDLE, WorkerState.BUSY, WorkerState.PROBING)
        assert worker.state in allowed, f"{worker.id} is {worker.state} and is given tasks"
        job = self.scheduler.state.jobs[command.job]
        assert all(worker.labels.get(k) == v for k, v in job.required_labels.items()), "labels"
        for order in command.tasks:
            list(path_to(order.range, len(job.shard_rows)))  # raises if it is no node of the tree
            self._check_not_asked_back(command, order.range)
        computing_s = next(iter(worker.tasks.values())).expected_s
        newest_s = next(reversed(worker.tasks.values())).expected_s
        most_s = self.scheduler.limits.lead_s + 2 * worker.transit_s
        assert worker.expected_s - computing_s - newest_s < most_s + 1e-9, (
            f"{worker.id} has {worker.expected_s:.3f} s in hand"
        )

    def _check_not_asked_back(self, command: c.SendTasks, shards: Range) -> None:
        asked = [t for t in self.asked_back if t[:3] == (command.job, command.round, shards)]
        copies = command.reason.startswith("copies")
        assert copies or not asked, f"{shards} starts twice: {asked[0]} is not given up yet"

    # ---- what counts

    def _check_staleness(self, merge: c.MergePartial) -> None:
        rule, state = self.scheduler.state.jobs[merge.task.job].synchrony, self.scheduler.state
        most = {
            SynchronyKind.BOUNDED: rule.number,
            SynchronyKind.ASYNCHRONOUS: MAX_STALENESS_PER_WORKER * len(state.workers),
        }.get(rule.kind, 0)
        assert 0 <= merge.staleness <= most, f"{merge} is too old for {rule}"

    def _check_missing(self, close: c.CloseRound) -> None:
        job = self.scheduler.state.jobs[close.job]
        assert job.round is not None
        if job.synchrony.exact or job.round.step is not Step.TRAIN:
            assert close.missing_shards == 0, f"{close} is not complete"
        if job.synchrony.kind is SynchronyKind.BACKUP:
            assert close.missing_shards <= job.synchrony.number, f"{close} misses too much"

    # ---- why

    def _check_retry(self, event: Event, retry: c.AnnounceRetry) -> None:
        allowed = REASONS.get(type(event), frozenset())
        assert retry.reason in allowed, f"{retry} after {event}"
        assert retry.detail, f"{retry} says nothing"
        if retry.reason is R.HEARTBEAT_TIMEOUT:
            silent_s = self.now - self.heard_at[retry.worker]
            assert silent_s > self.scheduler.limits.lost_after_s, (
                f"{retry.worker} was heard {silent_s:.1f} s ago"
            )

    # ---- bounds

    def _check_bounds(self) -> None:
        state = self.scheduler.state
        assert len(state.hungry) <= len(state.workers)
        most = sum(len(job.round.chunks) for job in state.running() if job.round is not None)
        for worker in state.workers.values():
            assert len(worker.tasks) <= most, f"{worker.id} has {len(worker.tasks)} of {most} chunks"
        for job in state.running():
            if job.open_round is not None:
                self._check_queues(job.open_round)

    def _check_queues(self, round_: Round) -> None:
        queued = sum(len(queue) for queue in round_.queues.values())
        assert queued <= len(round_.chunks)
        assert len(round_.orphans) <= len(round_.chunks), f"{len(round_.orphans)} orphans"
        assert len(round_.delayed) <= len(round_.chunks), f"{len(round_.delayed)} delayed"
        assert len(round_.in_hand) <= 2 * len(round_.chunks)

    def check_empty(self) -> None:
        """After all jobs are forgotten and all workers gone."""
        state = self.scheduler.state
        assert not state.jobs, f"{list(state.jobs)} are kept"
        assert not state.workers, f"{list(state.workers)} are kept"
        assert not state.hungry
