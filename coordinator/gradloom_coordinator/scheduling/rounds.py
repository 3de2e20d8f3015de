"""The ledger of one round: its chunks, where each of them is, and how often it was tried.

When a round opens, the canonical tree is cut into nodes, the chunks; every task of the round is exactly one of them.
A chunk is at any moment counted, in workers' hands, in the queue of a worker, with nobody (orphaned), or held back
after a failure. A partial is counted only while its chunk is missing, so every shard counts exactly once a round,
however often it was sent, retried, copied, duplicated or late.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from itertools import islice

from gradloom.canonical import Range
from gradloom.steps import Step
from gradloom_coordinator.scheduling.commands import TaskOrder
from gradloom_coordinator.scheduling.events import TaskRef, WorkerId


class Refusal(StrEnum):
    """Why a partial is not counted."""

    LATE = "its round is over"
    STALE = "it was computed with parameters that are too old"
    DUPLICATE = "its shards are counted already"
    UNKNOWN_JOB = "its job is not running"
    FOREIGN = "its shards are no chunk of the round"
    WORKER_GONE = "its worker is gone"


@dataclass(slots=True, eq=False)
class Chunk:
    """One node of the tree in one round."""

    order: TaskOrder
    """Its range, and the next try at it."""
    rows: int
    counted: bool = False
    holders: dict[WorkerId, TaskRef] = field(default_factory=dict)
    """In whose hands it is."""
    failures: int = 0
    avoid: frozenset[WorkerId] = frozenset()
    """Workers on which it has failed: others are asked first."""
    died: frozenset[tuple[WorkerId, float]] = frozenset()
    """Sessions, by worker and time of joining, that were lost while they computed it."""
    lost_at: float | None = None
    """When it was first lost with a worker; None = it was not."""

    @property
    def range(self) -> Range:
        """Its shards."""
        return self.order.range

    def remember(self, before: "Chunk") -> None:
        """It has not been counted in the round before: what went wrong there is not forgotten."""
        self.failures, self.avoid, self.died = before.failures, before.avoid, before.died


@dataclass(slots=True, eq=False)
class Tally:
    """What one worker has done in one round, for the question who was slow and why."""

    rows: int = 0
    queue_s: float = 0.0
    load_s: float = 0.0
    reload_s: float = 0.0
    """Of ``load_s``: for shards that it had held before."""
    compute_s: float = 0.0
    encode_s: float = 0.0
    transit_s: float = 0.0
    """On the way there and back."""
    last_answer_at: float | None = None
    """None = none of its answers counted."""
    outrun_rows: int = 0
    """Of what it had begun when others were faster with it."""
    outrun_s: float = 0.0


@dataclass(slots=True, eq=False)
class Round:
    """One round of one job."""

    number: int
    step: Step
    n_shards: int
    opened_at: float
    chunks: dict[Range, Chunk] = field(default_factory=dict)
    """Empty until there is a worker to cut them for."""
    queues: dict[WorkerId, deque[Chunk]] = field(default_factory=dict)
    """Of each worker: its own chunks that nobody has been given yet."""
    queued_rows: dict[WorkerId, int] = field(default_factory=dict)
    longest: list[tuple[float, WorkerId]] = field(default_factory=list)
    """A heap of (- seconds of work in the queue, worker); what it says is never too little."""
    orphans: deque[Chunk] = field(default_factory=deque)
    delayed: list[tuple[float, int, Chunk]] = field(default_factory=list)
    """A heap by the time before which nobody is to try again."""
    in_hand: OrderedDict[TaskRef, WorkerId] = field(default_factory=OrderedDict)
    """The oldest first."""
    copies_in_hand: int = 0
    over: bool = False
    shards_counted: int = 0
    rows_answered: int = 0
    """As workers count them: those that take part in the step."""
    answered_by: set[WorkerId] = field(default_factory=set)
    failed_on: set[WorkerId] = field(default_factory=set)
    paces: list[float] = field(default_factory=list)
    """Seconds per row of each answer."""
    tallies: dict[WorkerId, Tally] = field(default_factory=dict)
    _delays: int = 0
    _median: float = 0.0
    _median_of: int = 0
    """So many answers: sorted anew only once there are some more."""

    @property
    def complete(self) -> bool:
        """Whether every shard has been counted."""
        return self.shards_counted == self.n_shards

    def missing(self) -> list[Chunk]:
        """The chunks that are not counted."""
        return [chunk for chunk in self.chunks.values() if not chunk.counted]

    def put(self, chunk: Chunk, worker: WorkerId) -> None:
        """Queue a new chunk for a worker."""
        self.chunks[chunk.range] = chunk
        self.queues.setdefault(worker, deque()).append(chunk)
        self.queued_rows[worker] = self.queued_rows.get(worker, 0) + chunk.rows

    def next_own(self, worker: WorkerId) -> Chunk | None:
        """The next chunk of a worker's own queue; it stays where it is."""
        queue = self.queues.get(worker)
        while queue and queue[0].counted:
            self.queued_rows[worker] -= queue.popleft().rows
        return queue[0] if queue else None

    def draw_own(self, worker: WorkerId) -> Chunk | None:
        """Take the next chunk out of a worker's own queue."""
        chunk = self.next_own(worker)
        if chunk is not None:
            self.queues[worker].popleft()
            self.queued_rows[worker] -= chunk.rows
        return chunk

    def last_of(self, worker: WorkerId, number: int) -> list[Chunk]:
        """The chunks that a worker would come to last, the very last first; they stay where they are."""
        queue = self.queues.get(worker)
        while queue and queue[-1].counted:
            self.queued_rows[worker] -= queue.pop().rows
        return [chunk for chunk in islice(reversed(queue), number) if not chunk.counted] if queue else []

    def draw(self, chunk: Chunk, worker: WorkerId) -> None:
        """Take a chunk out of a worker's queue."""
        self.queues[worker].remove(chunk)
        self.queued_rows[worker] -= chunk.rows

    def draw_orphan(self, may_try: Callable[[Chunk], bool]) -> Chunk | None:
        """The first chunk that nobody has, of those that may be tried."""
        for _ in range(len(self.orphans)):
            chunk = self.orphans.popleft()
            if chunk.counted:
                continue
            if may_try(chunk):
                return chunk
            self.orphans.append(chunk)
        return None

    def orphan_queue(self, worker: WorkerId) -> None:
        """What a worker has not been given is for anybody."""
        self.orphans.extend(chunk for chunk in self.queues.pop(worker, ()) if not chunk.counted)
        self.queued_rows.pop(worker, None)

    def hold_back(self, chunk: Chunk, until: float) -> None:
        """Nobody is to try a chunk before a time."""
        self._delays += 1  # among equal times the first one first: chunks have no order
        heappush(self.delayed, (until, self._delays, chunk))

    def release_due(self, now: float) -> None:
        """Orphan those whose time has come."""
        while self.delayed and (self.delayed[0][0] <= now or self.delayed[0][2].counted):
            chunk = heappop(self.delayed)[2]
            if not chunk.counted:
                self.orphans.append(chunk)

    def count(self, chunk: Chunk) -> None:
        """Count a chunk that is missing."""
        assert not chunk.counted, f"shards {chunk.range} were counted before"
        chunk.counted = True
        self.shards_counted += chunk.range.size

    def tally(self, worker: WorkerId) -> Tally:
        """What a worker has done in this round."""
        return self.tallies.setdefault(worker, Tally())

    def median_pace(self) -> float:
        """Seconds per row that half of the answers have stayed below, or had a few answers ago; 0 before the first."""
        if len(self.paces) > 1.05 * self._median_of:
            self._median_of = len(self.paces)
            self._median = sorted(self.paces)[len(self.paces) // 2]
        return self._median

    def check(self) -> None:
        """Assert that each missing chunk is in exactly one place, and that every shard is in one chunk."""
        if not self.chunks or self.over:
            return
        places = [chunk for queue in self.queues.values() for chunk in queue]
        places += [*self.orphans, *(chunk for _, _, chunk in self.delayed)]
        places += [chunk for chunk in self.chunks.values() if chunk.holders]
        missing = [chunk for chunk in places if not chunk.counted]
        assert len(missing) == len(set(map(id, missing))), f"round {self.number}: a chunk is in two places"
        lost = {r for r, chunk in self.chunks.items() if not chunk.counted} - {c.range for c in missing}
        assert not lost, f"round {self.number}: shards {lost} are with nobody"
        assert sum(r.size for r in self.chunks) == self.n_shards
        assert sum(r.size for r, chunk in self.chunks.items() if chunk.counted) == self.shards_counted
        assert not any(chunk.counted and chunk.holders for chunk in self.chunks.values())
        for worker, queue in self.queues.items():
            assert self.queued_rows[worker] == sum(chunk.rows for chunk in queue), f"{worker}'s queue"
