"""Shards are drawn by lot: the yardstick that every other policy must beat."""

from collections.abc import Sequence
from zlib import crc32

from gradloom_coordinator.scheduling.policies.placement import Candidate, Placement, counted


def random(rows: Sequence[int], workers: Sequence[Candidate], seed: int = 0) -> Placement:
    """Shard i goes to a worker that a hash of seed and i picks: the same lot in every run."""
    plan: dict[str, list[int]] = {}
    for i in range(len(rows)):
        plan.setdefault(workers[crc32(f"{seed}/{i}".encode()) % len(workers)].worker, []).append(i)
    return Placement(
        {worker: tuple(part) for worker, part in plan.items()},
        f"{counted(len(rows), 'shard')} drawn by lot for {counted(len(workers), 'worker')}",
    )
