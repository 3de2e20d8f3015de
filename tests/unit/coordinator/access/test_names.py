"""A worker's name on a real socket: nobody gets it under another identity; whoever tries is counted and audited."""

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest

from gradloom.algorithms import versions
from gradloom.roles import Role
from gradloom.v1 import cluster_service_pb2 as cluster
from gradloom.v1 import worker_pb2
from gradloom.wire import PROTOCOL_VERSION

from .conftest import Calls, Guarded

WORDS = "the name 'w' belongs to a worker of 'the-worker', and 'other' can't take it"


async def hello(calls: Calls, resume_token: str = "") -> tuple[Any, worker_pb2.CoordinatorMessage]:
    """A session in which Hello was said, and what is answered."""
    session = calls.channel.stream_stream("/gradloom.v1.WorkerService/Session")(metadata=calls.metadata)
    said = worker_pb2.Hello(
        name="w", protocol_version=PROTOCOL_VERSION, algorithms=versions(), resume_token=resume_token
    )
    await session.write(worker_pb2.WorkerMessage(hello=said).SerializeToString())
    return session, worker_pb2.CoordinatorMessage.FromString(await session.read())


async def refused(calls: Calls, resume_token: str = "") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await hello(calls, resume_token)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert WORDS in (error.value.details() or "")


async def test_two_identities_can_not_have_one_name_and_the_first_one_comes_back(
    guarded: Guarded, serving: Any
) -> None:
    other = guarded.token(Role.WORKER, "other")
    async with serving() as running:
        async with guarded.calling(Role.WORKER) as first, guarded.calling(other) as second:
            session, said = await hello(first)
            assert said.welcome.worker == "w"
            await refused(second)
            bulk = second.channel.stream_stream("/gradloom.v1.WorkerService/Bulk")
            metadata = (*second.metadata, ("gradloom-session", said.welcome.session_token))
            with pytest.raises(grpc.aio.AioRpcError) as no_session:
                await bulk(metadata=metadata).read()
            assert no_session.value.code() is grpc.StatusCode.UNAUTHENTICATED
            session.cancel()
            await refused(second, said.welcome.session_token)
            _, again = await hello(first, said.welcome.session_token)
            assert (again.welcome.worker, again.welcome.resumed) == ("w", True)
        async with guarded.calling(Role.ADMIN) as calls:
            found = await calls.cluster.ListAudit(cluster.ListAuditRequest(last=10), metadata=calls.metadata)
        denials = [(entry.who, entry.method, entry.result, entry.detail) for entry in found.records]
        assert [entry[:3] for entry in denials] == [("other", "Session", "NotAllowed")] * 2
        assert all(WORDS in entry[3] for entry in denials)
        counted = partial(
            running.coordinator.metrics.registry.get_sample_value, "gradloom_auth_failures_total"
        )
        assert await asyncio.to_thread(counted, {"reason": "name"}) == 2
        assert await asyncio.to_thread(counted, {"reason": "session"}) == 1


async def test_workers_that_share_a_token_share_nothing_else(guarded: Guarded, serving: Any) -> None:
    async with serving(), guarded.calling(Role.WORKER) as one, guarded.calling(Role.WORKER) as two:
        names = [(await hello(calls))[1].welcome.worker for calls in (one, two)]
    assert names == ["w", "w-2"]
