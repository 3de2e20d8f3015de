"""What an empty round costs: 4 KB of parameters down to every worker and up again, against bare grpc.aio streams.

Both sides run in the same layout, one after the other, in the same run: the coordinator in one process, the workers'
streams spread over two others.

    python benchmarks/round_trip.py [--rounds 300] [--workers 2,8,32,128] [--tls] [--json]

``--tls`` measures the same with mutual TLS as well, in the same run.
"""

import argparse
import asyncio
import json
import statistics
from typing import Any

from floors import aio_round_trips, spread
from noop import Measured, in_process, rounds_of

from gradloom.memory import tune_malloc

PAYLOAD = 4096
PROCESSES = 2


def floor(n_workers: int, rounds: int, warmup: int) -> list[float]:
    tune_malloc()
    return asyncio.run(aio_round_trips(n_workers, PAYLOAD, rounds, warmup, PROCESSES))


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def measure(n_workers: int, rounds: int, secured: bool) -> dict[str, Any]:
    warmup = max(20, rounds // 10)
    bare = in_process(floor, n_workers, rounds, warmup)
    layout = (spread(n_workers, PROCESSES), PAYLOAD, rounds, warmup)
    own = in_process(rounds_of, *layout)
    median, bare_median = statistics.median(own.seconds), statistics.median(bare)
    tls = in_process(rounds_of, *layout, True) if secured else None
    return {
        "workers": n_workers,
        "median_ms": 1e3 * median,
        "p99_ms": 1e3 * p99(own.seconds),
        "floor_median_ms": 1e3 * bare_median,
        "floor_p99_ms": 1e3 * p99(bare),
        "ratio": median / bare_median,
        "own_share": max(0.0, 1 - bare_median / median),
        "coordinator_cpu_ms": 1e3 * own.cpu_seconds,
        **({} if tls is None else over_tls(tls, own)),
    }


def over_tls(tls: Measured, own: Measured) -> dict[str, Any]:
    median = statistics.median(tls.seconds)
    return {
        "tls_median_ms": 1e3 * median,
        "tls_p99_ms": 1e3 * p99(tls.seconds),
        "tls_ratio": median / statistics.median(own.seconds),
        "tls_coordinator_cpu_ms": 1e3 * tls.cpu_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--workers", default="2,8,32,128")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(int(n), options.rounds, options.tls) for n in options.workers.split(",")]
    if options.json:
        print(json.dumps(rows))
        return
    print(
        f"{'workers':>8}{'median ms':>11}{'p99 ms':>9}{'floor ms':>10}{'ratio':>7}{'own share':>11}{'cpu ms':>8}"
        + (f"{'TLS ms':>9}{'p99 ms':>9}{'TLS/plain':>11}{'cpu ms':>8}" if options.tls else "")
    )
    for row in rows:
        print(
            f"{row['workers']:>8}{row['median_ms']:>11.2f}{row['p99_ms']:>9.2f}{row['floor_median_ms']:>10.2f}"
            f"{row['ratio']:>7.2f}{row['own_share']:>11.0%}{row['coordinator_cpu_ms']:>8.2f}"
            + (
                f"{row['tls_median_ms']:>9.2f}{row['tls_p99_ms']:>9.2f}{row['tls_ratio']:>11.2f}"
                f"{row['tls_coordinator_cpu_ms']:>8.2f}"
                if options.tls
                else ""
            )
        )


if __name__ == "__main__":
    main()
