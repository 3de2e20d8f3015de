"""What a straggler, a dead worker and a dead coordinator cost: real processes on real sockets.

    python benchmarks/stragglers.py [--rounds 20] [--repeats 5] [--json]

Workers nap instead of computing, for a time that their rows decide, so that four of them are as parallel on two cores
as on four machines. The straggler is made by the worker's own chaos hook: each of its naps takes five times as long.
"""

import argparse
import asyncio
import functools
import json
import logging
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from noop import Noop, NoopSettings, in_process

from gradloom import LocalCluster, algorithms
from gradloom.data.shard import Shard
from gradloom.faults import Fault, FaultKind
from gradloom.jobs import JobState, RoundCompleted, TaskRetried
from gradloom.settings import CoordinatorSettings, WorkerSettings
from gradloom.specs import DataSpec, JobSpec
from gradloom.tensors import Tensors

N_WORKERS = 4
SHARDS = 64
ROWS = 6_400
NAP_S_PER_ROW = 0.8 / ROWS
"""A round of four workers takes 200 ms."""
SLOWER = 5.0
IDEAL = N_WORKERS / (N_WORKERS - 1 + 1 / SLOWER)
"""With all workers busy to the end of a round, and one of them slow."""
WARMUP = 5
"""Rounds before it gets slow, in which speeds are measured."""
LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Nap(Noop):
    """Sleeps for its rows."""

    name: str = "nap"
    takes_part_sums: bool = True

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        time.sleep(NAP_S_PER_ROW * len(shard.train))
        return {"parameters": message["parameters"]}

    def damped(self, partial: Tensors, factor: float) -> Tensors:
        return partial


def register() -> None:
    algorithms.register("nap", version=1, summary="sleeps", settings=NoopSettings, make=Nap)


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to deal with stragglers."""

    name: str
    placement: str = "balanced"
    help: bool = True
    speculation: bool = True
    synchrony: str = "synchronous"


POLICIES = (
    Policy("plain: dealt once, no help, no copies", "round_robin", help=False, speculation=False),
    Policy("copies alone", "round_robin", help=False),
    Policy("help alone", "round_robin", speculation=False),
    Policy("placement by speed alone", help=False, speculation=False),
    Policy("random placement, help and copies", "random"),
    Policy("local placement, help and copies", "local"),
    Policy("the default: placement by speed, help and copies"),
    Policy("backup:16, dealt once", "round_robin", help=False, speculation=False, synchrony="backup:16"),
    Policy("bounded:3", synchrony="bounded:3"),
    Policy("asynchronous", synchrony="asynchronous"),
)


def host_worker(name: str, address: str) -> None:
    """One worker on a machine of its own, as far as the coordinator knows."""
    from gradloom_worker.runtime import WorkerRuntime

    register()
    logging.disable(logging.WARNING)
    settings = WorkerSettings(coordinator=address, name=name, node=name, allow_chaos=True)
    asyncio.run(WorkerRuntime(settings).run())


@asynccontextmanager
async def cluster(folder: Path, help_each_other: bool) -> AsyncIterator[tuple[Any, list[Any]]]:
    """A coordinator in this process and workers in others."""
    from gradloom_coordinator.scheduling.limits import Limits
    from gradloom_coordinator.server import start

    register()
    logging.disable(logging.WARNING)
    # no job can switch this off, and no coordinator
    with patch("gradloom_coordinator.runtime.Limits", functools.partial(Limits, help=help_each_other)):
        running = await start(CoordinatorSettings(port=0, data_dir=folder))
    context = multiprocessing.get_context("spawn")
    names = [f"worker-{i}" for i in range(N_WORKERS)]
    processes = [
        context.Process(target=host_worker, args=(name, running.addresses.address), daemon=True)
        for name in names
    ]
    for process in processes:
        process.start()
    try:
        async with asyncio.timeout(LIMIT_S):
            while len(running.coordinator.attendance.links) < N_WORKERS:  # noqa: ASYNC110 - counted outside of asyncio
                await asyncio.sleep(0.01)
            yield running.coordinator, processes
    finally:
        for process in processes:
            process.kill()
            process.join()
        await running.stop()


async def submit(coordinator: Any, folder: Path, policy: Policy, rounds: int) -> Any:
    data = folder / "rows.npy"
    np.save(data, np.zeros((ROWS, 2)))
    spec = JobSpec(
        "nap",
        DataSpec((str(data),), target="1", shards=SHARDS),
        {"rounds": str(rounds)},
        placement=policy.placement,
        synchrony=policy.synchrony,
        speculation="on" if policy.speculation else "off",
    )
    return await coordinator.submit(spec, "")


async def rounds_of(policy: Policy, straggles: bool, rounds: int) -> list[float]:
    """Seconds of each round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with cluster(folder, policy.help) as (coordinator, _):
            view = await submit(coordinator, folder, policy, rounds + WARMUP)
            run, seconds = coordinator.records.named(view.job_id), []
            async for event in run.journal.follow(0):
                if not isinstance(event.what, RoundCompleted):
                    continue
                seconds.append(event.what.seconds)
                if straggles and event.what.round == WARMUP:
                    coordinator.inject("worker-0", Fault(FaultKind.SLOW, seconds=3600.0, factor=SLOWER))
            assert run.state is JobState.COMPLETED, run.reason
    return seconds[WARMUP:]


def measure_rounds(policy: Policy, straggles: bool, rounds: int) -> list[float]:
    return asyncio.run(rounds_of(policy, straggles, rounds))


# ---- a dead worker


async def lose_a_worker() -> dict[str, float]:
    """What one SIGKILL in the middle of a round costs it, beside what the others need for their share of the rest."""
    with tempfile.TemporaryDirectory() as name:
        folder, rounds = Path(name), 30
        async with cluster(folder, help_each_other=True) as (coordinator, processes):
            view = await submit(coordinator, folder, Policy(""), rounds)
            run, killed_at, noticed_at, ends = coordinator.records.named(view.job_id), 0.0, 0.0, []
            async for event in run.journal.follow(0):
                if isinstance(event.what, RoundCompleted):
                    ends.append((event.at, event.what.seconds))
                    if event.what.round == rounds // 2:
                        await asyncio.sleep(0.1)  # into the middle of the next one
                        killed_at = time.time()
                        os.kill(processes[0].pid, signal.SIGKILL)
                elif isinstance(event.what, TaskRetried):
                    noticed_at = noticed_at or event.at
    before = statistics.median(seconds for end, seconds in ends if end < killed_at)
    end, hit = next(each for each in ends if each[0] >= killed_at)
    until_kill = killed_at - (end - hit)
    of_three = until_kill + (before - until_kill) * N_WORKERS / (N_WORKERS - 1)
    return {
        "round_before_ms": 1e3 * before,
        "round_of_three_ms": 1e3 * of_three,
        "round_hit_ms": 1e3 * hit,
        "lost_ms": 1e3 * (hit - of_three),
        "detection_ms": 1e3 * (noticed_at - killed_at),
        "task_ms": 1e3 * NAP_S_PER_ROW * ROWS / SHARDS,
    }


def measure_loss() -> dict[str, float]:
    return asyncio.run(lose_a_worker())


# ---- a dead coordinator


def measure_restarts(repeats: int) -> list[float]:
    """Seconds from the start of the new coordinator's process to the end of its first round."""
    os.environ["GRADLOOM_CHECKPOINT_EVERY"] = "0.2"
    seconds = []
    with tempfile.TemporaryDirectory() as folder, LocalCluster(N_WORKERS) as local, local.client() as client:
        rng = np.random.default_rng(1)
        data = Path(folder) / "rows.npy"
        np.save(data, rng.standard_normal((200_000, 41)).round(3))
        settings = {"solver": "gradient_descent", "max_rounds": 100_000, "tolerance": 0}
        job = client.submit("linear", data=str(data), target="40", shards=16, settings=settings)
        events = job.watch()
        for _ in range(repeats):
            next(e for e in events if isinstance(e.what, RoundCompleted) and e.what.round > 20)
            local.kill_coordinator()
            restarted_at = time.time()
            local.restart_coordinator()
            seconds.append(
                next(e.at for e in events if isinstance(e.what, RoundCompleted) and e.at > restarted_at)
                - restarted_at
            )
        job.cancel("measured")
    return seconds


# ---- the table


def compare_policies(rounds: int) -> list[dict[str, Any]]:
    calm = statistics.median(in_process(measure_rounds, POLICIES[0], False, rounds))
    rows = []
    for policy in POLICIES:
        seconds = in_process(measure_rounds, policy, True, rounds)
        median = statistics.median(seconds)
        rows.append(
            {
                "policy": policy.name,
                "calm_ms": 1e3 * calm,
                "median_ms": 1e3 * median,
                "first_ms": 1e3 * max(seconds[:2]),
                "ratio": median / calm,
            }
        )
        print_row(rows[-1])
    return rows


def print_row(row: dict[str, Any]) -> None:
    print(
        f"{row['policy']:50} {row['median_ms']:8.0f} {row['first_ms']:8.0f} {row['ratio']:8.2f}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}; one of {N_WORKERS} is {SLOWER:g} times slower; ideal {IDEAL:.2f}")
    print(f"{'policy':50} {'p50 ms':>8} {'first':>8} {'ratio':>8}")
    policies = compare_policies(options.rounds)
    losses = [in_process(measure_loss) for _ in range(options.repeats)]
    restarts = in_process(measure_restarts, options.repeats)
    lost = {name: statistics.median(loss[name] for loss in losses) for name in losses[0]}
    print("a worker killed:", ", ".join(f"{name} {value:.0f}" for name, value in lost.items()))
    print(
        f"a coordinator killed: first round after {statistics.median(restarts):.2f} s, "
        f"at most {max(restarts):.2f} s"
    )
    if options.json:
        print(json.dumps({"policies": policies, "worker_killed": losses, "coordinator_killed_s": restarts}))


if __name__ == "__main__":
    main()
