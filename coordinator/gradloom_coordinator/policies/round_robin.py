"""Shards are dealt like cards, whatever the workers' speeds."""

from collections.abc import Mapping, Sequence

from gradloom_coordinator.policies.placement import Placement, WorkerSpeed, counted


def round_robin(
    shards: Sequence[int],
    rows: Mapping[int, int] | Sequence[int],  # noqa: ARG001 - the shape of every policy
    workers: Sequence[WorkerSpeed],
) -> Placement:
    """The i-th shard goes to worker i mod n. Even, but neighbours part: more partials on the wire."""
    names = [worker.worker for worker in workers]
    dealt = {name: tuple(shards[i :: len(names)]) for i, name in enumerate(names)}
    plan = {name: part for name, part in dealt.items() if part}
    return Placement(
        plan, f"{counted(len(shards), 'shard')} dealt in turn to {counted(len(names), 'worker')}"
    )
