"""A worker whose session is resumed, and how it leaves: what was computed is answered, what waits is given back."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

from builders.worker_talk import JOB, LIMIT_S, FakeCoordinator, LongTask, give_job, one, worker_of
from gradloom.v1 import worker_pb2
from gradloom.wire.frames import credit_frame, parse_frame
from gradloom_worker.runtime import WorkerRuntime


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
