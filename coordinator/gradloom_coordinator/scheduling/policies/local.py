"""A shard goes to whoever has it cached, whatever the workers' speeds: nothing is loaded twice."""

from collections.abc import Sequence

from gradloom_coordinator.scheduling.policies.balanced import balanced
from gradloom_coordinator.scheduling.policies.placement import Candidate, Placement, counted


def local(rows: Sequence[int], workers: Sequence[Candidate], seed: int = 0) -> Placement:
    """Those that had it last come first, then those that hold it, the least laden first; the rest is balanced."""
    owner = {i: worker.worker for worker in workers for i in worker.had}
    laden = {worker.worker: sum(rows[i] for i in worker.had) for worker in workers}
    for i, holders in _holders(workers).items():
        if i not in owner:
            owner[i] = min(holders, key=lambda name: (laden[name], name))
            laden[owner[i]] += rows[i]
    rest = balanced([0 if i in owner else n for i, n in enumerate(rows)], [_empty(w) for w in workers], seed)
    for name, part in rest.shards.items():
        for i in part:
            owner.setdefault(i, name)
    plan: dict[str, list[int]] = {}
    for i in range(len(rows)):
        plan.setdefault(owner[i], []).append(i)
    return Placement(
        {name: tuple(part) for name, part in plan.items()},
        f"{counted(len(rows), 'shard')} to the {counted(len(workers), 'worker')} that have them cached",
    )


def _holders(workers: Sequence[Candidate]) -> dict[int, list[str]]:
    holders: dict[int, list[str]] = {}
    for worker in workers:
        for i in sorted(worker.holds):
            holders.setdefault(i, []).append(worker.worker)
    return dict(sorted(holders.items()))


def _empty(worker: Candidate) -> Candidate:
    return Candidate(worker.worker, worker.rows_per_second)
