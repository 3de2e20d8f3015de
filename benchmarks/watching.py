"""What those who watch a cluster cost its coordinator: rounds with nobody, one and many of them.

The rounds are the shortest there are, as in ``metrics.py``, so every worker changes all the time and each message holds
all of them: the dearest case. Watchers are bare streams that only count.

    python benchmarks/watching.py [--workers 200] [--watchers 0,1,20] [--rounds 100] [--json]
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import grpc
from floors import Peers, spread
from noop import host_workers, in_process, noop_rounds, register

from gradloom.memory import tune_malloc

METHOD = "/gradloom.v1.ClusterService/WatchCluster"
PAYLOAD, PROCESSES, WARMUP = 4096, 2, 10


class Watchers:
    """Streams in a process of its own, which count what they are told."""

    def __init__(self, count: int, address: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.messages: Synchronized[int] = context.Value("q", 0)
        self.bytes: Synchronized[int] = context.Value("q", 0)
        arguments = (count, address, self.messages, self.bytes)
        self._process = context.Process(target=_watch, args=arguments, daemon=True)
        if count:
            self._process.start()

    def stop(self) -> None:
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(10)


def _watch(count: int, address: str, messages: Any, n_bytes: Any) -> None:
    async def one() -> None:
        async with grpc.aio.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            call = channel.unary_stream(METHOD)(b"")
            while (message := await call.read()) is not grpc.aio.EOF:
                messages.value += 1
                n_bytes.value += len(message)

    async def run() -> None:
        await asyncio.gather(*(one() for _ in range(count)))

    asyncio.run(run())


def measure(n_workers: int, n_watchers: int, rounds: int) -> dict[str, float]:
    """A job of empty rounds while so many watch."""
    tune_malloc()
    register()
    watchers: list[Watchers] = []

    def start(address: str) -> Peers:
        watchers.append(Watchers(n_watchers, address))
        return Peers(host_workers, spread(n_workers, PROCESSES), address)

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(noop_rounds(Path(folder), start, n_workers, PAYLOAD, rounds, WARMUP))
    wall_s = time.monotonic() - began
    watchers[0].stop()
    return {
        "workers": n_workers,
        "watchers": n_watchers,
        "round_ms": 1e3 * statistics.median(found.seconds),
        "cpu_ms": 1e3 * found.cpu_seconds,
        "messages_each_s": watchers[0].messages.value / max(1, n_watchers) / wall_s,
        "kb_each_s": watchers[0].bytes.value / max(1, n_watchers) / wall_s / 1e3,
    }


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--watchers", default="0,1,20")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for n_watchers in map(int, given.watchers.split(",")):
        found = in_process(measure, given.workers, n_watchers, given.rounds)
        if given.json:
            print(json.dumps(found))
        else:
            print(
                f"{n_watchers:3} watch {given.workers} workers: a round {found['round_ms']:.1f} ms, the coordinator's "
                f"CPU {found['cpu_ms']:.1f} ms of it; each is told {found['messages_each_s']:.2f} times, "
                f"{found['kb_each_s']:.0f} KB a second"
            )


if __name__ == "__main__":
    main()
