"""Computes one task at a time: in a thread of its own, so that heartbeats go on, or on the spot when it is tiny."""

import asyncio
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gradloom.errors import DataError, ShardChanged
from gradloom.jobs import RetryReason
from gradloom.tensors import Tensors
from gradloom_worker.session import Task
from gradloom_worker.shards import ShardStore
from gradloom_worker.work import Computed, JobWork, NonFinite

TINY_S = 0.0005
"""A task like one that took less is computed on the event loop: handing it to a thread would take as long."""
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

    def __init__(self, store: ShardStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._last_s: dict[tuple[str, str, int, int], float] = {}

    def submit(
        self, task: Task, work: JobWork, message: Tensors, done: Callable[[Task, Outcome], None]
    ) -> None:
        """Compute a task; ``done`` is called on the event loop, never before this returns."""
        loop = asyncio.get_running_loop()
        like = (task.job, work.step.value, *task.range)
        if self._last_s.get(like, TINY_S) < TINY_S:
            loop.call_soon(done, task, self._compute(like, task, work, message))
            return

        def run() -> None:
            outcome = self._compute(like, task, work, message)
            loop.call_soon_threadsafe(done, task, outcome)

        self._pool.submit(run)

    def forget(self, job: str) -> None:
        """The job is over."""
        self._last_s = {like: seconds for like, seconds in self._last_s.items() if like[0] != job}

    def close(self) -> None:
        """Take no more work; what is being computed is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compute(
        self, like: tuple[str, str, int, int], task: Task, work: JobWork, message: Tensors
    ) -> Outcome:
        start = time.perf_counter()
        try:
            outcome: Outcome = work.compute(task.range, message, self._store)
        except Exception as error:  # noqa: BLE001 - whatever it is, the coordinator must hear of it
            outcome = _failed(error)
        self._last_s[like] = time.perf_counter() - start
        return outcome


def _failed(error: Exception) -> Failed:
    lines = traceback.format_exception(error)
    detail = "".join(lines).splitlines()[-TRACEBACK_LINES:]
    match error:
        case MemoryError():
            reason, message = RetryReason.OUT_OF_MEMORY, f"out of memory: {error}"
        case NonFinite():
            reason, message = RetryReason.NONFINITE, error.message
        case ShardChanged():
            reason, message = RetryReason.SHARD_CHANGED, error.message
        case DataError():
            reason, message = RetryReason.BAD_DATA, error.message
        case _:
            reason, message = RetryReason.EXCEPTION, f"{type(error).__name__}: {error}"
    return Failed(reason, message, "\n".join(detail))
