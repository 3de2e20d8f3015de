"""Errors of ours as the status that ends a call."""

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from grpc_status import rpc_status

from gradloom.errors import GradloomError
from gradloom.status import to_status
from gradloom_coordinator.access.callers import CALLER

Context = Any  # grpc.aio.ServicerContext, which has no types
R = TypeVar("R")


async def refuse(context: Context, error: GradloomError) -> None:
    """End a call with the error's status and details."""
    await context.abort_with_status(rpc_status.to_status(to_status(error)))


def answering_errors(
    method: Callable[[Any, Any, Context], Awaitable[R]],
) -> Callable[[Any, Any, Context], Awaitable[R]]:
    """Turn a GradloomError of a unary method into its gRPC status; its servicer's coordinator counts and records it."""

    @functools.wraps(method)
    async def wrapper(self: Any, request: Any, context: Context) -> R:
        failure: BaseException | None = None
        began, response = time.perf_counter(), None
        try:
            response = await method(self, request, context)
        except GradloomError as error:
            failure = error
            await refuse(context, error)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._coordinator.called(method.__name__, request, response, failure, time.perf_counter() - began)
        assert response is not None, "abort does not return"
        return response

    return wrapper


def who(context: Context) -> str:
    """The person behind a call: by token or certificate; where nobody is asked, as they say, or their address."""
    return CALLER.get().name or str(context.peer())
