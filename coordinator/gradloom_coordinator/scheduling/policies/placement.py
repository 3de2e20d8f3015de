"""What every placement policy takes and returns."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

WorkerId = str


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a policy knows of a worker."""

    worker: WorkerId
    rows_per_second: float = 0.0
    """Moving average of its own computing; 0 = not measured yet."""
    had: tuple[int, ...] = ()
    """Shards that were placed on it last, in order."""
    holds: AbstractSet[int] = frozenset()
    """Shards that it has in its cache."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which worker has which shards, and why."""

    shards: dict[WorkerId, tuple[int, ...]]
    """In order; workers that get nothing are absent."""
    reason: str


Policy = Callable[[Sequence[int], Sequence[Candidate], int], Placement]
"""``policy(rows, workers, seed)``: place the shards 0..len(rows)-1, where shard i has ``rows[i]`` rows, on at least
one worker. Every shard is placed exactly once; the same arguments give the same placement."""


MIN_SPEED_SHARE = 0.1
"""No worker counts as slower than this share of the fastest: one bad measurement must not starve it of the next."""


def assumed_speeds(workers: Sequence[Candidate]) -> list[float]:
    """Rows per second of each worker; one that was not measured yet counts as the mean of the measured ones."""
    known = [worker.rows_per_second for worker in workers if worker.rows_per_second > 0]
    typical = sum(known) / len(known) if known else 1.0
    floor = MIN_SPEED_SHARE * max(known, default=0.0)
    return [max(worker.rows_per_second or typical, floor) for worker in workers]


def counted(number: int, noun: str) -> str:
    """``1 shard``, ``2 shards``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
