"""A coordinator among several on one database: it stands by until the lease is its own.

Meanwhile it listens where it would lead and refuses every call with the reason, so that whoever knows several addresses
goes on to the next; it is alive, not ready, and its metrics say that it does not lead.
"""

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector

from gradloom.errors import InvalidInput, Unavailable
from gradloom.health import LIVE
from gradloom.settings import CoordinatorSettings
from gradloom.tls import WILDCARDS, join_host_port
from gradloom_coordinator.durability.databases import store_url
from gradloom_coordinator.leadership.gate import Closed
from gradloom_coordinator.leadership.leading import Leading, since_boot
from gradloom_coordinator.leadership.lease import Tenure
from gradloom_coordinator.leadership.lease_table import LeaseTable
from gradloom_coordinator.listening import (
    SERVICES,
    Addresses,
    bind,
    certificates_of,
    options_for,
    serve_metrics,
)

log = logging.getLogger(__name__)

R = TypeVar("R")

GRACE_S = 0.2
STOP_LIMIT_S = 1.0
"""What one that is told to stop gives the database to finish its sentence: it may just have made it the leader."""
DATABASE_PAUSE_S = 1.0
NO_DATABASE = "standby; the database can't be reached"
"""What callers are told, who may be strangers; the log says which, and why."""


class Standby:
    """Waits for its turn. ``settings`` are those to lead with: the ports in them are the ones that it listens on."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        check_lease(settings)
        uploads = settings.upload_uri or f"{settings.checkpoint_uri.rstrip('/')}/uploads"
        self.settings = replace(settings, upload_uri=uploads)
        self.why = self._said = "standby; it has not looked yet who leads"

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Addresses]:
        """Refuse calls meanwhile; gives where. Raises InvalidInput for a port that can't be used."""
        server = grpc.aio.server(options=options_for(self.settings))
        health_servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        server.add_generic_rpc_handlers((Closed(lambda: self.why),))
        certificates = certificates_of(self.settings)
        port = bind(server, self.settings, certificates)
        metrics_address, stop_metrics = serve_metrics(_not_leading(), self.settings, certificates)
        await health_servicer.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
        for service in ("", *SERVICES):
            await health_servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
        await server.start()
        metrics_port = int(metrics_address.rpartition(":")[2]) if metrics_address else None
        self.settings = replace(self.settings, port=port, metrics_port=metrics_port)
        try:
            yield Addresses(f"{self.settings.host}:{port}", metrics_address)
        finally:
            await asyncio.gather(asyncio.to_thread(stop_metrics), server.stop(GRACE_S))

    async def turn(
        self, stop: asyncio.Event, on_lost: Callable[[str], None], clock: Callable[[], float] = since_boot
    ) -> Leading | None:
        """Wait until the lease is ours, however long the database is away; None if ``stop`` is set before.

        Raises Conflict if a coordinator without a lease uses the database, VersionMismatch for a newer one's tables.
        """
        settings = self.settings
        url = store_url(settings.store_url, settings.data_dir)
        table = LeaseTable(url, uuid.uuid4().hex, advertised(settings), settings.lease_ttl_s)
        prepared = in_use = False
        try:
            while not stop.is_set():
                try:
                    if not prepared:
                        await _unless(stop, table.prepare)
                        prepared = True
                    answer = await _unless(stop, partial(table.bid, clock()))
                except _GaveUp:
                    in_use = True
                    log.warning("the database %s does not answer; this standby ends without it", table.name)
                    return None
                except Unavailable as error:
                    self._say(NO_DATABASE, error.message)
                    await _pause(stop, DATABASE_PAUSE_S)
                    continue
                if isinstance(answer, Tenure):
                    log.info("%s; this coordinator leads now, epoch %d", answer.because, answer.epoch)
                    in_use = True
                    return Leading(table, answer, on_lost, clock)
                self._say(answer.reason)
                await _pause(stop, answer.for_s)
            return None
        finally:
            if not in_use:
                table.close()

    def _say(self, why: str, because: str = "") -> None:
        said = f"{why}: {because}" if because else why
        if said != self._said:
            log.info("%s", said)
        self.why, self._said = why, said


def check_lease(settings: CoordinatorSettings) -> None:
    """Raise InvalidInput unless those that take over would find everything."""
    if not settings.durable:
        raise InvalidInput("lease", "it needs what --no-durable leaves out: a database and checkpoints")
    if not settings.checkpoint_uri:
        raise InvalidInput(
            "checkpoint_uri", "it is empty; with --lease it must name a folder that all coordinators share"
        )


def advertised(settings: CoordinatorSettings) -> str:
    """Where people find this coordinator."""
    host = socket.gethostname() if settings.host in WILDCARDS else settings.host
    return settings.advertise or join_host_port(host, settings.port)


def _not_leading() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    Gauge("gradloom_coordinator_leader", "1: this coordinator decides.", registry=registry).set(0.0)
    return registry


class _GaveUp(Exception):
    """We were told to stop, and a thread still waits for the database."""


async def _unless(stop: asyncio.Event, ask: Callable[[], R]) -> R:
    """What the database says in a thread; _GaveUp if it has not by STOP_LIMIT_S after ``stop``."""
    asking = asyncio.ensure_future(asyncio.to_thread(ask))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            await asyncio.wait({asking}, timeout=STOP_LIMIT_S)
        if asking.done():
            return asking.result()
        raise _GaveUp
    finally:
        stopping.cancel()
        asking.cancel()


async def _pause(stop: asyncio.Event, for_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), for_s)
