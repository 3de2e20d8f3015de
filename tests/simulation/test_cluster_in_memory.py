"""A whole cluster in memory: virtual clock, seeded delays, deaths, lost heartbeats, duplicates and failures.

The workers really add float32 vectors. Whatever goes wrong, the trained vector has the bits of a run in which one
worker did everything and nothing went wrong.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from operator import add

import numpy as np
import pytest
from numpy.typing import NDArray

from gradloom.canonical import CanonicalSum, Range, fold
from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator import commands as c
from gradloom_coordinator import events as e
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.scheduler import Scheduler

Vector = NDArray[np.float32]
ROUNDS = 4
N_SHARDS = 13
TICK_S = 0.25
PATIENT = Limits(max_attempts=1000, max_deaths=1000, task_timeout_s=20.0)
SHARDS = np.random.default_rng(7).normal(size=(N_SHARDS, 8)).astype(np.float32)
ROWS = tuple(range(50, 50 + N_SHARDS))
SEEDS_A_TEST = 100


def gradient(shard: int, parameters: Vector) -> Vector:
    """Any function whose sums round differently in any other order."""
    return np.asarray(np.sin(SHARDS[shard] * np.float32(1e3) + parameters), np.float32)


def update(parameters: Vector, total: Vector) -> Vector:
    return parameters - np.float32(0.1) * total


@cache
def undisturbed() -> bytes:
    """The bits of one worker that does everything by itself."""
    parameters = np.zeros(8, np.float32)
    for _ in range(ROUNDS):
        tree: CanonicalSum[Vector] = CanonicalSum(N_SHARDS, add)
        for i in range(N_SHARDS):
            tree.add(Range(i, i + 1), gradient(i, parameters))
        parameters = update(parameters, tree.total())
    return parameters.tobytes()


@dataclass(frozen=True)
class Trouble:
    """How often things go wrong, as probabilities."""

    death: float = 0.0
    """A worker dies while it computes."""
    silence: float = 0.0
    """Of those deaths, how many leave the stream open: only the missing heartbeats tell."""
    lost_heartbeat: float = 0.0
    duplicate: float = 0.0
    failure: float = 0.0
    stuck: float = 0.0
    """A computation never ends."""


@dataclass
class World:
    """Network, workers, runtime and clock around one scheduler."""

    seed: int
    trouble: Trouble
    n_workers: int
    rng: random.Random = field(init=False)
    scheduler: Scheduler = field(default_factory=lambda: Scheduler(PATIENT))
    now: float = 0.0
    parameters: Vector = field(default_factory=lambda: np.zeros(8, np.float32))
    state: JobState = JobState.QUEUED
    alive: set[str] = field(default_factory=set)
    born: int = 0
    told: int = 0
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _free_at: dict[str, float] = field(default_factory=dict)
    _arriving: dict[tuple[str, e.TaskRef], Vector] = field(default_factory=dict)
    _tree: CanonicalSum[Vector] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def run(self) -> bytes:
        """Train one job to its end; the bits of its parameters."""
        for _ in range(self.n_workers):
            self._at(self.rng.random(), self._birth)
        self._at(0.5, lambda: self._tell(e.JobSubmitted("job", self.rng.choice(["balanced", "round_robin"]))))
        self._at(TICK_S, self._tick)
        while not self.state.final:
            self.now, _, happen = heapq.heappop(self._agenda)
            assert self.now < 3600.0, "an hour has passed"
            happen()
        assert self.state is JobState.COMPLETED
        return self.parameters.tobytes()

    def _at(self, delay_s: float, happen: Callable[[], None]) -> None:
        self.told += 1
        heapq.heappush(self._agenda, (self.now + delay_s, self.told, happen))

    def _soon(self, happen: Callable[[], None]) -> None:
        """Over the network."""
        self._at(self.rng.expovariate(50.0), happen)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _tell(self, event: e.Event) -> None:
        commands = self.scheduler.handle(event, self.now)
        self.scheduler.state.check()
        for command in commands:
            self._obey(command)

    # ---- the runtime

    def _tick(self) -> None:
        self._tell(e.Tick())
        self._at(TICK_S, self._tick)

    def _obey(self, command: c.Command) -> None:
        match command:
            case c.StartPlanning():
                self._at(0.1, lambda: self._tell(e.JobPlanned("job", ROWS)))
            case c.StartRounds():
                self._open(1)
            case c.SendTasks():
                tasks = [e.TaskRef("job", command.round, o.range, o.attempt) for o in command.tasks]
                parameters = self.parameters
                self._soon(lambda: self._receive(command.worker, tasks, parameters))
            case c.MergePartial():
                assert self._tree.add(command.task.range, self._arriving[command.worker, command.task])
            case c.CloseRound():
                self.parameters = update(self.parameters, self._tree.total())
                number = command.round + 1
                done = e.JobFinished("job", "done")
                self._at(0.0, lambda: self._open(number) if number <= ROUNDS else self._tell(done))
            case c.EndSession():
                self._soon(lambda: self._die(command.worker))
            case c.AnnounceState():
                self.state = command.state
            case _:
                pass

    def _open(self, number: int) -> None:
        self._tree = CanonicalSum(N_SHARDS, add)
        self._tell(e.RoundReady("job", number))

    # ---- the workers

    def _birth(self) -> None:
        self.born += 1
        name = f"w{self.born}"
        self.alive.add(name)
        self._free_at[name] = self.now
        self._tell(e.WorkerJoined(name))
        self._at(self.rng.random(), lambda: self._beat(name))

    def _beat(self, name: str) -> None:
        if name in self.alive:
            if not self._chance(self.trouble.lost_heartbeat):
                self._soon(lambda: self._tell(e.HeartbeatReceived(name)))
            self._at(1.0, lambda: self._beat(name))

    def _receive(self, name: str, tasks: list[e.TaskRef], parameters: Vector) -> None:
        for task in tasks if name in self.alive else ():
            seconds = task.range.size * self.rng.lognormvariate(-2.0, 1.0)
            seconds += 1e6 if self._chance(self.trouble.stuck) else 0.0
            self._free_at[name] = max(self._free_at[name], self.now) + seconds
            self._at(self._free_at[name] - self.now, lambda task=task: self._computed(name, task, parameters))  # type: ignore[misc]

    def _computed(self, name: str, task: e.TaskRef, parameters: Vector) -> None:
        if name not in self.alive:
            return
        if self._chance(self.trouble.death):
            self._die(name)
        elif self._chance(self.trouble.failure):
            failed = e.TaskFailed(name, task, RetryReason.EXCEPTION, "ValueError: bad luck")
            self._soon(lambda: self._tell(failed))
        else:
            partial = fold(task.range, lambda shard: gradient(shard, parameters), add)
            for _ in range(2 if self._chance(self.trouble.duplicate) else 1):
                self._soon(lambda: self._arrive(name, task, partial))

    def _arrive(self, name: str, task: e.TaskRef, partial: Vector) -> None:
        self._arriving[name, task] = partial
        self._tell(e.PartialArrived(name, task, sum(ROWS[slice(*task.range)]), 0.1, 0.1))

    def _die(self, name: str) -> None:
        if name in self.alive:
            self.alive.remove(name)
            if not self._chance(self.trouble.silence):
                self._soon(lambda: self._tell(e.StreamBroken(name, "connection reset")))
            self._at(self.rng.random() * 2.0, self._birth)


@pytest.mark.parametrize("n_workers", [1, 2, 3, 8, 16, 40])
def test_any_number_of_workers_gives_the_same_bits(n_workers: int) -> None:
    assert World(0, Trouble(), n_workers).run() == undisturbed()


@pytest.mark.parametrize("start", range(0, 6 * SEEDS_A_TEST, SEEDS_A_TEST))
def test_no_trouble_changes_a_bit(start: int) -> None:
    for seed in range(start, start + SEEDS_A_TEST):
        rng = random.Random(seed)
        trouble = Trouble(*(rng.random() * worst for worst in (0.25, 1.0, 0.6, 0.5, 0.25, 0.02)))
        world = World(seed, trouble, rng.randint(1, 8))
        try:
            bits = world.run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {trouble}, {world.n_workers} workers: {error}") from error
        assert bits == undisturbed(), f"seed {seed}, {trouble}, {world.n_workers} workers: other bits"


def test_the_trouble_is_real() -> None:
    world = World(1, Trouble(death=0.2, silence=0.5, lost_heartbeat=0.5, duplicate=0.5, failure=0.2), 4)
    assert world.run() == undisturbed()
    assert world.born > 4
    assert world.scheduler.state.jobs["job"].retries > 10


def test_another_order_of_additions_would_give_other_bits() -> None:
    """So that the sameness above proves something."""
    parameters = np.zeros(8, np.float32)
    for _ in range(ROUNDS):
        parameters = update(parameters, np.sum([gradient(i, parameters) for i in range(N_SHARDS)], axis=0))
    np.testing.assert_allclose(parameters, np.frombuffer(undisturbed(), np.float32), atol=1e-3)
    assert parameters.tobytes() != undisturbed()
