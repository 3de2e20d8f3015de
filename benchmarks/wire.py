"""What big parameters cost on the wire: a round that sends them to every worker and adds up what comes back.

Held against raw TCP over loopback (a thread for each peer), and against bare grpc.aio with raw 2 MB frames that are
added as they arrive; all three in the same run. GB/s count the bytes of both directions over all workers.

    python benchmarks/wire.py [--mb 16,100] [--workers 2,4] [--rounds 50] [--tls] [--json]

``--tls`` measures the same with mutual TLS as well, in the same run.
"""

import argparse
import asyncio
import json
import statistics
from typing import Any

from floors import aio_tensor_rounds, tcp_tensor_rounds
from noop import Measured, in_process, rounds_of

from gradloom.memory import tune_malloc

WARMUP = 3


def bare_aio(n_workers: int, n_bytes: int, rounds: int) -> list[float]:
    tune_malloc()
    return asyncio.run(aio_tensor_rounds(n_workers, n_bytes, rounds, WARMUP))


def bare_tcp(n_workers: int, n_bytes: int, rounds: int) -> list[float]:
    tune_malloc()
    return tcp_tensor_rounds(n_workers, n_bytes, rounds, WARMUP)


def measure(n_workers: int, megabytes: int, rounds: int, secured: bool) -> dict[str, Any]:
    n_bytes = megabytes * 1024 * 1024
    few = max(5, rounds // 5)
    tcp = statistics.median(in_process(bare_tcp, n_workers, n_bytes, few))
    aio = statistics.median(in_process(bare_aio, n_workers, n_bytes, few))
    layout = ([1] * n_workers, n_bytes, rounds, WARMUP)
    own = in_process(rounds_of, *layout)
    median = statistics.median(own.seconds)
    tls = in_process(rounds_of, *layout, True) if secured else None
    moved = 2 * n_workers * n_bytes / 1e9
    return {
        "megabytes": megabytes,
        "workers": n_workers,
        "round_ms": 1e3 * median,
        "gb_per_s": moved / median,
        "tcp_gb_per_s": moved / tcp,
        "aio_gb_per_s": moved / aio,
        "of_tcp": tcp / median,
        "of_aio": aio / median,
        "peak_over_parameters_early": own.peak_bytes[min(5, len(own.peak_bytes) - 1)] / n_bytes,
        "peak_over_parameters_late": own.peak_bytes[-1] / n_bytes,
        **({} if tls is None else over_tls(tls, own, moved)),
    }


def over_tls(tls: Measured, own: Measured, moved: float) -> dict[str, Any]:
    median = statistics.median(tls.seconds)
    return {
        "tls_round_ms": 1e3 * median,
        "tls_gb_per_s": moved / median,
        "tls_ratio": median / statistics.median(own.seconds),
        "tls_cpu_ratio": tls.cpu_seconds / own.cpu_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", default="16,100")
    parser.add_argument("--workers", default="2,4")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [
        measure(int(n), int(mb), options.rounds, options.tls)
        for mb in options.mb.split(",")
        for n in options.workers.split(",")
    ]
    if options.json:
        print(json.dumps(rows))
        return
    print(
        f"{'MB':>4}{'workers':>9}{'round ms':>10}{'GB/s':>7}{'TCP':>7}{'aio':>7}{'of TCP':>8}{'of aio':>8}"
        + (f"{'TLS ms':>9}{'GB/s':>7}{'TLS/plain':>11}{'cpu':>6}" if options.tls else "")
        + "  peak/params after 5 rounds, after all"
    )
    for row in rows:
        print(
            f"{row['megabytes']:>4}{row['workers']:>9}{row['round_ms']:>10.0f}{row['gb_per_s']:>7.2f}"
            f"{row['tcp_gb_per_s']:>7.2f}{row['aio_gb_per_s']:>7.2f}{row['of_tcp']:>8.2f}{row['of_aio']:>8.2f}"
            + (
                f"{row['tls_round_ms']:>9.0f}{row['tls_gb_per_s']:>7.2f}{row['tls_ratio']:>11.2f}"
                f"{row['tls_cpu_ratio']:>6.2f}"
                if options.tls
                else ""
            )
            + f"  {row['peak_over_parameters_early']:.2f}, {row['peak_over_parameters_late']:.2f}"
        )


if __name__ == "__main__":
    main()
