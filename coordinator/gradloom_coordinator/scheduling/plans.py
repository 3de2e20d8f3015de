"""Who owns which shards over many rounds, and into which chunks each share is cut. Pure: values in, values out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from gradloom.canonical import Range, cover
from gradloom_coordinator.scheduling.commands import TaskOrder
from gradloom_coordinator.scheduling.events import WorkerId
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.policies import Placement

UNKNOWN_CHUNKS = 4
"""Of one share, while nobody knows how long a row takes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What rounds open with until it is made anew."""

    placement: Placement
    policy: str
    """That has made the placement."""
    orders: Mapping[WorkerId, tuple[TaskOrder, ...]]
    """Each worker's chunks, in order."""
    helps: Mapping[WorkerId, WorkerId]
    """The ring: whom each worker helps first, so that each shard is cached by few workers."""
    helped_by: Mapping[WorkerId, WorkerId]
    """The same the other way round."""
    pace_s: float
    """Seconds per row that the chunks were cut for; 0 = unknown."""
    judged_in_round: int
    shared: bool = False
    """Whether the chunks were cut for workers that several jobs share."""


def ring(workers: Sequence[WorkerId]) -> dict[WorkerId, WorkerId]:
    """Each worker helps the one before it."""
    return {worker: workers[i - 1] for i, worker in enumerate(workers)} if len(workers) > 1 else {}


def cut(
    shards: Sequence[int],
    rows_before: Sequence[int],
    seconds_per_row: float,
    send_s: float,
    limits: Limits,
    *,
    shared: bool = False,
) -> tuple[TaskOrder, ...]:
    """The chunks of one share: nodes of the tree over ``len(rows_before) - 1`` shards, in order.

    A chunk takes about ``chunk_min_s``, a ``max_chunks``-th of the share (at most ``shared_chunk_s`` if ``shared``), or
    so long that ``send_s`` (sending one partial) is a small part of it: whichever is most. Nodes only halve, so a chunk
    may be half as long. Which chunks are cut changes no bit of the sum.
    """
    nodes = cover(shards, len(rows_before) - 1)
    rows = sum(rows_before[node.hi] - rows_before[node.lo] for node in nodes)
    if seconds_per_row:
        longest_s = limits.shared_chunk_s if shared else inf
        wanted_s = max(limits.chunk_min_s, min(longest_s, seconds_per_row * rows / limits.max_chunks))
        most_rows = max(wanted_s, send_s / limits.max_send_share) / seconds_per_row
    else:
        most_rows = rows / UNKNOWN_CHUNKS
    return tuple(TaskOrder(node, 1) for top in nodes for node in _split(top, rows_before, most_rows))


def _split(node: Range, rows_before: Sequence[int], most_rows: float) -> list[Range]:
    if node.size == 1 or rows_before[node.hi] - rows_before[node.lo] <= most_rows:
        return [node]
    return [part for child in node.children() for part in _split(child, rows_before, most_rows)]


@dataclass(frozen=True, slots=True)
class Move:
    """Whether shards should be placed anew, and why."""

    pays: bool
    reason: str


def pays_to_move(
    limits: Limits,
    rows: Sequence[int],
    before: Placement,
    after: Placement,
    rows_per_second: Mapping[WorkerId, float],
    load_s_per_row: float,
) -> Move:
    """Compare what the next rounds would gain with what loading the moved shards costs once.

    A round takes as long as its slowest worker; loading goes on at once on all workers.
    """
    now_s = _slowest_s(before, rows, rows_per_second)
    then_s = _slowest_s(after, rows, rows_per_second)
    load_s = load_s_per_row * max(
        (_rows(rows, set(part) - set(before.shards.get(w, ()))) for w, part in after.shards.items()),
        default=0,
    )
    gain_s = now_s - then_s
    numbers = f"rounds of {then_s:.3g} s instead of {now_s:.3g} s, loading takes {load_s:.3g} s"
    if gain_s < limits.replace_min_gain_s or now_s < limits.replace_gain * then_s:
        return Move(False, f"too little to gain: {numbers}")
    if gain_s * limits.replace_every_rounds <= load_s:
        return Move(False, f"loading would cost more than it gains: {numbers}")
    return Move(True, numbers)


def _slowest_s(placement: Placement, rows: Sequence[int], speeds: Mapping[WorkerId, float]) -> float:
    return max(_rows(rows, part) / speeds[w] for w, part in placement.shards.items())


def _rows(rows: Sequence[int], shards: set[int] | tuple[int, ...]) -> int:
    return sum(rows[i] for i in shards)
