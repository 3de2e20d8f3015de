"""Computes one task at a time: in a thread of its own, so that heartbeats go on, or on the spot when it is tiny.

The next task is submitted only once the one before has ended: the shard store has one user at any time, and needs
no lock.
"""

import asyncio
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue

from gradloom.canonical import Range
from gradloom.codecs import NotFinite
from gradloom.errors import DataError, DataUnreachable, GradloomError, ShardChanged
from gradloom.jobs import RetryReason
from gradloom.tensors import Tensors
from gradloom_worker.chaos import Slowness
from gradloom_worker.events import Task
from gradloom_worker.phases import Doing
from gradloom_worker.shards import ShardStore
from gradloom_worker.uplinks import Packing
from gradloom_worker.work import Computed, JobWork, NonFinite

TINY_S = 0.0005
"""A task like one that took less is computed on the event loop if its shards are in memory: handing it to a thread
would take as long."""
TRACEBACK_LINES = 12


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a task has no partial."""

    reason: RetryReason
    message: str
    detail: str


Outcome = Computed | Failed


class Executor:
    """One compute thread over one shard store."""

    def __init__(
        self,
        store: ShardStore,
        switch: Callable[[Doing], None],
        slowness: Slowness | None = None,
        spoil: Callable[[Computed, Range], None] = lambda _, __: None,
    ) -> None:
        self._store = store
        self._switch = switch
        self._slowness = slowness
        self._spoil = spoil
        self.busy = False
        """Whether a task is in hand; it is the executor then that says what the process does."""
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._last_s: dict[str, dict[tuple[str, int, int], float]] = {}
        """Of each job: what its tasks took when they were last computed. Read and written on the event loop."""
        # a daemon: the interpreter would wait at its end for any other thread, for as long as its task takes
        threading.Thread(target=_serve, args=(self._work,), name="compute", daemon=True).start()

    def submit(
        self,
        task: Task,
        work: JobWork,
        message: Tensors,
        done: Callable[[Task, Outcome], None],
        packing: Packing | None = None,
    ) -> None:
        """Compute a task; ``done`` is called on the event loop, never before this returns.

        Only once the task before is done. On the spot means on the event loop: what reads no file and took less
        than TINY_S when it was last computed.
        """
        loop = asyncio.get_running_loop()
        like = (work.step.value, *task.range)
        # forgotten with the job, so a task that ends later than its job leaves nothing behind
        last_s = self._last_s.setdefault(task.job, {})

        def end(outcome: Outcome, seconds: float) -> None:
            last_s[like] = seconds
            self.busy = False
            done(task, outcome)

        def compute_in_thread() -> None:
            result = self._compute(task, work, message, packing)
            with suppress(RuntimeError):  # the loop is closed: the worker has left meanwhile
                loop.call_soon_threadsafe(end, *result)

        self.busy = True
        self._switch(Doing.QUEUE)
        is_tiny = last_s.get(like, TINY_S) < TINY_S and work.is_loaded(task.range, self._store)
        if is_tiny and not (self._slowness is not None and self._slowness.active):
            loop.call_soon(end, *self._compute(task, work, message, packing))
        else:
            self._work.put(compute_in_thread)

    def forget(self, job: str) -> None:
        """The job is over."""
        self._last_s.pop(job, None)

    def close(self) -> None:
        """Take no more work; what is being computed is not waited for, and ends with the process at the latest."""
        self._work.put(None)

    def _compute(
        self, task: Task, work: JobWork, message: Tensors, packing: Packing | None
    ) -> tuple[Outcome, float]:
        """What became of the task, and how many seconds it took."""
        start = time.perf_counter()
        try:
            computed = work.compute(task.range, message, self._store, self._switch)
            if self._slowness is not None and self._slowness.active:
                computed = self._slowness.stretch(computed)
            self._spoil(computed, task.range)
            if packing is not None:
                self._switch(Doing.ENCODE)
                computed = packing.apply(computed)
            outcome: Outcome = computed
        except Exception as error:  # noqa: BLE001 - whatever it is, the coordinator must hear of it
            outcome = failure_of(error)
        return outcome, time.perf_counter() - start


def _serve(work: SimpleQueue[Callable[[], None] | None]) -> None:
    while (compute := work.get()) is not None:
        compute()
        del compute  # it holds the broadcast of its task


def failure_of(error: Exception) -> Failed:
    """The typed reason, sentence and traceback of what was raised for a task."""
    # what our own errors say is whole
    lines = [] if isinstance(error, GradloomError) else traceback.format_exception(error)
    detail = "".join(lines).splitlines()[-TRACEBACK_LINES:]
    match error:
        case MemoryError():
            reason, message = RetryReason.OUT_OF_MEMORY, f"out of memory: {error}"
        case NonFinite() | NotFinite():
            reason, message = RetryReason.NONFINITE, error.message
        case ShardChanged():
            reason, message = RetryReason.SHARD_CHANGED, error.message
        case DataUnreachable():
            # another worker may have the mount, or the right, that this one lacks
            reason, message = RetryReason.EXCEPTION, error.message
        case DataError():
            reason, message = RetryReason.BAD_DATA, error.message
        case _:
            reason, message = RetryReason.EXCEPTION, f"{type(error).__name__}: {error}"
    return Failed(reason, message, "\n".join(detail))
