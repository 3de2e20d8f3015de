"""Whether a service lives, and whether it is ready: ``grpc.health.v1`` on a port of its own.

The port is plaintext and says nothing else, so that a container's probe needs no certificate. It answers from the event
loop that does the service's work: a loop that hangs does not answer, which is what a liveness probe wants to know.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

from gradloom.credentials import open_channel
from gradloom.errors import InvalidInput, Unavailable
from gradloom.handshake import find_trouble
from gradloom.process import check_port_free
from gradloom.tls import join_host_port

if TYPE_CHECKING:
    from gradloom.certificate_files import Material

LIVE = "live"
"""The process is there; so does the empty name."""
READY = "ready"
"""It does what it is for: a coordinator leads, a worker is welcome at its coordinator."""
GRACE_S = 0.5
OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 4096))

_HEALTH = "grpc.health.v1.Health"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthServer:
    """Answers ``Check`` for LIVE, READY and ``services``, which are as ready as READY; ``is_ready`` is asked each time.

    ``Watch`` is not offered: whoever probes asks again.
    """

    def __init__(
        self, host: str, port: int, is_ready: Callable[[], bool], services: Iterable[str] = ()
    ) -> None:
        self._host, self._port = host, port
        self._is_ready = is_ready
        self._services = frozenset((READY, *services))
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Listen, and say where: ``host:port``. Port 0 = any free one. Raises InvalidInput."""
        check_port_free("health_port", self._host, self._port)
        server = grpc.aio.server(options=OPTIONS)
        check = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=health_pb2.HealthCheckRequest.FromString,
            response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_HEALTH, {"Check": check}),))
        try:
            port = server.add_insecure_port(join_host_port(self._host, self._port))
        except RuntimeError:  # gRPC says which address, but not which option it came from
            raise InvalidInput("health_host", f"{self._host} is no address of this machine") from None
        await server.start()
        self._server = server
        return join_host_port(self._host, port)

    async def stop(self) -> None:
        """Stop listening. Stopping twice does nothing."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(GRACE_S)

    async def _check(
        self, request: health_pb2.HealthCheckRequest, context: "grpc.aio.ServicerContext"
    ) -> health_pb2.HealthCheckResponse:
        if request.service in ("", LIVE):
            return health_pb2.HealthCheckResponse(status=_SERVING)
        if request.service in self._services:
            return health_pb2.HealthCheckResponse(status=_SERVING if self._is_ready() else _NOT_SERVING)
        known = ", ".join(sorted((LIVE, *self._services)))
        await context.abort(
            grpc.StatusCode.NOT_FOUND, f"service {request.service!r} is not known; there are: {known}"
        )
        raise AssertionError("abort raises")


def said_by(address: str, service: str, timeout_s: float, material: "Material | None" = None) -> str:
    """What the server at ``address`` says of a service: SERVING, NOT_SERVING, or that it knows none of that name.

    It is asked over TLS with ``material``, in plain text without.

    Raises Unavailable if it does not answer.
    """
    with open_channel(address, material, (("grpc.enable_http_proxy", 0),)) as channel:
        check = channel.unary_unary(
            f"/{_HEALTH}/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return error.details() or f"service {service!r} is not known"
            raise Unavailable(f"{address} does not answer: {_why(address, error)}") from None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _why(address: str, error: "grpc.RpcError") -> str:
    if error.code() is grpc.StatusCode.UNAVAILABLE and find_trouble(address, None):
        return "it speaks TLS; ask the plaintext port for probes, the one of --health-port"
    return str(error.details())
