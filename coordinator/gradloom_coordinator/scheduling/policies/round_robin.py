"""Shards are dealt like cards, whatever the workers' speeds."""

from collections.abc import Sequence

from gradloom_coordinator.scheduling.policies.placement import Candidate, Placement, counted


def round_robin(rows: Sequence[int], workers: Sequence[Candidate], seed: int = 0) -> Placement:  # noqa: ARG001
    """The i-th shard goes to worker i mod n. Even, but neighbours part: more partials on the wire."""
    n = len(workers)
    dealt = {worker.worker: tuple(range(i, len(rows), n)) for i, worker in enumerate(workers)}
    plan = {worker: part for worker, part in dealt.items() if part}
    return Placement(plan, f"{counted(len(rows), 'shard')} dealt in turn to {counted(n, 'worker')}")
