"""Refuses every call to a coordinator that does not lead, with the reason: a standby's, or one whose lease is lost."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from gradloom.errors import NotLeading
from gradloom_coordinator.refusals import Context, refuse

HEALTH = "/grpc.health.v1.Health/"
Handler = Any  # grpc.RpcMethodHandler, which has no types


def refusal(why: str) -> Handler:
    """Ends a call of whatever kind: on the wire, all are streams."""

    async def end(_: object, context: Context) -> None:
        await refuse(context, NotLeading(why))

    return grpc.stream_stream_rpc_method_handler(end)


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets calls in as long as ``why_not`` gives no reason against it; health is always answered."""

    def __init__(self, why_not: Callable[[], str]) -> None:
        self._why_not = why_not

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler of a call, or the one that refuses it."""
        why = self._why_not()
        if why and not handler_call_details.method.startswith(HEALTH):
            return refusal(why)
        return await continuation(handler_call_details)


class Closed(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Knows every method, and refuses it: so a standby needs no servicers."""

    def __init__(self, why_not: Callable[[], str]) -> None:
        self._why_not = why_not

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """The handler that refuses; none for health, which others answer."""
        if handler_call_details.method.startswith(HEALTH):
            return None
        return refusal(self._why_not())
