"""One task at a time, beside the event loop; whatever goes wrong has a typed reason."""

import asyncio
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest

from builders.averaging import Averaging, manifest_of, write_rows
from gradloom.canonical import Range
from gradloom.data.preparation import Preparation, Split
from gradloom.data.shard import Shard
from gradloom.errors import DataError, DataUnreachable, GradloomError, ShardChanged
from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom.tensors import Tensors
from gradloom_worker import executor as module
from gradloom_worker.events import Task
from gradloom_worker.executor import Executor, Failed, Outcome
from gradloom_worker.shards import ShardStore
from gradloom_worker.work import Computed, JobWork, NonFinite

TASK = Task("job", 1, Range(0, 1), 1)
MEAN: Tensors = {"mean": np.zeros(1)}


@dataclass(frozen=True)
class Doing(Averaging):
    """Maps by doing what a test wants."""

    do: Callable[[], None] = lambda: None

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        self.do()
        return Averaging.map(self, shard, message)


@pytest.fixture
def work(tmp_path: Path) -> JobWork:
    manifest = manifest_of(write_rows(tmp_path, [1.0, 2.0, 3.0]), 1)
    preparation = Preparation(Split(), "float64", None, (), (), ())
    plans = {0: manifest.shards[0]}
    return JobWork(Step.TRAIN, Averaging(), 1, "data", "how", manifest, Split(), preparation, plans)


@pytest.fixture
async def executor() -> AsyncIterator[Executor]:
    executor = Executor(ShardStore(1 << 20), lambda _: None)
    yield executor
    executor.close()


def doing(work: JobWork, do: Callable[[], None]) -> JobWork:
    return replace(work, algorithm=Doing(do=do))


async def outcome_of(executor: Executor, work: JobWork, task: Task = TASK) -> Outcome:
    ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    executor.submit(task, work, MEAN, lambda _, outcome: ended.set_result(outcome))
    assert not ended.done(), "never before submit returns"
    async with asyncio.timeout(10):
        return await ended


async def test_a_task_is_computed(executor: Executor, work: JobWork) -> None:
    outcome = await outcome_of(executor, work)
    assert isinstance(outcome, Computed)
    assert outcome.partial["error"].tolist() == [6.0]
    assert outcome.rows == 3


async def test_the_event_loop_goes_on_while_a_task_is_computed(executor: Executor, work: JobWork) -> None:
    may_end, threads = threading.Event(), []

    def wait() -> None:
        threads.append(threading.current_thread().name)
        assert may_end.wait(10)

    computing = asyncio.ensure_future(outcome_of(executor, doing(work, wait)))
    await asyncio.sleep(0)
    assert not computing.done()
    may_end.set()
    assert isinstance(await computing, Computed)
    assert threads[0].startswith("compute")


async def test_a_task_like_one_that_was_tiny_is_computed_on_the_spot(
    executor: Executor, work: JobWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    noting = doing(work, lambda: threads.append(threading.current_thread()))
    monkeypatch.setattr(module, "TINY_S", 1e9)
    await outcome_of(executor, work)
    assert isinstance(await outcome_of(executor, noting, replace(TASK, round=2)), Computed)
    assert threads == [threading.current_thread()]


async def test_a_tiny_task_whose_shard_is_no_longer_in_memory_never_blocks_the_loop(
    work: JobWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    noting = doing(work, lambda: threads.append(threading.current_thread()))
    monkeypatch.setattr(module, "TINY_S", 1e9)
    executor = Executor(ShardStore(1), lambda _: None)  # room for the shard that was used last
    for job_work in (noting, replace(noting, source_key="other"), noting):
        await outcome_of(executor, job_work)
    executor.close()
    assert len(threads) == 3
    assert threading.current_thread() not in threads


async def test_a_task_that_is_not_known_to_be_tiny_never_blocks_the_loop(
    executor: Executor, work: JobWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    noting = doing(work, lambda: threads.append(threading.current_thread()))
    monkeypatch.setattr(module, "TINY_S", 0.0)
    for number in (1, 2):
        await outcome_of(executor, noting, replace(TASK, round=number))
    assert threading.current_thread() not in threads


async def test_what_was_measured_is_forgotten_with_the_job(executor: Executor, work: JobWork) -> None:
    await outcome_of(executor, work)
    await outcome_of(executor, work, replace(TASK, job="other"))
    executor.forget("job")
    assert set(executor._last_s) == {"other"}


async def test_a_task_that_ends_after_its_job_leaves_nothing_behind(
    executor: Executor, work: JobWork
) -> None:
    may_end = threading.Event()
    computing = asyncio.ensure_future(outcome_of(executor, doing(work, lambda: assert_set(may_end))))
    await asyncio.sleep(0)
    executor.forget("job")
    may_end.set()
    assert isinstance(await computing, Computed)
    assert executor._last_s == {}


async def test_what_was_measured_is_written_on_the_event_loop_alone(
    executor: Executor, work: JobWork
) -> None:
    writers: list[threading.Thread] = []

    class Noting(dict[tuple[str, int, int], float]):
        def __setitem__(self, key: tuple[str, int, int], value: float) -> None:
            writers.append(threading.current_thread())
            super().__setitem__(key, value)

    executor._last_s["job"] = Noting()
    await outcome_of(executor, work)
    assert writers == [threading.current_thread()]


def test_the_thread_holds_no_broadcast_while_it_waits_for_work() -> None:
    broadcast = np.zeros(1)
    gone = weakref.ref(broadcast)
    held_when_idle: list[bool] = []

    class Work(SimpleQueue[Callable[[], None] | None]):
        def get(self, block: bool = True, timeout: float | None = None) -> Callable[[], None] | None:
            held_when_idle.append(gone() is not None)
            return super().get(block, timeout)

    work = Work()
    work.put(partial(np.sum, broadcast))
    work.put(None)
    del broadcast
    module._serve(work)
    assert held_when_idle == [True, False]


HUNG = """
import asyncio, threading
from gradloom.canonical import Range
from gradloom.steps import Step
from gradloom_worker.executor import Executor
from gradloom_worker.events import Task
from gradloom_worker.shards import ShardStore

class Hung:
    step = Step.TRAIN

    def compute(self, *_):
        print("computing", flush=True)
        threading.Event().wait()

async def main():
    executor = Executor(ShardStore(1), lambda _: None)
    executor.submit(Task("job", 1, Range(0, 1), 1), Hung(), {}, print)
    executor.close()

asyncio.run(main())
"""


def test_the_process_ends_though_a_task_never_does() -> None:
    done = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_task_that_ends_after_the_loop_is_closed_harms_nobody(work: JobWork) -> None:
    may_end, ended = threading.Event(), threading.Event()
    executor = Executor(ShardStore(1 << 20), lambda _: None)
    waiting = doing(work, lambda: assert_set(may_end))

    async def submit() -> None:
        executor.submit(TASK, waiting, MEAN, lambda *_: None)
        executor._work.put(ended.set)

    await asyncio.to_thread(asyncio.run, submit())
    may_end.set()
    assert await asyncio.to_thread(ended.wait, 10), "the thread lives on"
    executor.close()


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


def raising(error: Exception) -> Callable[[], None]:
    def do() -> None:
        raise error

    return do


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (MemoryError("Unable to allocate 9 GiB"), RetryReason.OUT_OF_MEMORY, "out of memory: Unable to"),
        (NonFinite("the partial holds NaN"), RetryReason.NONFINITE, "the partial holds NaN"),
        (ShardChanged("a.csv", "is not the one"), RetryReason.SHARD_CHANGED, "a.csv: is not the one"),
        (DataError("a.csv", "line 7 is short"), RetryReason.BAD_DATA, "a.csv: line 7 is short"),
        (DataUnreachable("a.csv", "no such file"), RetryReason.EXCEPTION, "a.csv: no such file"),
        (ZeroDivisionError("division by zero"), RetryReason.EXCEPTION, "ZeroDivisionError: division by zero"),
        (KeyError("w"), RetryReason.EXCEPTION, "KeyError: 'w'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_every_failure_has_a_typed_reason_and_the_unforeseen_a_traceback(
    executor: Executor, work: JobWork, error: Exception, reason: RetryReason, message: str
) -> None:
    outcome = await outcome_of(executor, doing(work, raising(error)))
    assert isinstance(outcome, Failed)
    assert outcome.reason is reason
    assert outcome.message.startswith(message)
    assert ("in do" in outcome.detail) is not isinstance(error, GradloomError)
    assert len(outcome.detail.splitlines()) <= module.TRACEBACK_LINES


async def test_numpys_own_out_of_memory_is_one(executor: Executor, work: JobWork) -> None:
    outcome = await outcome_of(executor, doing(work, lambda: np.empty(1 << 60, np.uint8).sum()))
    assert isinstance(outcome, Failed)
    assert outcome.reason is RetryReason.OUT_OF_MEMORY


async def test_a_shard_that_was_never_assigned_is_a_failure_of_the_task(
    executor: Executor, work: JobWork
) -> None:
    outcome = await outcome_of(executor, replace(work, plans={}))
    assert isinstance(outcome, Failed)
    assert outcome.reason is RetryReason.EXCEPTION


async def test_after_a_failure_the_next_task_is_computed(executor: Executor, work: JobWork) -> None:
    await outcome_of(executor, doing(work, raising(ValueError("no"))))
    assert isinstance(await outcome_of(executor, work), Computed)
