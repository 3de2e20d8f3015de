"""A whole cluster in memory: one clock, one network, workers, a coordinator that may die, and people.

Everything that is random comes from the seed. ``run`` ends when every job has ended, and asserts that it has.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.policies import POLICIES
from gradloom_worker.events import Task
from simulation.clock import Clock, Happening
from simulation.coordinator import CoordinatorDied, SimCoordinator
from simulation.network import End, Network, Stream
from simulation.plan import JobPlan, Plan, Trouble, drawn
from simulation.storage import JobRecord, Storage
from simulation.transcript import Transcript
from simulation.worker import SimWorker

PATIENCE_S = 1500.0
"""Of virtual time, after the last trouble: exclusions last up to 300 s, tasks that never end 60 s each."""
REPLAY = "replay it with: PYTHONPATH=tests .venv/bin/python -m simulation --seed"


@dataclass(slots=True, eq=False)
class World:
    """One simulation."""

    seed: int
    plan: Plan
    transcript_lines: int | None = 200
    clock: Clock = field(default_factory=Clock)
    rng: random.Random = field(init=False)
    transcript: Transcript = field(init=False)
    network: Network = field(init=False)
    trouble: Trouble = field(init=False)
    storage: Storage = field(default_factory=Storage)
    workers: dict[str, SimWorker] = field(default_factory=dict)
    coordinator: SimCoordinator | None = None
    die_before: Callable[[c.Command], bool] = lambda _: False
    """Whether the coordinator is killed before a command."""
    deaths_of_coordinator: int = 0
    log: list[e.Event | c.Command] = field(default_factory=list)
    """What all schedulers were told and said, but for ticks and heartbeats."""
    _streams: list[Stream] = field(default_factory=list)
    _calm: bool = False
    _over: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.trouble = self.plan.trouble
        self.transcript = Transcript(self.clock, self.transcript_lines)
        self.network = Network(
            self.clock, self.rng, self.transcript, self.plan.typical_delay_s, self.trouble.spike
        )

    def run(self) -> None:
        """Let everything happen. Raises AssertionError that tells how it came to what must not be."""
        with self._telling():
            self._begin()
        self.finish()

    def until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> None:
        """Let things happen until something is so; begins the world if that has not been done."""
        with self._telling():
            if not self.workers:
                self._begin()
            while not condition():
                assert self.clock.now < limit_s, "what was waited for has not come"
                self.step()

    def finish(self) -> None:
        """Let everything happen that is still to come."""
        with self._telling():
            while not self._ended():
                self.step()
            self._check_end()
            self._leave_nothing()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            what = str(error) if isinstance(error, AssertionError) else repr(error)
            story = f"seed {self.seed}: {what}\n{REPLAY} {self.seed}\n{self.plan}\n{self.transcript}"
            raise AssertionError(story) from error

    def step(self) -> None:
        """Let the next thing happen."""
        try:
            self.clock.step()
        except CoordinatorDied:
            self.kill_coordinator()

    # ---- beginning and end

    def _begin(self) -> None:
        self.start_coordinator()
        for worker in self.plan.workers:
            self.workers[worker.name] = SimWorker(worker, self)
            self._start_later(self.workers[worker.name], worker.starts_at)
        for job in self.plan.jobs:
            self.clock.after(job.submitted_at, partial(self.submit, job))
            if job.cancelled_at is not None:
                self.clock.after(job.cancelled_at, partial(self.cancel, job.name))
        self._have_trouble()
        self.clock.after(self.plan.calm_after_s, self._calm_down)

    def _ended(self) -> bool:
        if len(self.storage.jobs) == len(self.plan.jobs) and not self.storage.unfinished():
            return True
        late = self.clock.now > self.plan.calm_after_s + PATIENCE_S
        assert not late, (
            f"these go on for ever: {[(r.plan.name, r.state) for r in self.storage.unfinished()]}"
        )
        return False

    def _check_end(self) -> None:
        self._check_deadlines()
        for record in self.storage.jobs.values():
            assert record.reason, f"{record.plan.name} does not say why it is {record.state}"
            if record.state is JobState.CANCELLED:
                assert record.plan.cancelled_at is not None
            elif record.state is JobState.FAILED:
                self._check_failure(record)
            else:
                assert record.result, f"{record.plan.name} has no model"

    def _check_deadlines(self) -> None:
        """Where no task takes long, one that is overdue was lost: its worker has not got it."""
        late = [
            entry
            for entry in self.log
            if isinstance(entry, c.AnnounceRetry) and entry.reason is RetryReason.DEADLINE
        ]
        may_be = self.plan.trouble.stuck or self.plan.trouble.heavy_tail
        assert may_be or not late, f"{late[0]}: nothing took so long"

    def _check_failure(self, record: JobRecord) -> None:
        limits = self.plan.limits
        assert limits.max_attempts < 1000, f"{record.plan.name} failed: {record.reason}"
        told = f"failed {limits.max_attempts} times" in record.reason or "quarantined" in record.reason
        assert told, f"{record.plan.name} failed: {record.reason}"

    def _leave_nothing(self) -> None:
        """When jobs are forgotten and workers are gone, the scheduler holds nothing of them."""
        self._over = True
        self._calm_down()
        if self.coordinator is None:
            self.start_coordinator()
        assert self.coordinator is not None
        for name in list(self.coordinator.scheduler.state.jobs):
            self.coordinator.dispatch(e.JobForgotten(name))
        for worker in self.workers.values():
            worker.die("the world ends", 0.01)
        # the last may notice a cut after 6 s only, and is waited for
        end = self.clock.now + self.plan.limits.resume_grace_s + self.plan.limits.lost_after_s + 7.0
        while self.clock.now < end and self.coordinator.scheduler.state.workers:
            self.step()
        self.coordinator.properties.check_empty()
        assert not self.coordinator.links, f"sessions are kept: {list(self.coordinator.links)}"

    # ---- people

    def submit(self, job: JobPlan) -> None:
        """It is durable before it is acknowledged; whoever finds nobody there tries again."""
        record = self.storage.jobs.setdefault(job.name, JobRecord(job))
        if self.coordinator is not None and job.name not in self.coordinator.scheduler.state.jobs:
            self.coordinator.submit(record)

    def cancel(self, name: str) -> None:
        """Until it is acknowledged."""
        record = self.storage.jobs.get(name)
        if record is not None and record.state.final:
            return
        if record is not None and self.coordinator is not None:
            self.coordinator.dispatch(e.CancelRequested(name, "not needed any more"))
        else:
            self.clock.after(0.5, lambda: self.cancel(name))

    def pause(self, name: str, reason: str) -> None:
        """Have a job stand still; an empty reason has it go on."""
        record = self.storage.jobs.get(name)
        if record is None or record.state.final:
            return
        record.pause_because = reason
        if self.coordinator is not None:
            resumed = e.ResumeRequested(name, "resumed by request")
            self.coordinator.dispatch(e.PauseRequested(name, reason) if reason else resumed)

    # ---- what processes find around them

    def connect(self, worker: str) -> Stream | None:
        """A new stream to the coordinator that is there now."""
        coordinator = self.coordinator
        if coordinator is None:
            return None
        stream = Stream(self.network, worker)
        stream.listeners[End.COORDINATOR] = lambda message: coordinator.hear(stream, message)
        self._streams = [other for other in self._streams if other.whole and len(other.listeners) == 2]
        self._streams.append(stream)
        return stream

    def rows(self, task: Task) -> int:
        return sum(self.storage.jobs[task.job].plan.shard_rows[slice(*task.range)])

    def is_deadly(self, task: Task) -> bool:
        return not self.storage.jobs[task.job].plan.deadly_shards.isdisjoint(range(*task.range))

    def is_big(self, job: str) -> bool:
        return self.storage.jobs[job].plan.big

    def exited(self, worker: SimWorker) -> None:
        """Whoever starts workers starts it again."""
        self._start_later(worker, self.rng.choice((0.05, 0.5, 3.0, 20.0)))

    def _start_later(self, worker: SimWorker, after_s: float) -> None:
        self.clock.after(after_s, lambda: None if worker.alive or self._over else worker.boot())

    # ---- the coordinator's lives

    def start_coordinator(self) -> None:
        if self.coordinator is not None:
            return
        self.coordinator = SimCoordinator(
            self.clock,
            self.rng,
            self.transcript,
            self.storage,
            self.plan.limits,
            self.plan.checkpoint_every,
            self.log,
            lambda command: self.die_before(command),
        )
        self._protected(self.coordinator.start)

    def _protected(self, happen: Happening) -> None:
        try:
            happen()
        except CoordinatorDied:
            self.kill_coordinator()

    def kill_coordinator(self) -> None:
        """kill -9, at whatever it was; it comes back."""
        if self.coordinator is None:
            return
        self.coordinator.die()
        self.coordinator = None
        if self.rng.random() < 0.8:  # else it is killed once more as soon as it is back
            self.die_before = lambda _: False
        self.deaths_of_coordinator += 1
        self._tear_checkpoints()
        for stream in self._streams:
            notice_s = self.rng.choice((0.001, 0.1, self.rng.uniform(1.0, 6.0)))
            stream.cut({End.WORKER: notice_s, End.COORDINATOR: None}, "the coordinator is gone")
        self._streams = []
        self.clock.after(self.rng.uniform(0.05, 3.0), self.start_coordinator)

    def _tear_checkpoints(self) -> None:
        for record in self.storage.jobs.values():
            while record.checkpoints and self.rng.random() < self.trouble.torn_checkpoint:
                record.checkpoints.pop()

    # ---- trouble

    def _have_trouble(self) -> None:
        self.network.lost_heartbeats = self.trouble.lost_heartbeats
        for worker in self.workers.values():
            self._now_and_then(self.trouble.cuts, partial(self.cut, worker))
            self._now_and_then(self.trouble.partitions, partial(self.partition, worker))
            self._now_and_then(self.trouble.stalls, partial(self._stop, worker))
            self._now_and_then(self.trouble.crashes, partial(self.crash, worker))
            self._now_and_then(self.trouble.drains, worker.terminate)
            self._now_and_then(self.trouble.operator_drains, partial(self.drain, worker))
            self._now_and_then(self.trouble.exclusions, partial(self._exclude_for_a_while, worker.plan.name))
        self._now_and_then(self.trouble.coordinator_crashes, self._doom_coordinator)
        for job in self.plan.jobs:
            self._now_and_then(self.trouble.pauses, partial(self._pause_for_a_while, job.name))
            self._now_and_then(self.trouble.changes, partial(self._change, job.name))
        self._now_and_then(self.trouble.standstills, self._stand_still)

    def _now_and_then(self, rate: float, happen: Happening) -> None:
        if rate <= 0.0:
            return
        wait_s = self.rng.expovariate(rate)

        def again() -> None:
            if not self._calm:
                happen()
                self._now_and_then(rate, happen)

        self.clock.after(wait_s, again)

    def cut(self, worker: SimWorker) -> None:
        """Its stream breaks; one of both may not notice."""
        if worker.stream is not None:
            soon, late = self.rng.random() * 0.01, self.rng.uniform(1.0, 6.0)
            notices = self.rng.choice(((soon, soon), (soon, late), (late, soon), (soon, None)))
            ends = dict(zip((End.WORKER, End.COORDINATOR), notices, strict=True))
            worker.stream.cut(ends, "connection reset")

    def partition(self, worker: SimWorker) -> None:
        until = self.clock.now + self.rng.expovariate(0.4)
        self.transcript.add(worker.plan.name, f"is partitioned until {until:.3f}")
        self.network.partitioned_until[worker.plan.name] = until
        if self.rng.random() < 0.5 and worker.stream is not None:
            worker.stream.cut({End.WORKER: 5.0, End.COORDINATOR: None}, "no answer to keepalive")

    def _stop(self, worker: SimWorker) -> None:
        worker.stall(self.rng.expovariate(0.3))

    def crash(self, worker: SimWorker) -> None:
        worker.die("killed", self.rng.choice((0.001, 0.5, None)))

    def drain(self, worker: SimWorker) -> None:
        """An operator asks it to leave."""
        if self.coordinator is not None:
            self.coordinator.dispatch(e.DrainRequested(worker.name, "maintenance"))

    def exclude(self, name: str, excluded: bool) -> None:
        """A person shuts a worker out, or lets it in; kept across lives of the coordinator."""
        (self.storage.excluded.add if excluded else self.storage.excluded.discard)(name)
        if self.coordinator is not None:
            event = (
                e.ExcludeRequested(name, "by a person")
                if excluded
                else e.ReadmitRequested(name, "by a person")
            )
            self.coordinator.dispatch(event)

    def _exclude_for_a_while(self, name: str) -> None:
        self.clock.after(self.rng.uniform(0.1, 5.0), lambda: self.exclude(name, False))
        self.exclude(name, True)  # at last: the coordinator may die of it

    def _change(self, name: str) -> None:
        """Only what changes no bit of the result."""
        if self.coordinator is None or name not in self.coordinator.scheduler.state.jobs:
            return
        rng = self.rng
        self.coordinator.dispatch(
            e.JobChanged(
                name,
                placement=rng.choice((None, *sorted(POLICIES))),
                speculation=rng.choice((None, True, False)),
                share_weight=rng.choice((None, 0.5, 4.0)),
            )
        )

    def _stand_still(self) -> None:
        if self.coordinator is not None:
            self.coordinator.dispatch(e.Stalled(self.rng.uniform(1.0, 4.0)))

    def _doom_coordinator(self) -> None:
        left = self.rng.randint(0, 30)

        def now(_: c.Command) -> bool:
            nonlocal left
            left -= 1
            return left < 0

        self.die_before = now

    def _pause_for_a_while(self, name: str) -> None:
        self.pause(name, "paused by request")
        self.clock.after(self.rng.uniform(0.1, 3.0), lambda: self.pause(name, ""))

    def _calm_down(self) -> None:
        self.transcript.add("world", "calms down")
        self._calm = True
        self.trouble = Trouble()
        self.network.spike = self.network.lost_heartbeats = 0.0
        self.die_before = lambda _: False


def run_seed(seed: int, transcript_lines: int | None = 200) -> World:
    """The world that a seed draws, after its end."""
    world = World(seed, drawn(seed), transcript_lines)
    world.run()
    return world
