"""What the executor made of tasks, kept for a session that breaks: the newest answers, within a limit of memory."""

from dataclasses import dataclass

from gradloom_worker.events import Task
from gradloom_worker.executor import Failed, Outcome

KEPT_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Kept:
    """One answer."""

    outcome: Outcome
    transfer_id: int = 0
    """Of its bytes on the bulk stream; 0 = it went inline, or has not been sent."""

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        if isinstance(self.outcome, Failed):
            return 0
        return sum(array.nbytes for array in self.outcome.partial.values())


class Answers:
    """The answers that may have to be said again; the oldest go first when they take too much memory."""

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: dict[Task, Kept] = {}
        self.nbytes = 0

    def keep(self, task: Task, outcome: Outcome) -> None:
        """Keep what came of a task, whatever its size, until ``trim``."""
        self.forget(task)
        self._kept[task] = kept = Kept(outcome)
        self.nbytes += kept.nbytes

    def get(self, task: Task) -> Kept | None:
        """What is kept of a task."""
        return self._kept.get(task)

    def forget(self, task: Task) -> Kept | None:
        """Keep an answer no longer; what was kept of it."""
        kept = self._kept.pop(task, None)
        if kept is not None:
            self.nbytes -= kept.nbytes
        return kept

    def trim(self) -> None:
        """Forget the oldest answers until the others fit."""
        while self.nbytes > self._limit:
            self.forget(next(iter(self._kept)))
