"""A cluster in virtual time: the real scheduler, machines that follow a trace, messages that take their time.

One job of many rounds. Whatever the scheduler commands is carried out as the runtime and the workers would do it; an
answer costs the coordinator some of its one thread. A run takes as long as its events, whatever the clock says.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gradloom.errors import InvalidInput
from gradloom.jobs import JobState
from gradloom.steps import Step
from gradloom_coordinator.laboratory.contestants import Contestant
from gradloom_coordinator.laboratory.machines import Machine, Task
from gradloom_coordinator.laboratory.outcomes import Outcome, RoundSeen
from gradloom_coordinator.laboratory.traces import Outage, Trace
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.events import TaskRef, WorkerId
from gradloom_coordinator.scheduling.scheduler import Scheduler

JOB = "job"
PASS_SHARE = 0.75
"""Rounds that count less are seen together with the next ones."""
TICK_S = 0.25
HEARTBEAT_S = 1.0
ROWS_PER_SHARD = 1000
ANSWER_CPU_S = 0.00015
"""Of the coordinator's one thread, as benchmarks/round_trip.py measures it."""
ANSWER_BYTES_PER_S = 1e9
BOUNDS: Mapping[str, tuple[float, float]] = {
    "workers": (1, 10_000),
    "shards": (1, 1_000_000),
    "rounds": (1, 10_000),
    "warmup": (0, 10_000),
    "round_s": (0.001, 3600),
    "latency_ms": (0, 60_000),
    "load_s_per_shard": (0, 3600),
    "partial_bytes": (0, 2**40),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What is alike for all policies. Raises InvalidInput for a number that is out of bounds."""

    workers: int = 16
    shards: int = 256
    rounds: int = 50
    """That are measured."""
    warmup: int = 5
    """Rounds before: speeds are unknown then, and shards are loaded."""
    round_s: float = 1.0
    """What a worker at its usual speed needs for its share of a round."""
    latency_ms: float = 0.5
    """One way."""
    load_s_per_shard: float = 0.2
    partial_bytes: int = 8192

    def __post_init__(self) -> None:
        for field_, (least, most) in BOUNDS.items():
            value: float = getattr(self, field_)
            if not least <= value <= most:
                raise InvalidInput(field_, f"{value:g} is not allowed; it must lie in [{least:g}, {most:g}]")

    @property
    def answer_s(self) -> float:
        """What an answer costs the coordinator."""
        return ANSWER_CPU_S + self.partial_bytes / ANSWER_BYTES_PER_S

    @property
    def shards_of_one(self) -> int:
        """Shards of one worker's equal share."""
        return max(1, self.shards // self.workers)


@dataclass(slots=True)
class Cluster:
    """One run of one policy."""

    setting: Setting
    trace: Trace
    contestant: Contestant
    now: float = 0.0
    rounds: list[RoundSeen] = field(default_factory=list)
    ended_because: str = ""
    """Why it ended before its last round; empty = it did not."""
    scheduler: Scheduler = field(init=False)
    _machines: dict[WorkerId, Machine] = field(default_factory=dict)
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _entered: int = 0
    _free_at: float = 0.0
    """When the coordinator is through with the answers that it has."""
    _computed: dict[tuple[WorkerId, TaskRef], float] = field(default_factory=dict)
    """Seconds of answers on their way."""
    _alarms: set[float] = field(default_factory=set)
    _seen: RoundSeen = field(default_factory=RoundSeen)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.contestant.limits)

    def run(self) -> Outcome:
        """Run the job to its last round."""
        for index in range(self.setting.workers):
            self._join(index, 1)
        synchrony = self.contestant.synchrony_for(self.setting.shards_of_one)
        self._tell(e.JobSubmitted(JOB, self.contestant.placement, synchrony=synchrony))
        self._tick()
        self._beat()
        n_rounds = self.setting.warmup + self.setting.rounds
        while self._agenda and len(self.rounds) < n_rounds and not self.ended_because:
            self.now, _, happen = heapq.heappop(self._agenda)
            happen()
        job = self.scheduler.state.jobs[JOB]
        return Outcome(tuple(self.rounds[self.setting.warmup :]), job.copies, job.counts, self.ended_because)

    # ---- time

    def _at(self, at: float, happen: Callable[[], None]) -> None:
        self._entered += 1
        heapq.heappush(self._agenda, (max(at, self.now), self._entered, happen))

    def _send(self, happen: Callable[[], None]) -> None:
        self._at(self.now + self.setting.latency_ms / 1e3, happen)

    def _tick(self) -> None:
        self._tell(e.Tick())
        self._at(self.now + TICK_S, self._tick)

    def _beat(self) -> None:
        for machine in list(self._machines.values()):
            self._tell(e.HeartbeatReceived(machine.worker))
        self._at(self.now + HEARTBEAT_S, self._beat)

    # ---- the coordinator

    def _tell(self, event: e.Event) -> None:
        for command in self.scheduler.handle(event, self.now):
            self._obey(command)

    def _obey(self, command: c.Command) -> None:
        match command:
            case c.SendTasks():
                refs = tuple(TaskRef(JOB, command.round, o.range, o.attempt) for o in command.tasks)
                self._to(command.worker, lambda machine: self._take(machine, refs))
            case c.TakeBack():
                self._to(command.worker, lambda machine: self._give_up(machine, command.tasks))
            case c.CancelTasks():
                self._to(command.worker, lambda machine: machine.cancel(command.tasks))
            case c.MergePartial():
                self._seen.useful_s += self._computed.pop((command.worker, command.task), 0.0)
                self._seen.partials += 1
            case c.DropPartial():
                self._seen.wasted_s += self._computed.pop((command.worker, command.task), 0.0)
            case c.WakeAt():
                self._set_alarm(command.at)
            case c.StartPlanning():
                self._tell(e.JobPlanned(JOB, (ROWS_PER_SHARD,) * self.setting.shards))
            case c.StartRounds():
                self._open(1)
            case c.CloseRound():
                self._close(command)
            case c.AnnounceState(state=JobState.FAILED):
                self.ended_because = command.reason

    def _set_alarm(self, at: float) -> None:
        if at in self._alarms:
            return
        self._alarms.add(at)

        def ring() -> None:
            self._alarms.remove(at)
            self._tell(e.Tick())

        self._at(at, ring)

    def _open(self, number: int) -> None:
        self._at(self.now, lambda: self._tell(e.RoundReady(JOB, number, Step.TRAIN)))

    def _close(self, command: c.CloseRound) -> None:
        self._seen.counted += 1 - command.missing_shards / self.setting.shards
        if self._seen.counted >= PASS_SHARE:
            self._seen.closed_at = self.now
            self.rounds.append(self._seen)
            self._seen = RoundSeen(self.now)
        self._open(command.round + 1)

    def _answered(self, event: e.PartialArrived) -> None:
        self._free_at = max(self.now, self._free_at) + self.setting.answer_s
        self._at(self._free_at, lambda: self._tell(event))

    # ---- the machines

    def _to(self, worker: WorkerId, do: Callable[[Machine], None]) -> None:
        """Have a message do something to a machine, if it is still there when it comes."""

        def arrive() -> None:
            if worker in self._machines:
                do(self._machines[worker])

        self._send(arrive)

    def _join(self, index: int, life: int) -> None:
        machine = Machine(index, f"m{index:04}" if life == 1 else f"m{index:04}-{life}")
        self._machines[machine.worker] = machine
        outage = next((o for o in self.trace.outages(index) if o.at * self.setting.round_s > self.now), None)
        if outage is not None:
            self._at(outage.at * self.setting.round_s, lambda: self._kill(machine, outage, life))
        self._tell(e.WorkerJoined(machine.worker))

    def _kill(self, machine: Machine, outage: Outage, life: int) -> None:
        del self._machines[machine.worker]
        machine.alive = False
        if machine.running is not None:
            self._seen.wasted_s += machine.running.compute_s(self.now)
        self._send(lambda: self._tell(e.StreamBroken(machine.worker, "the machine was taken away")))
        self._at(outage.back_at * self.setting.round_s, lambda: self._join(machine.index, life + 1))

    def _take(self, machine: Machine, refs: tuple[TaskRef, ...]) -> None:
        machine.take(refs, self.now)
        self._start(machine)

    def _give_up(self, machine: Machine, refs: tuple[TaskRef, ...]) -> None:
        given_up = e.TasksGivenUp(machine.worker, machine.give_up(refs))
        self._send(lambda: self._tell(given_up))

    def _start(self, machine: Machine) -> None:
        task = machine.begin(self.now, self.setting.load_s_per_shard)
        if task is None:
            return
        shares = task.ref.range.size * self.setting.workers / self.setting.shards
        unit = self.setting.round_s
        stretch = self.trace.task_stretch(f"{machine.index}/{task.ref}")
        loaded_at = (self.now + task.load_s) / unit
        end = self.trace.end(machine.index, loaded_at, shares * stretch) * unit
        self._at(end, lambda: self._ended(machine, task))

    def _ended(self, machine: Machine, task: Task) -> None:
        if not machine.alive:
            return
        machine.running = None
        compute_s = task.compute_s(self.now)
        if task.wanted:
            times = e.TaskTimes(task.started_at - task.came_at, task.load_s, compute_s)
            rows = task.ref.range.size * ROWS_PER_SHARD
            answer = e.PartialArrived(machine.worker, task.ref, rows, times)
            self._computed[machine.worker, task.ref] = compute_s
            self._send(lambda: self._answered(answer))
        else:
            self._seen.wasted_s += compute_s
        self._start(machine)
