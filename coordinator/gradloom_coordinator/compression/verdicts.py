"""Which answers of each worker were counted, as long as it may not know. Pure.

A worker that sends less than it computed keeps the rest only for answers that were counted, so it must hear of every
one. It is told with the first Compute of a round, again and again, until it answers a task of a round in which it was
told: by then it has heard. That holds across streams that break, and needs no message of its own.
"""

from dataclasses import dataclass, field

from gradloom_coordinator.scheduling.events import TaskRef, WorkerId


@dataclass(slots=True)
class Verdicts:
    """Of one job."""

    tracks: bool = False
    """Whether workers may hold something back: from the first codec with a memory on, for good."""
    holders: set[WorkerId] = field(default_factory=set)
    """Workers of which an answer was counted that had left something out."""
    _counted: dict[WorkerId, dict[TaskRef, int]] = field(default_factory=dict)
    """With the round in which the worker was last told of it; 0 = not yet."""

    def count(self, worker: WorkerId, task: TaskRef, *, left_over: bool = True) -> None:
        """An answer was counted; ``left_over``: its worker keeps what it has left out."""
        if not self.tracks:
            return
        self._counted.setdefault(worker, {})[task] = 0
        if left_over:
            self.holders.add(worker)
        else:
            self.holders.discard(worker)

    def tell(self, worker: WorkerId, round_number: int) -> list[TaskRef]:
        """What a worker is to be told with a Compute of this round."""
        counted = self._counted.get(worker, {})
        for task in counted:
            counted[task] = round_number
        return list(counted)

    def answered(self, worker: WorkerId, task: TaskRef) -> None:
        """A worker answers: it has heard all that it was told up to the task's round."""
        if counted := self._counted.get(worker):
            self._counted[worker] = {
                known: told for known, told in counted.items() if not 0 < told <= task.round
            }

    def gone(self, worker: WorkerId) -> bool:
        """A worker is gone for good; whether it has taken something with it."""
        self._counted.pop(worker, None)
        held = worker in self.holders
        self.holders.discard(worker)
        return held

    def all_gone(self) -> None:
        """No worker holds anything any more."""
        self.holders.clear()
        self._counted.clear()
