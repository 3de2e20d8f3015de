"""What counting costs: CPU of the coordinator's event loop, as a share of a round, and of a scrape.

The round is the shortest there is, 4 KB of parameters to every worker and up again as in ``round_trip.py``, so that
counting weighs most. What is counted of an answer and of a round is timed by itself, over and over, in the same process
layout; a look (which the event loop makes at a scrape) and the page (which it does not) likewise.

    python benchmarks/metrics.py [--rounds 200] [--workers 2,8,32,128] [--json]
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from floors import Peers, spread
from noop import host_workers, in_process, noop_rounds, register
from prometheus_client import generate_latest
from scale import JOB, Cluster

from gradloom.canonical import Range
from gradloom.jobs import RoundCompleted
from gradloom.memory import tune_collector, tune_malloc
from gradloom.steps import Step
from gradloom_coordinator.monitoring.message_counts import MessageCounts
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.monitoring.standing import Look, standing
from gradloom_coordinator.scheduling.accounts import Accounts
from gradloom_coordinator.scheduling.events import PartialArrived, RoundReady, TaskRef, TaskTimes
from gradloom_coordinator.scheduling.limits import Limits

PAYLOAD = 4096
PROCESSES = 2
WARMUP = 20
REPEATS = 5
DONE = RoundCompleted(1, 9, 0.5, 0.1, None, None, 0.2, 100.0, 2, 1.0)


def round_s(n_workers: int, rounds: int) -> float:
    """A real round over real streams, everything counted."""
    tune_malloc()
    register()
    with tempfile.TemporaryDirectory() as folder:

        def start(address: str) -> Peers:
            return Peers(host_workers, spread(n_workers, PROCESSES), address)

        running = noop_rounds(Path(folder), start, n_workers, PAYLOAD, rounds, WARMUP)
        return statistics.median(asyncio.run(running).seconds)


def each_s(work: Callable[[], object], times: int) -> float:
    """CPU of one call, in the best of several runs."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.thread_time()
        for _ in range(times):
            work()
        best = min(best, (time.thread_time() - start) / times)
    return best


def after_rounds(n_workers: int) -> Cluster:
    """A scheduler whose workers have answered for three rounds, in virtual time."""
    cluster = Cluster(n_workers, n_workers)
    cluster.start()
    for number in (1, 2, 3):
        cluster.open_round(number)
        cluster.answer()
    return cluster


def counting_s(n_workers: int) -> float:
    """CPU of all that is counted in one round of one answer a worker."""
    tune_collector()
    cluster = after_rounds(n_workers)
    state = cluster.scheduler.state
    accounts, metrics, messages = (
        Accounts(Limits(), state),
        CoordinatorMetrics(state.measures),
        MessageCounts(),
    )
    job, worker = state.jobs[JOB], state.workers["w0"]
    assert job.round is not None
    round_, measures = job.round, state.measures
    book = state.traces.begin(JOB, job.copies, cluster.now)
    shards = next(iter(round_.chunks))
    answer = PartialArrived(
        "w0", TaskRef(JOB, 3, Range(*shards), 1), 100, TaskTimes(compute_s=0.001), PAYLOAD
    )
    ready = RoundReady(JOB, 4)

    def an_answer() -> None:
        start = time.perf_counter()
        metrics.decided(state, answer, time.perf_counter() - start)
        accounts._count(job, worker, answer, 1.0)  # noqa: SLF001 - what is measured
        accounts._trace(worker, answer, None, 100, 1.0)  # noqa: SLF001
        measures.hits += 1
        measures.round_trip.observe(0.001, "w0")
        measures.assignments.add("balanced", "w0")

    def a_round() -> None:
        metrics.decided(state, ready, 0.001)
        accounts._at_the_barrier(job, round_, book, cluster.now)  # noqa: SLF001
        book.opened(4, Step.TRAIN, 4, cluster.now)
        book.closed(cluster.now)
        metrics.round_done(JOB, DONE)

    heartbeat = b"\x12\x02\x08\x01"
    written = messages.writing(lambda _: asyncio.sleep(0))  # the same work, without the stream

    def two_messages() -> None:
        messages.read(heartbeat)
        written(heartbeat).close()  # type: ignore[attr-defined]

    from gradloom.v1 import worker_pb2

    bare = each_s(lambda: (worker_pb2.WorkerMessage.FromString(heartbeat), asyncio.sleep(0).close()), 20_000)
    moved = max(0.0, each_s(two_messages, 20_000) - bare)
    return n_workers * (each_s(an_answer, 20_000) + moved) + each_s(a_round, 200)


def scrape(n_workers: int) -> dict[str, float]:
    """A look and the page, with all series of so many workers."""
    cluster = after_rounds(n_workers)
    state = cluster.scheduler.state
    state.measures.begin_job(JOB, state.workers)
    metrics = CoordinatorMetrics(state.measures)
    look = Look(state, {}, [], Limits(), cluster.now, 0.0)
    page = generate_latest(metrics.registry)
    return {
        "look_ms": 1e3 * each_s(lambda: [*standing(look), *state.measures.readings()], 3),
        "page_ms": 1e3 * each_s(lambda: generate_latest(metrics.registry), 3),
        "page_kb": len(page) / 1e3,
    }


def measure(n_workers: int, rounds: int) -> dict[str, Any]:
    seconds = in_process(round_s, n_workers, rounds)
    counting = in_process(counting_s, n_workers)
    return {
        "workers": n_workers,
        "round_ms": 1e3 * seconds,
        "counting_us": 1e6 * counting,
        "share_pct": 100 * counting / seconds,
        **in_process(scrape, n_workers),
    }


COLUMNS = ("round_ms", "counting_us", "share_pct", "look_ms", "page_ms", "page_kb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--workers", default="2,8,32,128")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(int(n), options.rounds) for n in options.workers.split(",")]
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'workers':>8}" + "".join(f"{name:>13}" for name in COLUMNS))
    for row in rows:
        print(f"{row['workers']:>8}" + "".join(f"{row[name]:>13.3g}" for name in COLUMNS))


if __name__ == "__main__":
    main()
