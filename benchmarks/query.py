"""What a query to a job that serves costs, on this machine: latency alone and under load, against bare calls.

Two baselines run beside it, in the same run and through the same client: ``GetJob`` is a round trip to the
coordinator that asks no worker, and the query of a completed job is answered by the coordinator from its model.
Every client thread asks for the neighbours of one row at a time, again and again.

    python benchmarks/query.py [--rows 100000] [--columns 32] [--workers 2] [--threads 1,8,32] [--seconds 5] [--json]
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradloom import LocalCluster
from gradloom.client import Client, Job

LIMIT_S = 120.0
WARMUP = 20


def train(client: Client, data: Path, serve: str) -> Job:
    """A job that is ready for queries."""
    job = client.submit("neighbors", data=str(data), settings={"serve": serve, "dtype": "float32"})
    job.wait(LIMIT_S)
    return job


def load(ask: Callable[[int], object], threads: int, seconds: float) -> dict[str, float]:
    """Latencies of so many threads that ask without a pause."""
    for i in range(WARMUP):
        ask(i)
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    def go(first: int) -> None:
        i, own = first, []
        while time.perf_counter() < end:
            start = time.perf_counter()
            ask(i)
            own.append(time.perf_counter() - start)
            i += threads
        latencies.extend(own)

    workers = [threading.Thread(target=go, args=(i,)) for i in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - start
    p50, p99 = np.percentile(latencies, [50, 99])
    return {"per_s": len(latencies) / took, "p50_ms": 1e3 * float(p50), "p99_ms": 1e3 * float(p99)}


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(options.rows, options.columns)).astype(np.float32)
    queries = rng.normal(size=(4096, options.columns)).astype(np.float32)
    found = []
    with tempfile.TemporaryDirectory() as folder, LocalCluster(options.workers) as cluster:
        path = Path(folder) / "rows.npz"
        np.savez(path, X=X)
        with cluster.client() as client:
            served, completed = (train(client, path, serve) for serve in ("cluster", "model"))
            kinds: dict[str, Callable[[int], object]] = {
                "round trip": lambda _: completed.view(),
                "from the model": lambda i: completed.kneighbors(queries[i % 4096][None]),
                "by the workers": lambda i: served.kneighbors(queries[i % 4096][None]),
            }
            for threads in map(int, options.threads.split(",")):
                for kind, ask in kinds.items():
                    found.append({"kind": kind, "threads": threads, **load(ask, threads, options.seconds)})
            tile = queries[:1024]
            start = time.perf_counter()
            for _ in range(5):
                served.kneighbors(tile)
            found.append(
                {"kind": "1,024 at once", "threads": 1, "per_s": 5 * 1024 / (time.perf_counter() - start)}
            )
            served.cancel("measured")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{options.rows:,} rows x {options.columns} columns on {options.workers} workers")
    print("threads             asks   queries/s    p50 ms    p99 ms")
    for row in found:
        times = f"{row['p50_ms']:9.2f} {row['p99_ms']:9.2f}" if "p50_ms" in row else ""
        print(f"{row['threads']:7} {row['kind']:>16} {row['per_s']:11,.0f} {times}")


if __name__ == "__main__":
    main()
