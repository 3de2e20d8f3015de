"""Starts and stops the coordinator's gRPC server, its health and reflection services, and its metrics page."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gradloom import token_file
from gradloom.health import HealthServer
from gradloom.settings import CoordinatorSettings
from gradloom.tls import join_host_port
from gradloom.v1 import cluster_service_pb2_grpc, job_service_pb2_grpc
from gradloom_coordinator.access.guard import Guard
from gradloom_coordinator.durability.durable import Durable, go_on_where_it_ended
from gradloom_coordinator.leadership.gate import Gate
from gradloom_coordinator.leadership.leading import Leading
from gradloom_coordinator.leadership.lease import STEP_DOWN_SHARE
from gradloom_coordinator.leadership.standby import Standby
from gradloom_coordinator.listening import (
    SERVICES,
    Addresses,
    bind,
    certificates_of,
    options_for,
    serve_metrics,
)
from gradloom_coordinator.refusals import Context
from gradloom_coordinator.runtime import Coordinator
from gradloom_coordinator.servicers import ClusterServicer, JobServicer
from gradloom_coordinator.worker_servicer import WorkerServicer

log = logging.getLogger(__name__)

GRACE_S = 2.0
ABANDON_S = 0.5
STEP_DOWN_LIMIT_S = 3.0
"""After that a coordinator that has lost its lease ends, whatever it is busy with; sooner if its lease is short."""
LOST_STATUS = 4
"""Exit status of a coordinator that has lost its lease: whatever looks after it starts it again, as a standby."""
LAST_CHECKPOINTS_S = 10.0


def always() -> str:
    """No reason against it: for a coordinator without a lease."""
    return ""


@dataclass(slots=True)
class Readiness:
    """Whether a coordinator does what it is for."""

    serving: bool = False
    why_not: Callable[[], str] = always

    def __call__(self) -> bool:
        """At this moment; it asks the clock of the lease, so what hangs elsewhere does not matter."""
        return self.serving and not self.why_not()


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """Says of every service that it does not serve as long as ``why_not`` gives a reason against it."""

    def __init__(self, why_not: Callable[[], str]) -> None:
        super().__init__()
        self._why_not = why_not

    async def Check(  # noqa: N802 - the protocol's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """What a probe asks."""
        if self._why_not():
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
        return await super().Check(request, context)


@dataclass(slots=True)
class RunningCoordinator:
    """A coordinator that serves, until ``stop``."""

    coordinator: Coordinator
    durable: Durable
    addresses: Addresses
    server: "grpc.aio.Server"
    clock_tasks: "tuple[asyncio.Task[None], ...]"
    guard: Guard

    async def stop(self) -> None:
        """Keep where every job stands, refuse new calls, end the streams, leave."""
        await self.coordinator.jobs.take_last_checkpoints(LAST_CHECKPOINTS_S)
        self.coordinator.watching.close()
        for link in list(self.coordinator.attendance.links.values()):
            link.close("the coordinator is stopping")
        await self.server.stop(GRACE_S)
        for task in self.clock_tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.durable.close()
        self.coordinator.audit.close()

    async def abandon(self, why: str) -> None:
        """Another one leads, or may: end the streams, and write nothing."""
        for link in list(self.coordinator.attendance.links.values()):
            link.close(why)
        await self.server.stop(ABANDON_S)


async def start(settings: CoordinatorSettings, leading: Leading | None = None) -> RunningCoordinator:
    """Take up the jobs that were left, bind the ports and serve; with a lease, only as long as it holds.

    Raises InvalidInput for a port or a database that can't be used, Conflict if another coordinator uses them.
    """
    coordinator = Coordinator(settings)
    guard = Guard(settings, coordinator.metrics, coordinator.audit)
    durable = await go_on_where_it_ended(coordinator, leading)
    try:
        return await _serve(coordinator, durable, leading, guard)
    except BaseException:
        await durable.close()
        raise


async def _serve(
    coordinator: Coordinator, durable: Durable, leading: Leading | None, guard: Guard
) -> RunningCoordinator:
    settings = coordinator.settings
    gates = [] if leading is None else [Gate(leading.why_not)]
    server = grpc.aio.server(options=options_for(settings), interceptors=[*gates, guard])
    job_service_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(coordinator), server)
    cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(ClusterServicer(coordinator), server)
    server.add_generic_rpc_handlers((WorkerServicer(coordinator).handler(),))
    health_servicer = Health(always if leading is None else leading.why_not)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    certificates = certificates_of(settings)
    port = bind(server, settings, certificates)
    metrics_address, _ = serve_metrics(coordinator.metrics.registry, settings, certificates)
    await server.start()
    for service in ("", *SERVICES):
        await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    looking_after = (coordinator.keep_time(), coordinator.look_after_uploads(), guard.keep_watch())
    clock_tasks = tuple(asyncio.create_task(work) for work in looking_after)
    addresses = Addresses(join_host_port(settings.host, port), metrics_address)
    log.info("serving at %s, metrics at %s", addresses.address, metrics_address or "no port")
    return RunningCoordinator(coordinator, durable, addresses, server, clock_tasks, guard)


async def serve(
    settings: CoordinatorSettings, stop: asyncio.Event, ready: "asyncio.Future[Addresses]"
) -> int:
    """Run until ``stop`` is set or SIGTERM or SIGINT arrives; ``ready`` gets the addresses. The exit status.

    Probes are answered from the beginning to the end: alive, but ready only while it serves. With a lease it listens
    as a standby first; LOST_STATUS says that another one leads now. Raises InvalidInput, Conflict.
    """
    certificates_of(settings)  # what is refused is refused before a database is opened
    ready_now = Readiness()
    async with _probed(settings, ready_now) as health_address:
        if not settings.lease:
            running = await start(settings)
            _catch_signals(stop)
            ready.set_result(replace(running.addresses, health_address=health_address))
            return await _run(running, stop, ready_now)
        _catch_signals(stop)
        if settings.tokens_file is not None:  # better now than when it is to lead
            token_file.read(settings.tokens_file)
        standby = Standby(settings)
        async with standby.listening() as addresses:
            ready.set_result(replace(addresses, health_address=health_address))
            step_down = partial(_step_down, asyncio.get_running_loop(), stop, step_down_limit_s(settings))
            leading = await standby.turn(stop, step_down)
        if leading is None:
            return 0
        ready_now.why_not = leading.why_not
        try:
            status = await _run(await start(standby.settings, leading), stop, ready_now)
        finally:
            led_until_now = await asyncio.to_thread(leading.release)
        return status if led_until_now else LOST_STATUS


async def _run(running: RunningCoordinator, stop: asyncio.Event, ready_now: Readiness) -> int:
    ready_now.serving = True
    await stop.wait()
    ready_now.serving = False
    if why := ready_now.why_not():
        await running.abandon(why)
        return LOST_STATUS
    await running.stop()
    return 0


def _catch_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def step_down_limit_s(settings: CoordinatorSettings) -> float:
    """No longer than a lease ends before another coordinator may begin."""
    return min(STEP_DOWN_LIMIT_S, settings.lease_ttl_s * STEP_DOWN_SHARE)


def _step_down(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, limit_s: float, why: str) -> None:
    """The lease is lost: stop in order, or at any rate soon; called in a thread that looks after the lease."""
    log.error("%s", why)
    last_resort = threading.Timer(limit_s, os._exit, (LOST_STATUS,))
    last_resort.daemon = True
    last_resort.start()
    loop.call_soon_threadsafe(stop.set)


@contextlib.asynccontextmanager
async def _probed(settings: CoordinatorSettings, is_ready: Callable[[], bool]) -> AsyncIterator[str]:
    """Answer probes meanwhile; gives the address, empty = no port for them."""
    if settings.health_port is None:
        yield ""
        return
    server = HealthServer(settings.health_host, settings.health_port, is_ready, SERVICES)
    try:
        yield await server.start()
    finally:
        await server.stop()
