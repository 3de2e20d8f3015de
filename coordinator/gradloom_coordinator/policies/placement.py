"""What every placement policy takes and returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WorkerId = str


@dataclass(frozen=True, slots=True)
class WorkerSpeed:
    """What a policy knows of a worker."""

    worker: WorkerId
    rows_per_second: float
    """Moving average of its own computing; 0 = not measured yet."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which worker has which shards, and why."""

    shards: Mapping[WorkerId, tuple[int, ...]]
    """In order; workers that get nothing are absent."""
    reason: str


Policy = Callable[[Sequence[int], Mapping[int, int] | Sequence[int], Sequence[WorkerSpeed]], Placement]
"""``policy(shards, rows, workers)``: place ``shards`` (in order), where shard i has ``rows[i]`` rows, on at least
one worker. Every shard is placed exactly once; the same arguments give the same plan."""


def assumed_speeds(workers: Sequence[WorkerSpeed]) -> list[float]:
    """Rows per second of each worker; one that was not measured yet counts as the mean of the measured ones."""
    known = [worker.rows_per_second for worker in workers if worker.rows_per_second > 0]
    typical = sum(known) / len(known) if known else 1.0
    return [worker.rows_per_second or typical for worker in workers]
