"""Errors of ours as the status that ends a call."""

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from grpc_status import rpc_status

from gradloom.connection import USER_KEY
from gradloom.errors import GradloomError
from gradloom.status import to_status

Context = Any  # grpc.aio.ServicerContext, which has no types
R = TypeVar("R")


async def refuse(context: Context, error: GradloomError) -> None:
    """End a call with the error's status and details."""
    await context.abort_with_status(rpc_status.to_status(to_status(error)))


def answering_errors(
    method: Callable[[Any, Any, Context], Awaitable[R]],
) -> Callable[[Any, Any, Context], Awaitable[R]]:
    """Turn a GradloomError of a unary method into its gRPC status; its servicer's coordinator counts the call."""

    @functools.wraps(method)
    async def wrapper(self: Any, request: Any, context: Context) -> R:
        result, began = "ok", time.perf_counter()
        try:
            return await method(self, request, context)
        except GradloomError as error:
            result = type(error).__name__
            await refuse(context, error)
        finally:
            self._coordinator.metrics.commanded(method.__name__, result, time.perf_counter() - began)
        raise AssertionError("abort does not return")

    return wrapper


def who(context: Context) -> str:
    """The person behind a call, as its client says; else the address that it comes from."""
    given = dict(context.invocation_metadata() or ()).get(USER_KEY, "")
    return str(given) or str(context.peer())
