"""What this worker has left out of its partials, by job and shards, until it can be sent after all. Pure.

A lossy codec keeps a memory of what it did not send. That memory may be kept only once its partial is known to be
COUNTED: a partial that was refused, or came late, or lost against a copy, has changed nothing, and the gradient that it
was made of was counted elsewhere. So each encoding is a claim on older memories that ends in one of two ways:

- counted: the older memories are gone, for what they held was sent or is in the new one, which takes their place;
- not counted: the older memories stand as before, and the new one is thrown away.

The coordinator says which answers were counted with the round after (see Compute in worker.proto), before any task of
the same shards can come again. Hence at every moment, for a worker that stays:

    sum of what was counted of its partials + all memories it holds = sum of the gradients of those partials

Memories move to wherever they can be sent: a task takes up all memories whose shards overlap its own, and those of
shards that have not come again for a whole round, since a helper has them now. Nothing here depends on clocks or order
within a round, but a worker that is lost takes its memories with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gradloom.canonical import Range
from gradloom.codecs import Memory, folded
from gradloom_worker.events import JobId, Task

Memories = Mapping[str, Memory]
"""Of one partial, by tensor."""
Key = tuple[int, Range]
"""Round and shards: all attempts at them are alike, since they take up the same memories."""


@dataclass(slots=True, eq=False)
class Held:
    """Memories that nobody else has."""

    range: Range
    memories: Memories
    since: int
    """The round of the partial that has left them out."""
    claim: Key | None = None
    """The encoding that has taken them up, as long as it is undecided."""


@dataclass(slots=True, eq=False)
class Claim:
    """One encoding whose partial is undecided."""

    taken_up: list[Held]
    left_over: Memories | None = None
    """None until it is encoded."""
    sent: bool = False


@dataclass(slots=True)
class JobResiduals:
    """The memories of one job."""

    held: list[Held] = field(default_factory=list)
    claims: dict[Key, Claim] = field(default_factory=dict)
    decided_below: int = 0
    """Every answer to a round below it is decided."""

    def take_up(self, task: Task, *, everything: bool = False) -> tuple[Memories, ...]:
        """What the encoding of a task is to add to its gradients; ``everything``: whatever nobody else takes up."""
        key = (task.round, task.range)
        # no task comes for shards whose last answer is undecided: what was not said to be counted is not
        for other in [k for k in self.claims if k[0] < task.round and _overlap(k[1], task.range)]:
            self._not_counted(other)
        if (claim := self.claims.get(key)) is None:
            wanted = [h for h in self.held if h.claim is None and (everything or self._is_for(h, task))]
            for held in wanted:
                held.claim = key
            claim = self.claims[key] = Claim(wanted)
        return tuple(held.memories for held in claim.taken_up)

    def holds_more_than(self, task: Task) -> bool:
        """Whether there is something that the task has not taken up, or that may come to be held again."""
        key = (task.round, task.range)
        return any(held.claim != key for held in self.held) or any(k[0] < task.round for k in self.claims)

    def _is_for(self, held: Held, task: Task) -> bool:
        return _overlap(held.range, task.range) or held.since + 1 < task.round

    def encoded(self, task: Task, left_over: Memories) -> None:
        """A task's partial is encoded; it may be sent."""
        key = (task.round, task.range)
        if (claim := self.claims.get(key)) is not None:
            claim.left_over = left_over
            if task.round < self.decided_below:
                self._not_counted(key)

    def sent(self, task: Task) -> None:
        """A task's partial is on its way: only the coordinator knows whether it will be counted."""
        if (claim := self.claims.get((task.round, task.range))) is not None:
            claim.sent = True

    def dropped(self, task: Task) -> None:
        """A task came to nothing here; if an earlier try at it was sent, that one is still undecided."""
        key = (task.round, task.range)
        if (claim := self.claims.get(key)) is not None and not claim.sent:
            self._not_counted(key)

    def decide(self, counted: Iterable[Key], below: int) -> None:
        """These were counted; of the rounds before ``below`` nothing else was, nor will be."""
        for key in counted:
            if (claim := self.claims.pop(key, None)) is not None and claim.left_over is not None:
                gone = set(map(id, claim.taken_up))
                self.held = [held for held in self.held if id(held) not in gone]
                if claim.left_over:
                    self.held.append(Held(key[1], claim.left_over, since=key[0]))
        self.decided_below = max(self.decided_below, below)
        for key in [key for key in self.claims if key[0] < below and self.claims[key].left_over is not None]:
            self._not_counted(key)

    def _not_counted(self, key: Key) -> None:
        for held in self.claims.pop(key).taken_up:
            held.claim = None


class Residuals:
    """The memories of all jobs."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, JobResiduals] = {}

    def of(self, job: JobId) -> JobResiduals:
        """A job's memories; none at first."""
        return self._jobs.setdefault(job, JobResiduals())

    def find(self, job: JobId) -> JobResiduals:
        """The same, for a job that may be over: nothing is kept of it then."""
        return self._jobs.get(job) or JobResiduals()

    def forget(self, job: JobId) -> None:
        """The job is over, or set back."""
        self._jobs.pop(job, None)

    def clear(self) -> None:
        """A new session: the coordinator does not know what of ours was counted."""
        self._jobs.clear()

    @property
    def nbytes(self) -> int:
        """Memory of all that is held or undecided."""
        kept = [held.memories for job in self._jobs.values() for held in job.held]
        kept += [claim.left_over or {} for job in self._jobs.values() for claim in job.claims.values()]
        return sum(memory.nbytes for memories in kept for memory in memories.values())


def joined(taken_up: Iterable[Memories]) -> dict[str, Memory]:
    """Several partials' memories as one."""
    by_tensor: dict[str, list[Memory]] = {}
    for memories in taken_up:
        for name, memory in memories.items():
            by_tensor.setdefault(name, []).append(memory)
    return {name: one for name, several in by_tensor.items() if (one := folded(several)) is not None}


def _overlap(left: Range, right: Range) -> bool:
    return left.lo < right.hi and right.lo < left.hi
