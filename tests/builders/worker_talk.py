"""A worker's runtime on a real socket, and a coordinator that says what a test tells it to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from builders.averaging import Averaging, manifest_of, write_rows
from gradloom.data.preparation import Preparation, Split
from gradloom.data.shard import Shard
from gradloom.settings import WorkerSettings
from gradloom.steps import Step
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom.wire.bundles import bundle_of, encode
from gradloom.wire.data import preparation_to_proto, shard_to_proto, source_to_proto
from gradloom.wire.steps import step_to_proto
from gradloom_worker.runtime import WorkerRuntime
from gradloom_worker.session import Backoff, Session

LIMIT_S = 20.0
JOB = "averaging-1"


@dataclass
class Talk:
    """One session of the worker, as its coordinator sees it."""

    context: Any
    ended: "asyncio.Future[tuple[grpc.StatusCode, str]]"

    async def say(self, **kind: Any) -> None:
        await self.context.write(worker_pb2.CoordinatorMessage(**kind).SerializeToString())

    async def hear(self, kind: str) -> Any:
        """The next message of this kind."""
        async with asyncio.timeout(LIMIT_S):
            while (word := await self.context.read()) is not grpc.aio.EOF:
                message = worker_pb2.WorkerMessage.FromString(word)
                if message.WhichOneof("kind") == kind:
                    return getattr(message, kind)
        raise AssertionError(f"the session ended before {kind}")

    def end(self, code: grpc.StatusCode, words: str) -> None:
        if not self.ended.done():
            self.ended.set_result((code, words))


class FakeCoordinator(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Welcomes whoever comes; each session is a ``Talk`` for the test."""

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.bulk: Any = None
        """The newest bulk stream."""
        self.resumes = False
        """Whether it knows the sessions that broke off."""
        self.hellos: list[worker_pb2.Hello] = []
        self.all: list[Talk] = []
        self._new: asyncio.Queue[Talk] = asyncio.Queue()

    def service(self, details: Any) -> Any:
        session = details.method.endswith("/Session")
        return grpc.stream_stream_rpc_method_handler(self._session if session else self._bulk)

    async def session(self) -> Talk:
        """The next session that a worker opened."""
        async with asyncio.timeout(LIMIT_S):
            return await self._new.get()

    async def _session(self, _: Any, context: Any) -> None:
        talk = Talk(context, asyncio.get_running_loop().create_future())
        self.all.append(talk)
        self.hellos.append(await talk.hear("hello"))
        resumed = self.resumes and bool(self.hellos[-1].resume_token)
        welcome = worker_pb2.Welcome(
            worker="worker-1", session_token="t", heartbeat_interval_seconds=LIMIT_S, resumed=resumed
        )
        await talk.say(welcome=welcome)
        self._new.put_nowait(talk)
        code, words = await talk.ended
        if code is not grpc.StatusCode.OK:
            await context.abort(code, words)

    async def _bulk(self, _: Any, context: Any) -> None:
        self.bulk = context
        await self.all[-1].ended


@asynccontextmanager
async def worker_of(
    coordinator: FakeCoordinator,
    on_welcome: Callable[[str], None] = lambda _: None,
    give_up_after_s: float = LIMIT_S,
    runtimes: list[WorkerRuntime] | None = None,
) -> AsyncIterator["asyncio.Task[int]"]:
    """A worker that connects again at once; what runs it, as a task."""
    settings = WorkerSettings(coordinator=coordinator.address, cache_bytes=1 << 20)
    runtime = WorkerRuntime(settings, on_welcome=on_welcome)
    runtime._session = Session(Backoff(base_s=0.0, give_up_after_s=give_up_after_s))
    if runtimes is not None:
        runtimes.append(runtime)
    running = asyncio.create_task(runtime.run())
    try:
        yield running
    finally:
        for _ in range(2):
            runtime.leave("the test is over")
        for talk in coordinator.all:
            talk.end(grpc.StatusCode.OK, "")
        await running


@dataclass(frozen=True)
class Doing(Averaging):
    """Maps by doing what a test wants, one thing after the other."""

    things: Iterator[Callable[[], Tensors]] = field(default_factory=lambda: iter(()))

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        return next(self.things)()


class LongTask:
    """A task that computes until it may end."""

    def __init__(self, partial: Tensors | None = None) -> None:
        self.computing, self.may_end = asyncio.Event(), threading.Event()
        self._loop, self._partial = asyncio.get_running_loop(), partial

    def __call__(self) -> Tensors:
        self._loop.call_soon_threadsafe(self.computing.set)
        assert self.may_end.wait(2 * LIMIT_S)
        return one() if self._partial is None else self._partial


async def give_job(talk: Talk, folder: Path, step: int = step_to_proto(Step.TRAIN), tasks: int = 2) -> None:
    """A job of a few tasks, shard by shard."""
    manifest = manifest_of(write_rows(folder, [1.0, 2.0, 3.0, 4.0]), tasks)
    setup = worker_pb2.Setup(
        job_id=JOB,
        step=step,  # type: ignore[arg-type]
        algorithm="averaging",
        algorithm_version=1,
        source=source_to_proto(manifest),
        n_shards=tasks,
        preparation=preparation_to_proto(Preparation(Split(), "float64", None, (), (), ())),
    )
    shards = [shard_to_proto(plan) for plan in manifest.shards]
    ranges = [worker_pb2.TaskRange(lo=i, hi=i + 1, attempt=1) for i in range(tasks)]
    broadcast = bundle_of(encode({"mean": np.zeros(1)}), 0)
    await talk.say(setup=setup)
    await talk.say(assign_shards=worker_pb2.AssignShards(job_id=JOB, shards=shards))
    await talk.say(compute=worker_pb2.Compute(job_id=JOB, round=1, broadcast=broadcast, tasks=ranges))


def one() -> Tensors:
    return {"sum": np.ones(1)}


def unsendable() -> Tensors:
    return {"sum": np.ones(1, dtype=np.complex128)}


def failing_unspeakably() -> Tensors:
    raise ValueError("no such file: caf\udce9.csv")
