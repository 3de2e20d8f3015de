"""The workers of the laboratory: they do what a worker's session does, in virtual time.

One task at a time, in the order they came. What was cancelled while it is being computed is computed to its end and
thrown away, because a kernel can't be stopped from outside.
"""

from collections import deque
from dataclasses import dataclass, field

from gradloom_coordinator.scheduling.events import TaskRef, WorkerId


@dataclass(slots=True, eq=False)
class Task:
    """A task in a machine's hands."""

    ref: TaskRef
    came_at: float
    started_at: float = 0.0
    load_s: float = 0.0
    wanted: bool = True

    def compute_s(self, ended_at: float) -> float:
        """How long it was computed."""
        return max(0.0, ended_at - self.started_at - self.load_s)


@dataclass(slots=True, eq=False)
class Machine:
    """One machine between its start and its death."""

    index: int
    worker: WorkerId
    alive: bool = True
    running: Task | None = None
    waiting: deque[Task] = field(default_factory=deque)
    cached: set[int] = field(default_factory=set)

    def take(self, refs: tuple[TaskRef, ...], now: float) -> None:
        """These are to be computed; those of earlier rounds are not wanted any more."""
        self.cancel(tuple(task.ref for task in self._in_hand() if task.ref.round < refs[0].round))
        self.waiting.extend(Task(ref, now) for ref in refs)

    def _in_hand(self) -> list[Task]:
        return [*self.waiting, *([self.running] if self.running is not None else [])]

    def begin(self, now: float, load_s_per_shard: float) -> Task | None:
        """Start the next task, if it is free and there is one."""
        if not self.alive or self.running is not None or not self.waiting:
            return None
        task = self.waiting.popleft()
        shards = set(range(*task.ref.range)) - self.cached
        self.cached |= shards
        task.started_at, task.load_s = now, load_s_per_shard * len(shards)
        self.running = task
        return task

    def give_up(self, refs: tuple[TaskRef, ...]) -> tuple[TaskRef, ...]:
        """Take what has not been started out of the line; those that were in it."""
        given_up = tuple(task.ref for task in self.waiting if task.ref in refs)
        self.waiting = deque(task for task in self.waiting if task.ref not in refs)
        return given_up

    def cancel(self, refs: tuple[TaskRef, ...]) -> None:
        """Nobody needs these any more."""
        self.give_up(refs)
        if self.running is not None and self.running.ref in refs:
            self.running.wanted = False
