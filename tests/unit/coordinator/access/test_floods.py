"""How much of a coordinator one caller, or many together, may take up."""

import asyncio
import json
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from gradloom.client import Client
from gradloom.errors import TooManyCalls
from gradloom.roles import Role
from gradloom.status import from_rpc_error
from gradloom.v1 import job_service_pb2 as jobs
from gradloom_coordinator import listening
from gradloom_coordinator.access import guard
from gradloom_coordinator.servicers import DOWNLOADS, DOWNLOADS_OF_ONE

from .conftest import LIMIT_S, NOBODY, PAUSE, Calls, Guarded, all_of, until, watching


async def test_one_callers_flood_is_refused_and_others_are_answered(guarded: Guarded, serving) -> None:
    async with (
        serving(calls_per_s=5.0),
        guarded.calling(Role.VIEWER) as loud,
        guarded.calling(Role.OPERATOR) as other,
    ):

        async def call(calls) -> str:
            try:
                await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata, timeout=LIMIT_S)
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error)
                assert isinstance(failure, TooManyCalls)
                assert 0 < failure.retry_after_s <= 0.2
                return "refused"
            return "answered"

        flood = [asyncio.create_task(call(loud)) for _ in range(300)]
        assert await call(other) == "answered"
        told = await asyncio.gather(*flood)
        assert told.count("answered") >= 10  # the burst of two seconds
        assert told.count("refused") >= 100
        assert await call(other) == "answered"


async def test_calls_that_change_something_are_bounded_more_tightly(guarded: Guarded, serving) -> None:
    async with serving(calls_per_s=40.0), guarded.calling(Role.OPERATOR) as calls:
        codes = [(await calls.refusal(calls.jobs.PauseJob, PAUSE)).code() for _ in range(40)]
        assert codes[0] is grpc.StatusCode.NOT_FOUND
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
        await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata)
    assert len((guarded.folder / "audit.jsonl").read_text().splitlines()) < 40


async def test_on_loopback_without_tokens_nobody_is_counted(guarded: Guarded, serving) -> None:
    settings = {"tokens_file": None, "calls_per_s": 1.0, "max_streams_per_caller": 1}
    async with serving(**settings), guarded.calling(None) as calls:
        for _ in range(30):
            await calls.jobs.ListJobs(jobs.ListJobsRequest(), timeout=LIMIT_S)
        for stream in [watching(calls) for _ in range(3)]:
            await stream.read()


async def test_our_own_client_waits_as_long_as_it_is_told_to(guarded: Guarded, serving) -> None:
    def call_often() -> int:
        with Client(guarded.address, token=guarded.texts[Role.VIEWER], timeout_s=LIMIT_S) as client:
            return len([client.jobs() for _ in range(50)])

    async with serving(calls_per_s=20.0):
        assert await asyncio.to_thread(call_often) == 50


async def test_streams_of_one_caller_are_bounded_and_count_until_they_end(guarded: Guarded, serving) -> None:
    async with serving(max_streams_per_caller=3, max_streams=5) as running:  # noqa: SIM117 - too long a line
        async with guarded.calling(Role.VIEWER) as viewer, guarded.calling(Role.OPERATOR) as operator:
            streams = [watching(viewer) for _ in range(3)]
            for stream in streams:
                await stream.read()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await watching(viewer).read()
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (
                refused.value.details() == "the-viewer has 3 streams open already, as many as one caller may"
            )
            others = [watching(operator) for _ in range(2)]
            for stream in others:
                await stream.read()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await watching(operator).read()
            assert refused.value.details() == "5 streams are open already, as many as this coordinator holds"
            for stream in (*streams, *others):
                stream.cancel()
            await until(lambda: not running.guard._streams.count and not running.guard._open)


async def test_models_that_are_sent_at_a_time_are_bounded(guarded: Guarded, serving, monkeypatch) -> None:
    reading, released = [], threading.Event()

    def read(path: Path) -> bytes:
        reading.append(path)
        assert released.wait(LIMIT_S)
        return b"model"

    async with serving() as running, AsyncExitStack() as stack:
        monkeypatch.setattr(running.coordinator.records, "model_path", Path)
        monkeypatch.setattr(running.coordinator.jobs.models, "read", read)
        viewer, operator, admin = [
            await stack.enter_async_context(guarded.calling(role))
            for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
        ]
        stack.callback(released.set)

        def download(calls: Calls):
            return calls.jobs.GetModel(jobs.GetModelRequest(), metadata=calls.metadata, timeout=LIMIT_S)

        async def refusal(calls: Calls) -> str:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await download(calls).read()
            failure = from_rpc_error(refused.value)
            assert isinstance(failure, TooManyCalls)
            assert failure.retry_after_s == 1.0
            return failure.message

        streams = [download(viewer) for _ in range(DOWNLOADS_OF_ONE)]
        await until(lambda: len(reading) == DOWNLOADS_OF_ONE)
        assert "the-viewer has 4 streams open already" in await refusal(viewer)
        streams += [download(operator) for _ in range(DOWNLOADS - DOWNLOADS_OF_ONE)]
        await until(lambda: len(reading) == DOWNLOADS)
        assert "models are being sent: 8 streams are open already" in await refusal(admin)
        released.set()
        for stream in streams:
            assert (await stream.read()).chunk == b"model"
            await all_of(stream)
        assert (await download(admin).read()).chunk == b"model"


async def test_a_flood_of_silent_workers_is_bounded_and_others_are_answered(
    guarded: Guarded, serving
) -> None:
    async with serving(max_workers=2) as running:  # noqa: SIM117 - too long a line
        async with guarded.calling(Role.WORKER) as worker, guarded.calling(Role.VIEWER) as viewer:
            session = worker.channel.stream_stream("/gradloom.v1.WorkerService/Session")
            silent = [session(metadata=worker.metadata) for _ in range(2 * 2 + guard.GREETING)]
            await until(lambda: running.guard._worker_streams.count == len(silent))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await session(metadata=worker.metadata).read()
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await viewer.jobs.ListJobs(jobs.ListJobsRequest(), metadata=viewer.metadata, timeout=LIMIT_S)
            for call in silent:
                call.cancel()
            await until(lambda: running.guard._worker_streams.count == 0)


async def test_connections_are_bounded(guarded: Guarded, serving) -> None:
    async with serving(max_connections=3), AsyncExitStack() as stack:
        *first, last = [await stack.enter_async_context(guarded.calling(Role.VIEWER)) for _ in range(4)]
        for calls in (*first, *first):
            await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata, timeout=LIMIT_S)
        refused = await last.refusal(last.jobs.ListJobs, jobs.ListJobsRequest())
        assert refused.code() is grpc.StatusCode.UNAVAILABLE


async def test_whoever_connects_and_says_nothing_is_sent_away(
    guarded: Guarded, serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HANDSHAKE_LIMIT_S", 0.5)
    async with serving(max_connections=30), guarded.calling(Role.VIEWER) as calls:
        await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata, timeout=LIMIT_S)
        host, port = guarded.address.split(":")
        mute = [await asyncio.open_connection(host, port) for _ in range(25)]
        await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata, timeout=LIMIT_S)
        async with asyncio.timeout(LIMIT_S):
            for reader, _ in mute:
                await reader.read()  # to its end
        for _, writer in mute:
            writer.close()
            await writer.wait_closed()


async def test_a_flood_of_refused_calls_fills_no_log(
    guarded: Guarded, serving, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(), guarded.calling(Role.VIEWER) as viewer, guarded.calling(NOBODY) as nobody:
        for calls in (viewer, nobody):
            await asyncio.gather(*(calls.refusal(calls.jobs.PauseJob, PAUSE) for _ in range(200)))
        await until(lambda: "more calls" in caplog.text)
    assert caplog.text.count("refused PauseJob") < 100
    lines = (guarded.folder / "audit.jsonl").read_text().splitlines()
    assert 1 <= len(lines) < 100
    assert {json.loads(line)["who"] for line in lines} == {"the-viewer"}
