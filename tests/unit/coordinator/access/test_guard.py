"""The door of a coordinator, on a real socket: who gets in, what they may do, and what is written of it."""

import asyncio
import logging
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gradloom.roles import Role
from gradloom.v1 import cluster_service_pb2 as cluster
from gradloom.v1 import job_service_pb2 as jobs
from gradloom.v1 import job_service_pb2_grpc

from .conftest import DENIED, LIMIT_S, NOBODY, PAUSE, UNKNOWN, Guarded


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
