"""Replay one seed with its whole transcript, or try many: ``python -m simulation --seed 7 | --seeds 100000``."""

# ruff: noqa: T201 - it talks to a person

import argparse
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from simulation.world import run_seed

BATCH = 50


def replay(seed: int) -> int:
    """Run a seed and print all that happened; the exit code."""
    try:
        world = run_seed(seed, transcript_lines=None)
    except AssertionError as error:
        print(error)
        return 1
    print(world.transcript)
    print(f"seed {seed}: {world.clock.now:.1f} virtual seconds, every property held")
    return 0


def failures(seeds: Iterable[int]) -> list[tuple[int, str]]:
    """Those seeds that fail, each with its first line."""
    found = []
    for seed in seeds:
        try:
            run_seed(seed)
        except AssertionError as error:
            found.append((seed, str(error).splitlines()[0]))
    return found


def soak(first: int, n_seeds: int, processes: int) -> int:
    """Try many seeds on all cores; the exit code."""
    started, failed = time.monotonic(), 0
    starts = iter(range(first, first + n_seeds, BATCH))
    with ProcessPoolExecutor(processes) as pool:
        while group := list(islice(starts, 20 * processes)):
            batches = [range(start, min(start + BATCH, first + n_seeds)) for start in group]
            for found in pool.map(failures, batches):
                failed += len(found)
                for _, head in found:
                    print(head, flush=True)
            done = batches[-1].stop - first
            seconds = time.monotonic() - started
            print(f"{done} of {n_seeds} seeds, {failed} failed, {seconds:.0f} s", file=sys.stderr, flush=True)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--seeds", type=int, default=2000, help="try so many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        return replay(options.seed)
    return soak(options.first, options.seeds, options.processes)


if __name__ == "__main__":
    sys.exit(main())
