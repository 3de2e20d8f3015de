"""Each worker gets as many rows as its measured speed deserves; what it has already it keeps as far as that allows."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from gradloom_coordinator.scheduling.policies.placement import Candidate, Placement, assumed_speeds, counted


def balanced(rows: Sequence[int], workers: Sequence[Candidate], seed: int = 0) -> Placement:  # noqa: ARG001
    """In shares of the measured speed: stretches of neighbours at first, then with as few moves as possible.

    Neighbours stay together, because a worker merges neighbours by itself: it sends O(log n) partials instead of
    one per shard.
    """
    speeds = assumed_speeds(workers)
    rows_per_speed = sum(rows) / sum(speeds)
    targets = [rows_per_speed * speed for speed in speeds]
    moved = any(worker.had for worker in workers)
    plan = _kept(rows, workers, targets) if moved else _stretches(rows, workers, targets)
    even = max(speeds) <= 1.05 * min(speeds)
    how = "in equal shares" if even else "by measured rows per second"
    return Placement(plan, f"{counted(len(rows), 'shard')} over {counted(len(workers), 'worker')} {how}")


def _stretches(
    rows: Sequence[int], workers: Sequence[Candidate], targets: Sequence[float]
) -> dict[str, tuple[int, ...]]:
    """Cut the row of shards where the running sum of rows crosses each worker's running share.

    A shard belongs to the worker in whose share its middle row lies.
    """
    plan: dict[str, list[int]] = {}
    owner, before, end = 0, 0, targets[0] if any(rows) else 1.0
    for i, n_rows in enumerate(rows):
        middle = before + n_rows / 2
        while middle >= end and owner < len(workers) - 1:
            owner += 1
            end += targets[owner]
        plan.setdefault(workers[owner].worker, []).append(i)
        before += n_rows
    return {worker: tuple(part) for worker, part in plan.items()}


def _kept(
    rows: Sequence[int], workers: Sequence[Candidate], targets: Sequence[float]
) -> dict[str, tuple[int, ...]]:
    """What a worker had it keeps up to its share; the rest goes to those who hold it, then to whoever lacks most."""
    parts: dict[str, list[int]] = {worker.worker: [] for worker in workers}
    lacks = {worker.worker: target for worker, target in zip(workers, targets, strict=True)}
    placed = bytearray(len(rows))

    def take(name: str, shards: Sequence[int]) -> None:
        for i in shards:
            if not placed[i] and rows[i] / 2 <= lacks[name]:
                placed[i] = 1
                parts[name].append(i)
                lacks[name] -= rows[i]

    for worker in workers:
        take(worker.worker, worker.had)
    for worker in workers:
        take(worker.worker, sorted(worker.holds))
    _give_rest(rows, [i for i, done in enumerate(placed) if not done], parts, lacks)
    return {worker: tuple(sorted(part)) for worker, part in parts.items() if part}


def _give_rest(
    rows: Sequence[int], loose: Sequence[int], parts: dict[str, list[int]], lacks: dict[str, float]
) -> None:
    """Neighbours go together to whoever lacks most, until another lacks more than half a shard."""
    neediest = [(-lack, name) for name, lack in lacks.items()]
    heapify(neediest)
    lack, name = heappop(neediest)
    for position, i in enumerate(loose):
        if position and -lack < rows[i] / 2 and neediest and neediest[0][0] < lack:
            heappush(neediest, (lack, name))
            lack, name = heappop(neediest)
        parts[name].append(i)
        lack += rows[i]
