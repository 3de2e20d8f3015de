"""Each worker gets a stretch of neighbouring shards, as long as its measured speed deserves."""

from collections.abc import Mapping, Sequence

from gradloom_coordinator.policies.placement import Placement, WorkerSpeed, assumed_speeds, counted


def balanced(
    shards: Sequence[int], rows: Mapping[int, int] | Sequence[int], workers: Sequence[WorkerSpeed]
) -> Placement:
    """Cut the row of shards where the running sum of rows crosses each worker's running share of the speed.

    Neighbours stay together, because a worker merges neighbours by itself: it sends O(log n) partials instead of
    one per shard. A shard belongs to the worker in whose share its middle row lies.
    """
    speeds = assumed_speeds(workers)
    total_rows = sum(rows[i] for i in shards) or 1
    plan: dict[str, list[int]] = {}
    ends = _running_shares(speeds, total_rows)
    owner, before = 0, 0
    for i in shards:
        middle = before + rows[i] / 2
        while middle >= ends[owner] and owner < len(workers) - 1:
            owner += 1
        plan.setdefault(workers[owner].worker, []).append(i)
        before += rows[i]
    even = max(speeds) <= 1.05 * min(speeds)
    how = "in equal shares" if even else "by measured rows per second"
    return Placement(
        {worker: tuple(part) for worker, part in plan.items()},
        f"{counted(len(shards), 'shard')} over {counted(len(workers), 'worker')} {how}",
    )


def _running_shares(speeds: Sequence[float], total_rows: int) -> list[float]:
    ends, so_far, total = [], 0.0, sum(speeds)
    for speed in speeds:
        so_far += speed
        ends.append(total_rows * so_far / total)
    return ends
