"""What a decision costs the coordinator with up to 10,000 workers and 100,000 shards: the real scheduler, no data.

Workers whose speeds differ (log-normal) answer in virtual time; only the CPU of ``Scheduler.handle`` is measured.

    python benchmarks/scale.py [--workers 100,1000,10000] [--shards-per-worker 10] [--rounds 4] [--json]
"""

import argparse
import gc
import heapq
import json
import random
import time
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

from noop import in_process

from gradloom.memory import tune_collector
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.scheduler import Scheduler

ROWS = 100
JOB = "job"
ON_THE_WAY_S = 0.001


@dataclass(slots=True)
class Cluster:
    """A scheduler, workers that answer in virtual time, and a clock for the CPU that the scheduler takes."""

    n_workers: int
    n_shards: int
    scheduler: Scheduler = field(default_factory=Scheduler)
    now: float = 0.0
    cpu_s: float = 0.0
    n_tasks: int = 0
    heard_s: float = 0.0
    closed: bool = False
    _rng: random.Random = field(default_factory=lambda: random.Random(1))
    _speeds: dict[str, float] = field(default_factory=dict)
    _free_at: dict[str, float] = field(default_factory=dict)
    _answers: list[tuple[float, int, e.PartialArrived]] = field(default_factory=list)

    def start(self) -> None:
        for i in range(self.n_workers):
            self._speeds[f"w{i}"] = 1000.0 * self._rng.lognormvariate(0.0, 0.3)
            self.tell(e.WorkerJoined(f"w{i}", host=f"host-{i // 8}"))
        self.tell(e.JobSubmitted(JOB, "balanced"))
        self.tell(e.JobPlanned(JOB, (ROWS,) * self.n_shards))

    def tell(self, event: e.Event) -> float:
        """The CPU that one event took; what it led to is under way."""
        before = time.thread_time()
        commands = self.scheduler.handle(event, self.now)
        cpu_s = time.thread_time() - before
        self.cpu_s += cpu_s
        for command in commands:
            match command:
                case c.SendTasks():
                    self._compute(command)
                case c.TakeBack():
                    self.tell(e.TasksGivenUp(command.worker, ()))  # it has begun with them
                case c.CloseRound():
                    self.closed = True
        return cpu_s

    def _compute(self, command: c.SendTasks) -> None:
        worker = command.worker
        for order in command.tasks:
            compute_s = ROWS * order.range.size / self._speeds[worker]
            started = max(self._free_at.get(worker, 0.0), self.now + ON_THE_WAY_S)
            self._free_at[worker] = started + compute_s
            times = e.TaskTimes(queue_s=started - self.now - ON_THE_WAY_S, compute_s=compute_s)
            task = e.TaskRef(JOB, command.round, order.range, order.attempt)
            self.n_tasks += 1
            answer = e.PartialArrived(worker, task, ROWS * order.range.size, times, 4096)
            heapq.heappush(self._answers, (started + compute_s + ON_THE_WAY_S, self.n_tasks, answer))

    def open_round(self, number: int) -> float:
        """The CPU that placing the shards and handing out the first chunks took."""
        self.closed = False
        return self.tell(e.RoundReady(JOB, number))

    def answer(self, until_counted: float = 1.0) -> None:
        """Have the workers answer until a share of the round is counted."""
        job = self.scheduler.state.jobs[JOB]
        while not self.closed and self._answers:
            assert job.round is not None
            if job.round.shards_counted >= until_counted * self.n_shards:
                return
            self.now, _, answer = heapq.heappop(self._answers)
            if answer.worker in self.scheduler.state.workers:
                self.tell(answer)

    def beat(self, but: int = 0) -> float:
        """A heartbeat of each worker but the first few; the CPU of one."""
        beating = list(self.scheduler.state.workers)[but:]
        return sum(self.tell(e.HeartbeatReceived(worker)) for worker in beating) / max(1, len(beating))


def round_costs(n_workers: int, n_shards: int, rounds: int) -> dict[str, float]:
    """CPU a task over rounds in which speeds are known; of a tick, of a heartbeat."""
    cluster = Cluster(n_workers, n_shards)
    cluster.start()
    openings = []
    for number in range(1, rounds + 1):
        if number == 3:  # by then speeds are measured and chunks are cut for them
            cluster.cpu_s, cluster.n_tasks = 0.0, 0
        openings.append(cluster.open_round(number))
        cluster.answer()
        cluster.beat()
    return {
        "task_us": 1e6 * cluster.cpu_s / cluster.n_tasks,
        "opening_ms": 1e3 * max(openings[2:]),
        "heartbeat_us": 1e6 * cluster.beat(),
        "tick_ms": 1e3 * cluster.tell(e.Tick()),
    }


def loss_costs(n_workers: int, n_shards: int, n_lost: int) -> dict[str, float]:
    """CPU to give up a tenth of the workers in the middle of a round, and to place their shards for the next one."""
    cluster = Cluster(n_workers, n_shards)
    cluster.start()
    for number in (1, 2):
        cluster.open_round(number)
        cluster.answer()
    cluster.open_round(3)
    cluster.answer(until_counted=0.5)
    cluster.now += 4.0
    cluster.beat(but=n_lost)
    cluster.now += 2.0
    lost = cluster.tell(e.Tick())
    assert len(cluster.scheduler.state.workers) == n_workers - n_lost
    cluster.answer()
    cluster.beat()
    return {"lose_ms": 1e3 * lost, "replan_ms": 1e3 * cluster.open_round(4)}


def memory(n_workers: int, n_shards: int) -> float:
    """MB that the scheduler holds in the middle of a round."""
    tracemalloc.start()
    cluster = Cluster(n_workers, n_shards)
    cluster.start()
    cluster.open_round(1)
    cluster.answer(until_counted=0.5)
    cluster._answers.clear()  # noqa: SLF001 - the workers' part is not the scheduler's
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 1e6


def measure(n_workers: int, shards_per_worker: int, rounds: int) -> dict[str, Any]:
    n_shards = n_workers * shards_per_worker
    return {
        "workers": n_workers,
        "shards": n_shards,
        "lost": n_workers // 10,
        **in_process(round_costs, n_workers, n_shards, rounds),
        **in_process(loss_costs, n_workers, n_shards, n_workers // 10),
        "memory_mb": in_process(memory, n_workers, n_shards),
    }


COLUMNS = ("task_us", "opening_ms", "heartbeat_us", "tick_ms", "lose_ms", "replan_ms", "memory_mb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", default="100,1000,10000")
    parser.add_argument("--shards-per-worker", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [
        measure(int(n), options.shards_per_worker, max(3, options.rounds)) for n in options.workers.split(",")
    ]
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'workers':>8}{'shards':>8}{'lost':>6}" + "".join(f"{name:>13}" for name in COLUMNS))
    for row in rows:
        figures = "".join(f"{row[name]:>13.3g}" for name in COLUMNS)
        print(f"{row['workers']:>8}{row['shards']:>8}{row['lost']:>6}{figures}")


if __name__ == "__main__":
    tune_collector()  # as the coordinator's process does
    main()
