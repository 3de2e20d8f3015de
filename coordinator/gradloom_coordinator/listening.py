"""The ports of a coordinator: the one that everybody calls, and the page for Prometheus. A standby has the same."""

import logging
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server

from gradloom.credentials import Certificates, server_credentials
from gradloom.errors import InvalidInput
from gradloom.process import check_port_free
from gradloom.settings import CoordinatorSettings
from gradloom.tls import check_listening, is_loopback, join_host_port
from gradloom.wire import MAX_MESSAGE_BYTES
from gradloom_coordinator.monitoring.expiry import CertificateExpiry

if TYPE_CHECKING:
    import grpc

log = logging.getLogger(__name__)

SERVICES = ("gradloom.v1.JobService", "gradloom.v1.ClusterService", "gradloom.v1.WorkerService")
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
)
"""Our own limits are smaller: frames of 2 MiB, and bundles of 256 KiB inside messages. ``so_reuseport`` is off so
that a port in use is an error."""
HANDSHAKE_LIMIT_S = 10.0
STREAMS_OF_A_CONNECTION = 1024
IDLE_LIMIT_S = 600.0
"""A connection without a call for so long is closed; clients open another one when they need it."""
PING_AFTER_S, PING_LIMIT_S = 30.0, 10.0
OTHER_FILES = 256
"""What the process opens beside connections: the database, checkpoints, logs."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running coordinator listens."""

    address: str
    metrics_address: str
    """Empty = no metrics."""
    health_address: str = ""
    """Empty = no port for probes."""


def options_for(settings: CoordinatorSettings) -> tuple[tuple[str, int], ...]:
    """OPTIONS, and what keeps one caller, or a thousand who say nothing, from taking all there is."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = settings.max_connections
    if files != resource.RLIM_INFINITY:
        connections = max(1, min(connections, files - OTHER_FILES))
    return (
        *OPTIONS,
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.max_concurrent_streams", STREAMS_OF_A_CONNECTION),
        ("grpc.server_handshake_timeout_ms", round(1000 * HANDSHAKE_LIMIT_S)),
        ("grpc.max_connection_idle_ms", round(1000 * IDLE_LIMIT_S)),
        ("grpc.keepalive_time_ms", round(1000 * PING_AFTER_S)),
        ("grpc.keepalive_timeout_ms", round(1000 * PING_LIMIT_S)),
    )


def bind(server: "grpc.aio.Server", settings: CoordinatorSettings, certificates: Certificates | None) -> int:
    """Have the server listen where the settings say, over TLS if there are certificates; the port.

    Raises InvalidInput for a port that can't be had.
    """
    check_port_free("port", settings.host, settings.port)
    where = join_host_port(settings.host, settings.port)
    if certificates is not None:
        log.info("mutual TLS with %s", certificates.newest())
        return int(server.add_secure_port(where, server_credentials(certificates)))
    if not is_loopback(settings.host):
        log.warning(
            "INSECURE: anybody who reaches %s may read and steer everything; there is no TLS (--insecure)",
            where,
        )
    return int(server.add_insecure_port(where))


def certificates_of(settings: CoordinatorSettings) -> Certificates | None:
    """What the server shows and trusts; None for plain text. Raises InvalidInput where that is not allowed."""
    check_listening(settings.host, settings.tls, insecure=settings.insecure)
    return None if settings.tls is None else Certificates(settings.tls)


def serve_metrics(
    registry: CollectorRegistry, settings: CoordinatorSettings, certificates: Certificates | None
) -> tuple[str, Callable[[], None]]:
    """Serve the page, on which the certificate's end stands too: its address, and how to stop it.

    An empty address if none is wished. Raises InvalidInput.
    """
    if settings.metrics_port is None:
        return "", lambda: None
    registry.register(CertificateExpiry(certificates))
    host = settings.metrics_host or settings.host
    try:
        server, _ = start_http_server(settings.metrics_port, addr=host, registry=registry)
    except OSError as error:
        raise InvalidInput(
            "metrics_port", f"{settings.metrics_port} can't be bound: {error.strerror}"
        ) from None

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return join_host_port(host, server.server_port), stop
