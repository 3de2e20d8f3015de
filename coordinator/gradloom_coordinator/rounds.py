"""The ledger of one round: which shards have been counted, and how often each was tried.

A partial is accepted only while all of its range is missing, so every shard counts exactly once a round, however
often it was sent, retried, duplicated or late.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from gradloom.canonical import Range
from gradloom_coordinator.events import WorkerId


class Refusal(StrEnum):
    """Why a partial is not counted."""

    LATE = "its round is over"
    DUPLICATE = "its shards are counted already"
    UNKNOWN_JOB = "its job is not running"
    FOREIGN = "its shards are no node of the job's tree"
    WORKER_GONE = "its worker is gone"


@dataclass(slots=True)
class Round:
    """One round of one job."""

    number: int
    n_shards: int
    _counted: bytearray = field(init=False)
    _n_counted: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    """Failed tries of each shard that has failed."""
    failed_on: dict[int, set[WorkerId]] = field(default_factory=dict)
    """Workers on which each shard has failed: others are asked first."""
    deaths: dict[int, set[WorkerId]] = field(default_factory=dict)
    """Workers that were lost while they computed the shard."""
    sent_twice: bool = False
    """Whether any shard was ever given to a worker again."""
    answered_by: set[WorkerId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._counted = bytearray(self.n_shards)

    def counted(self, shards: Range) -> bool:
        """Whether any of these shards has been counted."""
        return self._counted.find(1, shards.lo, shards.hi) >= 0

    def count(self, shards: Range) -> bool:
        """Count these shards if all of them are missing; whether that was done."""
        if self.counted(shards):
            return False
        self._counted[shards.lo : shards.hi] = b"\x01" * shards.size
        self._n_counted += shards.size
        return True

    @property
    def closed(self) -> bool:
        """Whether every shard has been counted."""
        return self._n_counted == self.n_shards

    def failed(self, shards: Range, worker: WorkerId) -> int:
        """Note a failed try; the number of failed tries of the shard that has most."""
        for i in range(*shards):
            self.attempts[i] = self.attempts.get(i, 0) + 1
            self.failed_on.setdefault(i, set()).add(worker)
        return max(self.attempts[i] for i in range(*shards))

    def died_on(self, shards: Range, worker: WorkerId) -> int:
        """Note that a worker was lost on these shards; how many different ones were on the shard that has most."""
        for i in range(*shards):
            self.deaths.setdefault(i, set()).add(worker)
        return max(len(self.deaths[i]) for i in range(*shards))

    def avoid(self, shards: Range) -> frozenset[WorkerId]:
        """Workers on which any of these shards has failed."""
        return frozenset().union(*(self.failed_on.get(i, ()) for i in range(*shards)))

    def check(self, held: Iterable[Range]) -> None:
        """Assert that each missing shard is in somebody's hands or waits."""
        covered = bytearray(self._counted)
        for shards in held:
            covered[shards.lo : shards.hi] = b"\x01" * shards.size
        assert covered.find(0) < 0, f"round {self.number}: shard {covered.find(0)} is with nobody"
        assert sum(self._counted) == self._n_counted
