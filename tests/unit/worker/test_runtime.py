"""A worker over real streams, opposite a coordinator that says and does what a test wants: nothing silences it."""

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from builders.averaging import Averaging, manifest_of, write_rows
from gradloom.data.preparation import Preparation, Split
from gradloom.data.shard import Shard
from gradloom.settings import WorkerSettings
from gradloom.steps import Step
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom.wire.bundles import bundle_of, encode
from gradloom.wire.data import preparation_to_proto, shard_to_proto, source_to_proto
from gradloom.wire.frames import credit_frame, parse_frame
from gradloom.wire.steps import step_to_proto
from gradloom_worker import messages
from gradloom_worker import runtime as module
from gradloom_worker.runtime import Streams, WorkerRuntime
from gradloom_worker.session import STILL_COMPUTING, Backoff, Session

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


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    fake = FakeCoordinator()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((fake,))
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield fake
    await server.stop(0)


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


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it with what the job's tasks do."""

    def set_up(*things: Callable[[], Tensors]) -> None:
        algorithm = Doing(things=iter(things))
        monkeypatch.setattr(messages, "build", lambda name, settings: algorithm)

    return set_up


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


# ---- sessions that break


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


# ---- tasks that fail


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


# ---- tasks that hang


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


# ---- sessions that are resumed


async def test_after_a_break_the_answers_are_said_again_and_what_is_computed_is_still_answered(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    coordinator.resumes = True
    long = LongTask()
    does(one, long)
    async with worker_of(coordinator):
        talk = await coordinator.session()
        await give_job(talk, tmp_path, tasks=2)
        first = await talk.hear("partial")
        await long.computing.wait()
        talk.end(grpc.StatusCode.UNAVAILABLE, "reset")
        again = await coordinator.session()
        hello = coordinator.hellos[1]
        assert (hello.resume_token, hello.computing.lo) == ("t", 1)
        repeated = await again.hear("partial")
        assert (repeated.task, repeated.bundle) == (first.task, first.bundle)
        long.may_end.set()
        assert (await again.hear("partial")).task.lo == 1


async def test_a_big_answer_is_offered_again_after_a_break(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    coordinator.resumes = True
    does(lambda: {"sum": np.ones(100_000)})
    async with worker_of(coordinator):
        talk = await coordinator.session()
        await give_job(talk, tmp_path, tasks=1)
        first = (await talk.hear("partial")).bundle
        assert first.transfer_id
        talk.end(grpc.StatusCode.UNAVAILABLE, "reset")
        again = (await (await coordinator.session()).hear("partial")).bundle
        assert again.transfer_id != first.transfer_id
        assert again.byte_length == first.byte_length == 800_000


async def test_a_cancelled_answer_is_neither_kept_nor_sent(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    does(lambda: {"sum": np.ones(100_000)}, one)
    runtimes: list[WorkerRuntime] = []
    async with worker_of(coordinator, runtimes=runtimes):
        talk = await coordinator.session()
        await give_job(talk, tmp_path, tasks=1)
        offered = await talk.hear("partial")
        (runtime,) = runtimes
        assert runtime._streams.bulk.pending
        assert runtime._answers.nbytes == 800_000
        await talk.say(cancel=worker_pb2.Cancel(tasks=[offered.task]))
        await talk.say(take_back=worker_pb2.TakeBack(tasks=[offered.task]))
        assert not (await talk.hear("given_up")).tasks, "it was answered, and no longer waits"
        assert not runtime._streams.bulk._transfers
        assert runtime._answers.nbytes == 0


async def test_tasks_that_wait_are_given_up_when_they_are_asked_for(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    long = LongTask()
    does(long, one)
    async with worker_of(coordinator):
        talk = await coordinator.session()
        await give_job(talk, tmp_path, tasks=3)
        await long.computing.wait()
        keys = [worker_pb2.TaskKey(job_id=JOB, round=1, lo=i, hi=i + 1, attempt=1) for i in (0, 2)]
        await talk.say(take_back=worker_pb2.TakeBack(tasks=keys))
        assert [key.lo for key in (await talk.hear("given_up")).tasks] == [2]
        long.may_end.set()
        assert [(await talk.hear("partial")).task.lo for _ in range(2)] == [0, 1]


async def test_a_coordinator_that_never_welcomes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gradloom_worker.calling.WELCOME_LIMIT_S", 0.05)
    connections: asyncio.Queue[None] = asyncio.Queue()

    def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.append(writer)
        connections.put_nowait(None)

    open_ends: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with worker_of(FakeCoordinator(f"{host}:{port}")), asyncio.timeout(LIMIT_S):
        for _ in range(2):
            await connections.get()
    assert f"no Welcome from {host}:{port} within 0.05 s" in caplog.text
    for writer in open_ends:
        writer.close()
    server.close()


# ---- leaving


async def test_a_worker_that_an_operator_drains_answers_gives_back_and_leaves(
    coordinator: FakeCoordinator, tmp_path: Path, does: Callable[..., None]
) -> None:
    long = LongTask({"sum": np.ones(100_000)})
    does(long)
    async with worker_of(coordinator) as running:
        talk = await coordinator.session()
        await give_job(talk, tmp_path, tasks=2)
        await long.computing.wait()
        await talk.say(drain=worker_pb2.Drain(reason="the machine is needed"))
        assert (await talk.hear("draining")).reason == "the machine is needed"
        assert [key.lo for key in (await talk.hear("given_up")).tasks] == [1]
        long.may_end.set()
        offered = (await talk.hear("partial")).bundle.transfer_id
        assert not running.done(), "its answer is not written"
        await coordinator.bulk.write(credit_frame(offered, 8))
        frame = parse_frame(await coordinator.bulk.read())
        assert (frame.transfer_id, frame.last) == (offered, True)
        assert (await talk.hear("goodbye")).reason == "the machine is needed"
        talk.end(grpc.StatusCode.OK, "")
        async with asyncio.timeout(LIMIT_S):
            assert await running == 0


HUNG_WORKER = """
import threading
from gradloom_worker import __main__, messages

class Hung:
    version = 1
    merge = None

    def map(self, shard, message):
        print("computing", flush=True)
        threading.Event().wait()

messages.build = lambda name, settings: Hung()
__main__.main()
"""


@pytest.mark.parametrize(
    ("options", "signals", "words"),
    [
        ((), 2, "SIGTERM"),
        (("--drain-timeout-s", "0.2"), 1, "SIGTERM; not through after 0.2 s"),
    ],
    ids=["two signals", "the time is over"],
)
async def test_a_worker_whose_task_never_ends_can_be_made_to_leave(
    coordinator: FakeCoordinator, tmp_path: Path, options: tuple[str, ...], signals: int, words: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HUNG_WORKER, "--coordinator", coordinator.address, "--metrics-port", "-1"),
        *options,
        stdout=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("GRADLOOM_")},
    )
    assert process.stdout is not None
    try:
        talk = await coordinator.session()
        await give_job(talk, tmp_path, tasks=1)
        async with asyncio.timeout(LIMIT_S):
            assert await process.stdout.readline() == b"computing\n"
            process.terminate()
            await talk.hear("draining")
            if signals == 2:
                process.terminate()
            assert (await talk.hear("goodbye")).reason == words
            talk.end(grpc.StatusCode.OK, "")
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_worker_says_where_it_runs_and_what_it_offers(coordinator: FakeCoordinator) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gradloom_worker", "--coordinator", coordinator.address),
        *("--metrics-port", "-1", "--node", "rack-7", "--label", "zone=a", "--label", "disk=ssd,gpu=no"),
        "--announce",
        stdout=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("GRADLOOM_")},
    )
    assert process.stdout is not None
    try:
        talk = await coordinator.session()
        (hello,) = coordinator.hellos
        assert (hello.host, dict(hello.labels)) == ("rack-7", {"zone": "a", "disk": "ssd", "gpu": "no"})
        assert json.loads(await process.stdout.readline()) == {"worker": "worker-1"}
        process.terminate()
        assert (await talk.hear("goodbye")).reason == "SIGTERM"
        talk.end(grpc.StatusCode.OK, "")
        async with asyncio.timeout(LIMIT_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("label", ["zone", "=a", "zone=a,disk"])
async def test_a_label_that_is_none_is_refused(label: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gradloom_worker", "--label", label), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    wrong = label.rpartition(",")[2]
    assert said.decode() == f"error: label: {wrong!r} is not allowed; it must be NAME=VALUE\n"
    assert process.returncode == 2
