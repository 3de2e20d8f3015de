"""Starts and stops the coordinator's gRPC server, its health and reflection services, and its metrics page."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from gradloom.errors import InvalidInput
from gradloom.settings import CoordinatorSettings
from gradloom.v1 import cluster_service_pb2_grpc, job_service_pb2_grpc
from gradloom.wire import MAX_MESSAGE_BYTES
from gradloom_coordinator.durable import Durable, go_on_where_it_ended
from gradloom_coordinator.runtime import Coordinator
from gradloom_coordinator.servicers import ClusterServicer, JobServicer
from gradloom_coordinator.worker_servicer import WorkerServicer

log = logging.getLogger(__name__)

SERVICES = ("gradloom.v1.JobService", "gradloom.v1.ClusterService", "gradloom.v1.WorkerService")
GRACE_S = 2.0
LAST_CHECKPOINTS_S = 10.0
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
)
"""Our own limits are smaller: frames of 2 MiB, and bundles of 256 KiB inside messages. ``so_reuseport`` is off so
that a port in use is an error."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running coordinator listens."""

    address: str
    metrics_address: str
    """Empty = no metrics."""


@dataclass(slots=True)
class RunningCoordinator:
    """A coordinator that serves, until ``stop``."""

    coordinator: Coordinator
    durable: Durable
    addresses: Addresses
    server: "grpc.aio.Server"
    clock_tasks: "tuple[asyncio.Task[None], ...]"

    async def stop(self) -> None:
        """Keep where every job stands, refuse new calls, end the streams, leave."""
        await self.coordinator.jobs.take_last_checkpoints(LAST_CHECKPOINTS_S)
        for link in list(self.coordinator.attendance.links.values()):
            link.close("the coordinator is stopping")
        await self.server.stop(GRACE_S)
        for task in self.clock_tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.durable.close()


async def start(settings: CoordinatorSettings) -> RunningCoordinator:
    """Take up the jobs that were left, bind the ports and serve.

    Raises InvalidInput for a port or a database that can't be used, Conflict if another coordinator uses them.
    """
    coordinator = Coordinator(settings)
    durable = await go_on_where_it_ended(coordinator)
    try:
        return await _serve(coordinator, durable)
    except BaseException:
        await durable.close()
        raise


async def _serve(coordinator: Coordinator, durable: Durable) -> RunningCoordinator:
    settings = coordinator.settings
    server = grpc.aio.server(options=OPTIONS)
    job_service_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(coordinator), server)
    cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(ClusterServicer(coordinator), server)
    server.add_generic_rpc_handlers((WorkerServicer(coordinator).handler(),))
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    _check_port_free(settings.host, settings.port)
    port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    metrics_address = _serve_metrics(coordinator, settings)
    await server.start()
    for service in ("", *SERVICES):
        await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    looking_after = (coordinator.keep_time(), coordinator.look_after_uploads())
    clock_tasks = tuple(asyncio.create_task(work) for work in looking_after)
    addresses = Addresses(f"{settings.host}:{port}", metrics_address)
    log.info("serving at %s, metrics at %s", addresses.address, metrics_address or "no port")
    return RunningCoordinator(coordinator, durable, addresses, server, clock_tasks)


def _check_port_free(host: str, port: int) -> None:
    """gRPC's own message for a port in use does not say what to do."""
    if port == 0:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = (
                "is in use"
                if error.errno == errno.EADDRINUSE
                else f"can't be bound on {host}: {error.strerror}"
            )
            raise InvalidInput("port", f"{port} {why}; choose another, or 0 for any free port") from None


def _serve_metrics(coordinator: Coordinator, settings: CoordinatorSettings) -> str:
    if settings.metrics_port is None:
        return ""
    try:
        server, _ = start_http_server(
            settings.metrics_port, addr=settings.host, registry=coordinator.metrics.registry
        )
    except OSError as error:
        raise InvalidInput(
            "metrics_port", f"{settings.metrics_port} can't be bound: {error.strerror}"
        ) from None
    return f"{settings.host}:{server.server_port}"


async def serve(
    settings: CoordinatorSettings, stop: asyncio.Event, ready: "asyncio.Future[Addresses]"
) -> None:
    """Run until ``stop`` is set or SIGTERM or SIGINT arrives; ``ready`` gets the addresses."""
    running = await start(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ready.set_result(running.addresses)
    await stop.wait()
    await running.stop()
