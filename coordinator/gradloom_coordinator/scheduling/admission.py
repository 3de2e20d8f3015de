"""Which big partials may come now: all of them together take no more memory than a limit. Pure.

A partial that was computed stays with its worker until it is asked for. What is on its way, and what waits in a sum
for its sibling, is counted against the limit; beyond it an offer waits, the one of the lowest shards first, since sums
grow from there. While nothing is on its way one offer is admitted whatever the limit: so nothing waits for ever, and a
limit that is too small makes rounds slower instead of stopping them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from gradloom_coordinator.scheduling.events import WorkerId


class Offer(NamedTuple):
    """A big partial that is wanted."""

    first_shard: int
    worker: WorkerId
    transfer_id: int
    byte_length: int


@dataclass(slots=True)
class Admission:
    """The offers of all jobs."""

    limit_bytes: int
    _waiting: list[Offer] = field(default_factory=list)
    """A heap."""
    _coming: dict[tuple[WorkerId, int], int] = field(default_factory=dict)
    """Bytes of those that were admitted."""

    def offer(self, offer: Offer) -> None:
        """It waits until it is admitted."""
        heappush(self._waiting, offer)

    def ended(self, worker: WorkerId, transfer_id: int) -> None:
        """It is here, or will not come."""
        self._coming.pop((worker, transfer_id), None)

    def admit(self, held_bytes: Callable[[], int], is_wanted: Callable[[WorkerId, int], bool]) -> list[Offer]:
        """Those that may come from now on; ``held_bytes``: what the sums hold."""
        admitted: list[Offer] = []
        if not self._waiting:
            return admitted
        taken = held_bytes() + sum(self._coming.values())
        while self._waiting:
            first = self._waiting[0]
            if not is_wanted(first.worker, first.transfer_id):
                heappop(self._waiting)
                continue
            if taken + first.byte_length > self.limit_bytes and self._coming:
                gone = [key for key in self._coming if not is_wanted(*key)]
                if not gone:
                    break
                taken -= sum(self._coming.pop(key) for key in gone)
                continue
            heappop(self._waiting)
            self._coming[first.worker, first.transfer_id] = first.byte_length
            taken += first.byte_length
            admitted.append(first)
        return admitted
