"""A worker's runtime on a real socket: whatever ends a session or a task, it comes back, or leaves for good."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from builders.worker_talk import (
    JOB,
    LIMIT_S,
    FakeCoordinator,
    LongTask,
    failing_unspeakably,
    give_job,
    one,
    unsendable,
    worker_of,
)
from gradloom.settings import WorkerSettings
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom.wire.bundles import encode
from gradloom_worker import runtime as module
from gradloom_worker.runtime import Streams, WorkerRuntime
from gradloom_worker.session import STILL_COMPUTING


async def test_whatever_breaks_a_session_the_worker_comes_back(coordinator: FakeCoordinator) -> None:
    welcomes: list[str] = []

    def on_welcome(name: str) -> None:
        welcomes.append(name)
        if len(welcomes) == 1:
            raise KeyError("what nobody thought of")

    async with worker_of(coordinator, on_welcome):
        await coordinator.session()
        await coordinator.session()
    assert len(coordinator.hellos) == 2


@pytest.mark.parametrize("code", [grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED, grpc.StatusCode.OK])
async def test_however_a_session_ends_the_worker_comes_back(
    coordinator: FakeCoordinator, code: grpc.StatusCode
) -> None:
    async with worker_of(coordinator):
        (await coordinator.session()).end(code, "enough")
        await coordinator.session()


class Ended:
    """A stream that the other side has ended."""

    def __init__(self, words: str) -> None:
        self._words = words

    async def read(self) -> object:
        return grpc.aio.EOF

    async def write(self, message: bytes) -> None:
        raise asyncio.InvalidStateError("RPC already finished.")

    async def details(self) -> str:
        return self._words

    def cancel(self) -> None:
        pass


async def test_of_all_that_ends_with_a_session_the_coordinators_words_are_believed() -> None:
    runtime = WorkerRuntime(WorkerSettings(cache_bytes=1))
    reasons = set()
    for _ in range(20):
        runtime._streams = Streams()
        runtime._streams.send(worker_pb2.WorkerMessage())
        runtime._streams.bulk.control(b"")
        reasons.add(await runtime._pump(Ended("worker-1 is drained"), Ended(""), LIMIT_S))
    runtime._executor.close()
    assert reasons == {"the coordinator ended the session: worker-1 is drained"}


async def test_an_answer_that_cannot_be_sent_is_a_failure_and_the_next_task_is_computed(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    does(unsendable, one)
    async with worker_of(coordinator):
        talk = await coordinator.session()
        await give_job(talk, tmp_path)
        failed = await talk.hear("failed")
        assert (failed.task.lo, failed.reason) == (0, worker_pb2.FAILURE_REASON_EXCEPTION)
        assert failed.message.startswith("AssertionError: tensor 'sum' is complex128")
        assert (await talk.hear("partial")).task.lo == 1


async def test_no_memory_to_encode_an_answer_is_told_as_such(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    does(one, one)
    results = iter([MemoryError("Unable to allocate 9 GiB")])

    def encode_once_in_vain(partial: Tensors) -> Any:
        for error in results:
            raise error
        return encode(partial)

    monkeypatch.setattr(module, "encode", encode_once_in_vain)
    async with worker_of(coordinator):
        talk = await coordinator.session()
        await give_job(talk, tmp_path)
        failed = await talk.hear("failed")
        assert failed.reason == worker_pb2.FAILURE_REASON_OUT_OF_MEMORY
        assert failed.message == "out of memory: Unable to allocate 9 GiB"
        assert (await talk.hear("partial")).task.lo == 1


async def test_a_failure_in_words_that_utf8_cannot_carry_is_told_all_the_same(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    does(failing_unspeakably, one)
    async with worker_of(coordinator):
        talk = await coordinator.session()
        await give_job(talk, tmp_path)
        failed = await talk.hear("failed")
        assert failed.message == "ValueError: no such file: caf?.csv"
        assert "in failing_unspeakably" in failed.detail
        assert (await talk.hear("partial")).task.lo == 1


async def test_a_setup_that_is_not_understood_fails_its_job_and_not_the_session(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    does(one)
    async with worker_of(coordinator):
        talk = await coordinator.session()
        await give_job(talk, tmp_path, step=99, tasks=1)
        assert (await talk.hear("failed")).message == "step 99 is not known to this version of gradloom"
        await give_job(talk, tmp_path, tasks=1)
        assert (await talk.hear("partial")).task.job_id == JOB


async def test_a_worker_whose_task_hangs_does_not_come_back_and_ends_with_3(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    long = LongTask()
    does(long)
    async with asyncio.timeout(LIMIT_S), worker_of(coordinator, give_up_after_s=0.0) as running:
        talk = await coordinator.session()
        await give_job(talk, tmp_path, tasks=1)
        await long.computing.wait()
        talk.end(grpc.StatusCode.ABORTED, "task 0 took too long")
        again = await coordinator.session()
        assert (await again.hear("goodbye")).reason == STILL_COMPUTING
        again.end(grpc.StatusCode.OK, "")
        assert await running == 3
    long.may_end.set()
    assert coordinator.all == [talk, again]


@pytest.fixture
def put_off() -> Iterator[asyncio.Event]:
    """Set once a worker has said that it does not join because it is still computing."""
    said = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if STILL_COMPUTING in record.getMessage():
                said.set()

    listener = Listener()
    module.log.addHandler(listener)
    yield said
    module.log.removeHandler(listener)


async def test_a_worker_comes_back_once_the_task_that_nobody_waits_for_has_ended(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None], put_off: asyncio.Event
) -> None:
    long = LongTask()
    does(long, one)
    async with worker_of(coordinator):
        talk = await coordinator.session()
        await give_job(talk, tmp_path, tasks=1)
        await long.computing.wait()
        talk.end(grpc.StatusCode.ABORTED, "task 0 took too long")
        refused = await coordinator.session()
        assert (await refused.hear("goodbye")).reason == STILL_COMPUTING
        refused.end(grpc.StatusCode.OK, "")
        async with asyncio.timeout(LIMIT_S):
            await put_off.wait()
        assert coordinator.all == [talk, refused]
        long.may_end.set()
        again = await coordinator.session()
        await give_job(again, tmp_path, tasks=1)
        assert (await again.hear("partial")).task.lo == 0
