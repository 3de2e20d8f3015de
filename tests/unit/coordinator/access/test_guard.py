"""The door of a coordinator, on a real socket: who gets in, what they may do, how much of it, and for how long."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gradloom.client import Client
from gradloom.errors import InvalidInput, TooManyCalls
from gradloom.roles import Role
from gradloom.status import from_rpc_error
from gradloom.tokens import TokenBook
from gradloom.v1 import cluster_service_pb2 as cluster
from gradloom.v1 import job_service_pb2 as jobs
from gradloom.v1 import job_service_pb2_grpc
from gradloom_coordinator import listening
from gradloom_coordinator.access import guard
from gradloom_coordinator.access.watched_tokens import WatchedTokens
from gradloom_coordinator.servicers import DOWNLOADS, DOWNLOADS_OF_ONE

from .conftest import LIMIT_S, Calls, Guarded, until

UNKNOWN, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
PAUSE = jobs.PauseJobRequest(job_id="job-1", reason="too hot")
NOBODY = "gradloom_" + "x" * 43


@pytest.mark.parametrize("text", [None, NOBODY, "", "x"])
async def test_who_shows_no_good_token_is_not_known(guarded: Guarded, serving, text) -> None:
    async with serving(), guarded.calling(text) as calls:
        for method, request in (
            (calls.jobs.ListJobs, jobs.ListJobsRequest()),
            (calls.jobs.PauseJob, PAUSE),
            (calls.cluster.WhoAmI, cluster.WhoAmIRequest()),
        ):
            refused = await calls.refusal(method, request)
            assert refused.code() is UNKNOWN
            assert "gradloom token create" in refused.details()


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "{viewer}", "Bearer {viewer} {viewer}"])
async def test_a_header_of_another_shape_is_no_token(guarded: Guarded, serving, header: str) -> None:
    async with serving(), guarded.calling(None) as calls:
        calls.metadata = (("authorization", header.format(viewer=guarded.texts[Role.VIEWER])),)
        assert (await calls.refusal(calls.jobs.ListJobs, jobs.ListJobsRequest())).code() is UNKNOWN


async def test_two_tokens_are_no_token(guarded: Guarded, serving) -> None:
    async with serving(), guarded.calling(Role.VIEWER) as calls:
        calls.metadata *= 2
        assert (await calls.refusal(calls.jobs.ListJobs, jobs.ListJobsRequest())).code() is UNKNOWN


async def test_roles_decide_and_the_refusal_says_which_one_is_needed(guarded: Guarded, serving) -> None:
    async with serving():
        async with guarded.calling(Role.VIEWER) as viewer:
            await viewer.jobs.ListJobs(jobs.ListJobsRequest(), metadata=viewer.metadata)
            refused = await viewer.refusal(viewer.jobs.PauseJob, PAUSE)
            assert (refused.code(), refused.details()) == (
                DENIED,
                "PauseJob needs the role operator; 'the-viewer' has the role viewer (by its token)",
            )
        async with guarded.calling(Role.OPERATOR) as operator:
            refused = await operator.refusal(operator.jobs.PauseJob, PAUSE)
            assert refused.code() is grpc.StatusCode.NOT_FOUND  # let in: there is no such job
            fault = cluster.InjectFaultRequest(worker="worker-0")
            assert (await operator.refusal(operator.cluster.InjectFault, fault)).code() is DENIED
            audit = cluster.ListAuditRequest()
            assert (await operator.refusal(operator.cluster.ListAudit, audit)).code() is DENIED
        async with guarded.calling(Role.WORKER) as worker:
            assert (await worker.refusal(worker.jobs.ListJobs, jobs.ListJobsRequest())).code() is DENIED


@pytest.mark.parametrize("stream", ["Session", "Bulk"])
@pytest.mark.parametrize("who", [None, Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_nobody_but_a_worker_speaks_as_one(guarded: Guarded, serving, who, stream: str) -> None:
    async with serving(), guarded.calling(who) as calls:
        call = calls.channel.stream_stream(f"/gradloom.v1.WorkerService/{stream}")(metadata=calls.metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is (UNKNOWN if who is None else DENIED)


async def test_probes_are_answered_for_anybody_and_reflection_is_not(guarded: Guarded, serving) -> None:
    async with serving(), guarded.calling(None) as calls:
        health = health_pb2_grpc.HealthStub(calls.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="*")
        reflection = reflection_pb2_grpc.ServerReflectionStub(calls.channel)

        async def listed(metadata) -> list[str]:
            async for found in reflection.ServerReflectionInfo(
                iter([ask]), metadata=metadata, timeout=LIMIT_S
            ):
                return [service.name for service in found.list_services_response.service]
            return []

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await listed(())
        assert refused.value.code() is UNKNOWN
        viewer = (("authorization", f"Bearer {guarded.texts[Role.VIEWER]}"),)
        assert "gradloom.v1.JobService" in await listed(viewer)


async def test_everybody_hears_who_they_are(guarded: Guarded, serving) -> None:
    async with serving():
        for role in Role:
            async with guarded.calling(role) as calls:
                me = await calls.cluster.WhoAmI(cluster.WhoAmIRequest(), metadata=calls.metadata)
                assert (me.name, me.role, me.how) == (f"the-{role}", role.value, "token")
                assert not me.HasField("expires")


async def test_a_coordinator_without_tokens_asks_nobody_and_says_so(
    guarded: Guarded, serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(tokens_file=None), guarded.calling(NOBODY) as calls:
        me = await calls.cluster.WhoAmI(cluster.WhoAmIRequest(), metadata=calls.metadata)
        assert (me.name, me.role, me.how) == ("", "admin", "open")
    assert "whoever reaches 127.0.0.1 may do everything" in caplog.text


def watching(calls: Calls):
    """A stream that lasts as long as somebody listens."""
    return calls.cluster.WatchCluster(cluster.WatchClusterRequest(), metadata=calls.metadata, timeout=LIMIT_S)


async def all_of(stream) -> None:
    """Listen to the end."""
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_a_revoked_token_counts_no_more_and_its_streams_end(guarded: Guarded, serving) -> None:
    async with serving(), guarded.calling(Role.VIEWER) as gone, guarded.calling(Role.OPERATOR) as stays:
        streams = [watching(calls) for calls in (gone, stays)]
        for stream in streams:
            await stream.read()
        guarded.revoke("the-viewer")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await all_of(streams[0])
        assert (ended.value.code(), ended.value.details()) == (
            UNKNOWN,
            "the token of 'the-viewer' has been revoked",
        )
        assert (await gone.refusal(gone.jobs.ListJobs, jobs.ListJobsRequest())).code() is UNKNOWN
        await streams[1].read()
        await stays.jobs.ListJobs(jobs.ListJobsRequest(), metadata=stays.metadata)


async def test_a_stream_ends_with_its_token_although_the_file_can_not_be_looked_at(
    guarded: Guarded, serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: WatchedTokens) -> bool:
        raise RuntimeError("whatever it is")

    async with serving() as running, guarded.calling(Role.VIEWER) as calls:
        stream = watching(calls)
        await stream.read()
        monkeypatch.setattr(WatchedTokens, "look", broken)
        running.guard._tokens.book = TokenBook()
        with pytest.raises(grpc.aio.AioRpcError, match="has been revoked"):
            await all_of(stream)


async def test_a_workers_session_ends_with_its_token(guarded: Guarded, serving) -> None:
    async with serving() as running, guarded.calling(Role.WORKER) as worker:
        call = worker.channel.stream_stream("/gradloom.v1.WorkerService/Session")(metadata=worker.metadata)
        await call.write(b"")  # an empty message: it has come in, and says no Hello
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        silent = worker.channel.stream_stream("/gradloom.v1.WorkerService/Session")(metadata=worker.metadata)
        await silent.wait_for_connection()
        await until(lambda: running.guard._worker_streams.count == 1)
        guarded.revoke("the-worker")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await silent.read()
        assert ended.value.code() is UNKNOWN


async def test_an_expired_token_counts_no_more(guarded: Guarded, serving) -> None:
    text = guarded.token(Role.OPERATOR, "eve", days=1)  # of long ago
    async with serving(), guarded.calling(text) as calls:
        refused = await calls.refusal(calls.jobs.ListJobs, jobs.ListJobsRequest())
        assert (refused.code(), refused.details().split(";")[0]) == (UNKNOWN, "the token has expired")


async def test_a_new_token_counts_without_a_restart(guarded: Guarded, serving) -> None:
    async with serving() as running:
        text = guarded.token(Role.VIEWER, "bob")
        await until(lambda: running.guard._tokens.book.find(text) is not None)
        async with guarded.calling(text) as calls:
            await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata)


async def test_a_file_that_breaks_changes_nothing_but_the_log(
    guarded: Guarded, serving, caplog: pytest.LogCaptureFixture
) -> None:
    good, text = guarded.tokens_file.read_text(), guarded.texts[Role.VIEWER]
    async with serving() as running, guarded.calling(Role.VIEWER) as calls:
        guarded.tokens_file.write_text("{")
        await until(lambda: "the tokens that were read last count on" in caplog.text)
        await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata)
        guarded.tokens_file.unlink()
        await until(lambda: "No such file" in caplog.text)
        await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata)
        guarded.tokens_file.write_text(good.replace("the-viewer", "bob"))
        await until(lambda: running.guard._tokens.book.find(text).name == "bob")


@pytest.mark.parametrize("text", ["{", ""])
async def test_a_file_that_is_broken_to_begin_with_is_refused(guarded: Guarded, serving, text: str) -> None:
    guarded.tokens_file.write_text(text)
    with pytest.raises(InvalidInput, match=r"tokens_file: .*it is not JSON"):
        async with serving():
            pass


async def test_a_stranger_can_not_have_us_take_in_megabytes(guarded: Guarded, serving) -> None:
    """The refusal comes while the request is still on its way: an endless one is refused all the same."""
    sent = 0

    def endless() -> Iterator[jobs.UploadRequest]:
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield jobs.UploadRequest(chunk=bytes(1024 * 1024))

    def upload() -> grpc.StatusCode:
        metadata = (("authorization", f"Bearer {NOBODY}"),)
        with grpc.insecure_channel(guarded.address) as channel:
            stub = job_service_pb2_grpc.JobServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.Upload(endless(), metadata=metadata, timeout=LIMIT_S)
        return refused.value.code()

    async with serving():
        assert await asyncio.to_thread(upload) is UNKNOWN
    assert sent < 50


async def test_changes_and_refused_ones_are_in_the_audit_log_and_nothing_else_is(
    guarded: Guarded, serving
) -> None:
    async with serving():
        async with guarded.calling(Role.OPERATOR) as calls:
            calls.metadata += (("gradloom-user", "the boss"),)
            await calls.refusal(calls.jobs.PauseJob, PAUSE)
            await calls.jobs.ListJobs(jobs.ListJobsRequest(), metadata=calls.metadata)
        async with guarded.calling(Role.VIEWER) as calls:
            await calls.refusal(calls.jobs.PauseJob, PAUSE)
        async with guarded.calling(NOBODY) as calls:
            await calls.refusal(calls.jobs.PauseJob, PAUSE)
        async with guarded.calling(Role.ADMIN) as calls:
            found = await calls.cluster.ListAudit(cluster.ListAuditRequest(last=10), metadata=calls.metadata)
            refused = await calls.refusal(calls.cluster.ListAudit, cluster.ListAuditRequest(last=10_001))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    operator, viewer = found.records
    assert (operator.who, operator.role, operator.how) == ("the-operator", "operator", "token")
    assert (operator.method, operator.subject, dict(operator.fields)) == (
        "PauseJob",
        "job-1",
        {"reason": "too hot"},
    )
    assert operator.result == "NotFound"
    assert operator.peer.startswith("ipv4:127.0.0.1:")
    assert (viewer.who, viewer.result) == ("the-viewer", "NotAllowed")


async def test_no_token_is_in_any_log(guarded: Guarded, serving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stranger = "gradloom_" + "s" * 43
    async with serving():
        for who in (*Role, stranger, None):
            async with guarded.calling(who) as calls:
                for method, request in (
                    (calls.jobs.PauseJob, PAUSE),
                    (calls.cluster.ListAudit, cluster.ListAuditRequest(last=99_999)),
                ):
                    refused = await calls.refusal(method, request)
                    assert "gradloom_" not in str(refused)
    written = caplog.text + "".join(path.read_text() for path in guarded.folder.glob("*.jsonl"))
    assert "refused PauseJob" in written
    for text in (*guarded.texts.values(), stranger):
        assert text.removeprefix("gradloom_") not in written


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
