"""What a standby answers, and what a gate lets in."""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gradloom.errors import InvalidInput, NotLeading
from gradloom.settings import CoordinatorSettings
from gradloom.status import from_rpc_error
from gradloom.v1 import job_service_pb2, job_service_pb2_grpc
from gradloom_coordinator.durability.store import store_url
from gradloom_coordinator.leadership.gate import Gate
from gradloom_coordinator.leadership.lease import STEP_DOWN_SHARE
from gradloom_coordinator.leadership.standby import Standby, advertised
from gradloom_coordinator.server import Health, Readiness, step_down_limit_s

LIMIT_S = 30.0
SETTINGS = CoordinatorSettings(port=0, metrics_port=0, lease=True, checkpoint_uri="/somewhere")


async def refusal(call: object) -> NotLeading:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    error = from_rpc_error(refused.value)
    assert isinstance(error, NotLeading)
    return error


async def test_a_standby_is_alive_not_ready_and_refuses_every_kind_of_call() -> None:
    standby = Standby(SETTINGS)
    standby.why = "standby; the leader is a:1"
    async with standby.listening() as addresses, grpc.aio.insecure_channel(addresses.address) as channel:
        assert standby.settings.port == int(addresses.address.rpartition(":")[2])
        stub = job_service_pb2_grpc.JobServiceStub(channel)
        error = await refusal(stub.GetJob(job_service_pb2.GetJobRequest(job_id="x")))
        assert error.message == "standby; the leader is a:1"
        await refusal(stub.WatchJob(job_service_pb2.WatchJobRequest(job_id="x")).read())
        # the refusal may come before the first message is written: reading is enough to see it
        await refusal(channel.stream_stream("/gradloom.v1.WorkerService/Session")().read())
        health = health_pb2_grpc.HealthStub(channel)
        states = {}
        for service in ("live", "", "gradloom.v1.JobService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            states[service] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        assert states == {"live": "SERVING", "": "NOT_SERVING", "gradloom.v1.JobService": "NOT_SERVING"}
        assert "gradloom_coordinator_leader 0.0" in await page(addresses.metrics_address)


async def test_callers_of_a_standby_are_not_told_where_the_database_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://someone@/kept?host={tmp_path}"  # nobody listens there
    standby, stop = Standby(replace(SETTINGS, store_url=url)), asyncio.Event()
    caplog.set_level(logging.INFO)
    async with asyncio.timeout(LIMIT_S), standby.listening():
        turn = asyncio.create_task(standby.turn(stop, lambda _: None))
        while "standby; the database" not in standby.why:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        stop.set()
        assert await turn is None
    assert standby.why == "standby; the database can't be reached"
    assert (
        f"standby; the database can't be reached: the database {standby_name(url)} can't be used"
        in caplog.text
    )


def standby_name(url: str) -> str:
    return store_url(url, Path()).render_as_string()


async def test_connections_to_a_standby_are_bounded() -> None:
    standby = Standby(replace(SETTINGS, max_connections=2))
    async with standby.listening() as addresses, AsyncExitStack() as stack:
        # channels with the same options would share a connection
        options = [(("grpc.primary_user_agent", str(i)),) for i in range(3)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(addresses.address, options=one))
            for one in options
        ]
        *first, last = [health_pb2_grpc.HealthStub(channel) for channel in channels]
        for stub in (*first, *first):
            await stub.Check(health_pb2.HealthCheckRequest(service="live"), timeout=LIMIT_S)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await last.Check(health_pb2.HealthCheckRequest(service="live"), timeout=LIMIT_S)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_whoever_has_lost_its_lease_is_not_ready_any_more() -> None:
    reasons = [""]
    ready = Readiness(why_not=lambda: reasons[-1])
    assert not ready()
    ready.serving = True
    assert ready()
    servicer = Health(lambda: reasons[-1])
    await servicer.set("s", health_pb2.HealthCheckResponse.SERVING)
    asked = health_pb2.HealthCheckRequest(service="s")
    assert (await servicer.Check(asked, None)).status == health_pb2.HealthCheckResponse.SERVING
    reasons.append("this coordinator has lost its lease")
    assert not ready()
    assert (await servicer.Check(asked, None)).status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("ttl_s", [2.0, 6.0, 300.0])
def test_one_that_has_lost_its_lease_ends_before_another_one_may_begin(ttl_s: float) -> None:
    assert 0 < step_down_limit_s(replace(SETTINGS, lease_ttl_s=ttl_s)) <= ttl_s * STEP_DOWN_SHARE


async def page(address: str) -> str:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return text


async def test_its_ports_are_free_again_for_the_one_that_leads() -> None:
    standby = Standby(SETTINGS)
    async with standby.listening() as first:
        pass
    again = Standby(standby.settings)
    async with again.listening() as second:
        assert second == first


async def test_a_gate_lets_calls_in_as_long_as_there_is_no_reason_against_it() -> None:
    reasons = [""]
    server = grpc.aio.server(interceptors=[Gate(lambda: reasons[-1])])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("s", {"m": grpc.unary_unary_rpc_method_handler(echo)}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/s/m")
        assert await call(b"x") == b"x"
        reasons.append("this coordinator has lost its lease")
        assert (await refusal(call(b"x"))).message == "this coordinator has lost its lease"
    await server.stop(None)


async def echo(request: bytes, _: object) -> bytes:
    return request


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"checkpoint_uri": ""}, "checkpoint_uri: .*it must name a folder that all coordinators share"),
        ({"durable": False}, "lease: it needs what --no-durable leaves out"),
    ],
)
def test_a_lease_without_what_the_next_one_needs_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        Standby(replace(SETTINGS, **changes))  # type: ignore[arg-type]


def test_people_are_told_an_address_that_they_can_reach(tmp_path: Path) -> None:
    assert advertised(replace(SETTINGS, port=7)) == "127.0.0.1:7"
    assert advertised(replace(SETTINGS, port=7, host="0.0.0.0")).endswith(":7")
    assert not advertised(replace(SETTINGS, port=7, host="0.0.0.0")).startswith("0.0.0.0")
    assert advertised(replace(SETTINGS, advertise="me:1")) == "me:1"
