"""When rounds end that need not have every shard, and how late an answer may be: many seeds of a small cluster."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest

from gradloom.jobs import JobState, RetryReason
from gradloom.steps import Step
from gradloom.synchrony import Synchrony, parse_synchrony
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.scheduler import Scheduler

N_SHARDS = 12
ROUNDS = 40
SEEDS = range(12)


@dataclass
class Cluster:
    """Workers that take their time, one of them a hundred times as much as the others."""

    synchrony: Synchrony
    seed: int
    n_workers: int = 4
    slowest: float = 100.0
    now: float = 0.0
    scheduler: Scheduler = field(default_factory=Scheduler)
    staleness: list[int] = field(default_factory=list)
    closed: list[c.CloseRound] = field(default_factory=list)
    counted: list[set[int]] = field(default_factory=lambda: [set()])
    """Of each round: its shards that were counted."""
    closed_at: list[float] = field(default_factory=list)
    dropped: int = 0
    bad_shard: int = -1
    """Computing it fails, always and everywhere."""
    failed_because: str = ""

    def run(self) -> "Cluster":
        self._rng = random.Random(self.seed)
        self._order: Iterator[int] = count()
        self._queue: list[tuple[float, int, e.Event]] = []
        self._free_at: dict[str, float] = {}
        self._cancelled: set[tuple[str, e.TaskRef]] = set()
        for i in range(self.n_workers):
            self._free_at[f"w{i}"] = 0.0
            self._tell(e.WorkerJoined(f"w{i}", host=f"host-{i}"))
        self._tell(e.JobSubmitted("job", "balanced", synchrony=self.synchrony, speculation=False))
        self._tell(e.JobPlanned("job", (100,) * N_SHARDS))
        self._tell(e.RoundReady("job", 1, Step.TRAIN))
        while self._queue and len(self.closed) < ROUNDS and not self.failed_because:
            self.now, _, event = heapq.heappop(self._queue)
            if isinstance(event, e.PartialArrived) and (event.worker, event.task) in self._cancelled:
                continue
            self._tell(event)
        assert len(self.closed) == ROUNDS or self.failed_because, (
            f"seed {self.seed}: it stands still after {len(self.closed)} rounds"
        )
        return self

    def _tell(self, event: e.Event) -> None:
        for worker in self.scheduler.state.workers.values():
            worker.heard_at = self.now  # nobody is ever silent here
        commands = self.scheduler.handle(event, self.now)
        self.scheduler.state.check()
        for command in commands:
            self._execute(command)

    def _execute(self, command: c.Command) -> None:
        match command:
            case c.SendTasks():
                for order in command.tasks:
                    ref = e.TaskRef(command.job, command.round, order.range, order.attempt)
                    self._compute(command.worker, ref)
            case c.TakeBack():
                self._push(self.now + 0.001, e.TasksGivenUp(command.worker, ()))
            case c.CancelTasks():
                self._cancelled |= {(command.worker, task) for task in command.tasks}
            case c.MergePartial():
                self.staleness.append(command.staleness)
                self.counted[-1] |= set(range(*command.task.range))
            case c.DropPartial():
                self.dropped += 1
            case c.CloseRound():
                self.closed.append(command)
                self.closed_at.append(self.now)
                self.counted.append(set())
                self._push(self.now, e.RoundReady("job", command.round + 1, Step.TRAIN))
            case c.AnnounceState(state=JobState.FAILED):
                self.failed_because = command.reason
            case c.WakeAt():
                self._push(command.at, e.Tick())

    def _compute(self, worker: str, ref: e.TaskRef) -> None:
        seconds = (
            ref.range.size * 0.1 * self._rng.uniform(0.8, 1.2) * (self.slowest if worker == "w0" else 1.0)
        )
        self._free_at[worker] = max(self._free_at[worker], self.now) + seconds
        if self.bad_shard in range(*ref.range):
            failed = e.TaskFailed(worker, ref, RetryReason.NONFINITE, "NaN in 'gradient'")
            self._push(self._free_at[worker], failed)
            return
        times = e.TaskTimes(compute_s=seconds)
        self._push(self._free_at[worker], e.PartialArrived(worker, ref, 100 * ref.range.size, times))

    def _push(self, at: float, event: e.Event) -> None:
        heapq.heappush(self._queue, (at, next(self._order), event))

    def missing(self) -> list[set[int]]:
        """Of each round: the shards that it was closed without."""
        return [set(range(N_SHARDS)) - counted for counted in self.counted[:-1]]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_synchronous_round_has_every_shard_and_nothing_stale(seed: int) -> None:
    cluster = Cluster(parse_synchrony("synchronous"), seed).run()
    assert cluster.missing() == [set()] * ROUNDS
    assert set(cluster.staleness) == {0}
    assert all(command.missing_shards == 0 for command in cluster.closed)


@pytest.mark.parametrize("seed", SEEDS)
def test_with_backup_few_shards_miss_and_none_twice_in_a_row(seed: int) -> None:
    cluster = Cluster(parse_synchrony("backup:3"), seed).run()
    missing = cluster.missing()
    assert all(len(shards) <= 3 for shards in missing)
    assert any(missing), "no round ended early"
    assert not any(now & before for before, now in pairwise(missing))
    assert set(cluster.staleness) == {0}
    assert [command.missing_shards for command in cluster.closed] == [len(shards) for shards in missing]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bound", [1, 3])
def test_no_shard_is_further_behind_than_its_bound(seed: int, bound: int) -> None:
    cluster = Cluster(parse_synchrony(f"bounded:{bound}"), seed).run()
    assert max(cluster.staleness) <= bound
    assert max(cluster.staleness) > 0, "nothing was ever late"
    behind = dict.fromkeys(range(N_SHARDS), 0)
    for missing in cluster.missing():
        behind = {i: behind[i] + 1 if i in missing else 0 for i in behind}
        assert max(behind.values()) <= bound


@pytest.mark.parametrize("seed", SEEDS)
def test_asynchronous_rounds_wait_for_nobody(seed: int) -> None:
    cluster = Cluster(parse_synchrony("asynchronous"), seed).run()
    slowest_task_s = 0.1 * cluster.slowest
    assert max(after - before for before, after in pairwise(cluster.closed_at)) < 0.2 * slowest_task_s
    assert max(cluster.staleness) <= 2 * cluster.n_workers
    assert all(counted for counted in cluster.counted[:-1]), "a round was closed with nothing in it"


def test_with_workers_alike_everybody_counts_as_often() -> None:
    cluster = Cluster(parse_synchrony("asynchronous"), seed=1, slowest=1.0).run()
    times = [sum(i in counted for counted in cluster.counted) for i in range(N_SHARDS)]
    assert max(times) <= 2 * min(times)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_worker_with_more_than_it_can_do_comes_to_all_of_it_in_turn(seed: int) -> None:
    cluster = Cluster(parse_synchrony("asynchronous"), seed, n_workers=3, slowest=4.0).run()
    times = [sum(i in counted for counted in cluster.counted) for i in range(N_SHARDS)]
    assert min(times) > 0, f"a shard was never counted: {times}"


@pytest.mark.parametrize("synchrony", ["asynchronous", "bounded:3", "backup:3"])
def test_a_shard_that_always_fails_ends_the_job_however_rounds_end(synchrony: str) -> None:
    cluster = Cluster(parse_synchrony(synchrony), seed=1, slowest=1.0, bad_shard=5).run()
    assert "failed 4 times" in cluster.failed_because
    assert "NaN in 'gradient'" in cluster.failed_because


def test_the_synchrony_of_a_live_job_can_be_changed() -> None:
    cluster = Cluster(parse_synchrony("asynchronous"), seed=2).run()
    cluster._tell(e.JobChanged("job", synchrony=parse_synchrony("synchronous")))
    first = len(cluster.closed)
    while len(cluster.closed) < first + 5:
        cluster.now, _, event = heapq.heappop(cluster._queue)
        if not (isinstance(event, e.PartialArrived) and (event.worker, event.task) in cluster._cancelled):
            cluster._tell(event)
    assert cluster.missing()[first + 1 :] == [set()] * 4
