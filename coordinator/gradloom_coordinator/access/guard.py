"""Stands before every method of the coordinator: who calls, may they, and not too much of it at a time.

What the token alone can decide is decided before the request is read, so that a stranger can't have us take in
megabytes. The certificate is only known once the call has begun; its handler is wrapped. Streams outlive the moment
they were allowed in: one whose token is revoked or expires is ended within seconds.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from gradloom.connection import USER_KEY
from gradloom.errors import GradloomError, NotAllowed, TooManyCalls, Unauthenticated
from gradloom.settings import CoordinatorSettings
from gradloom.tls import is_loopback
from gradloom_coordinator.access.audit import AuditLog
from gradloom_coordinator.access.callers import CALLER, Caller
from gradloom_coordinator.access.identity import NAME, Asks, Denied, Identity, Shown, decide, identify
from gradloom_coordinator.access.rates import OpenStreams, Rates
from gradloom_coordinator.access.table import RULES, short
from gradloom_coordinator.access.watched_tokens import LOOK_EVERY_S, WatchedTokens
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.peers import peer_certificate
from gradloom_coordinator.refusals import Context, refuse

log = logging.getLogger(__name__)

Handler = Any  # grpc.RpcMethodHandler, which has no types
Metadata = Sequence[tuple[str, str | bytes]]

AUTHORIZATION = "authorization"
BEARER = "bearer "
WORKERS = "/gradloom.v1.WorkerService/"
GREETING = 64
"""Streams of workers that may be open beside two for each: those that have not said Hello, or are about to end."""
BURST_S = 2.0
"""A caller that was quiet may make so many seconds' calls at once."""
CALLS_FOR_A_CHANGE, CHANGES_BURST_S = 40, 8.0
"""Calls that change something are so much rarer: each one is written down, here and in the database, and whoever makes
too many would push the record of the others out."""
DENIALS_PER_S = 5.0
"""Refused calls that are logged and audited; of more than those only the number is kept."""


@dataclass(slots=True, eq=False)
class _Open:
    """A stream that was let in."""

    identity: Identity
    task: "asyncio.Task[Any] | None"
    revoked: str = ""


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # it has no types
    """Lets calls in or refuses them. Raises InvalidInput for a file of tokens that can't be read."""

    def __init__(self, settings: CoordinatorSettings, metrics: CoordinatorMetrics, audit: AuditLog) -> None:
        self._tokens = None if settings.tokens_file is None else WatchedTokens(settings.tokens_file)
        self._asks = Asks(tokens=self._tokens is not None, tls=settings.tls is not None)
        self._metrics = metrics
        self._audit = audit
        # whoever is on this machine shares one address, and could stop us anyway
        is_private = not self._asks.tokens and not self._asks.tls and is_loopback(settings.host)
        calls_per_s = 0.0 if is_private else settings.calls_per_s
        changes_per_s = calls_per_s / CALLS_FOR_A_CHANGE
        self._rates = Rates(calls_per_s, BURST_S * calls_per_s)
        self._changes = Rates(changes_per_s, CHANGES_BURST_S * changes_per_s)
        self._denials = Rates(DENIALS_PER_S, 4 * DENIALS_PER_S)
        self._unlogged = 0
        each = settings.max_streams if is_private else settings.max_streams_per_caller
        self._streams = OpenStreams(each, settings.max_streams)
        workers = 2 * settings.max_workers + GREETING
        self._worker_streams = OpenStreams(workers, workers)
        self._open: set[_Open] = set()
        if not self._asks.tokens and not self._asks.tls:
            level = logging.INFO if is_loopback(settings.host) else logging.WARNING
            log.log(level, "neither tokens nor TLS: whoever reaches %s may do everything", settings.host)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The handler of a call, wrapped, or one that refuses it."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        shown = self._shown(handler_call_details.invocation_metadata)
        denied, identity = self._by_token_alone(method, shown)
        if denied is not None:
            return self._refusing(method, denied, identity)
        return self._wrapped(handler, method, shown)

    async def keep_watch(self) -> None:
        """Look at the tokens from time to time, and end streams of those that count no more, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look_at_tokens()
                self._tell_unlogged()
            except Exception:
                log.exception("the tokens could not be looked after")

    async def _look_at_tokens(self) -> None:
        if self._tokens is None:
            return
        try:
            await self._tokens.look()
        finally:  # those that were read last may have expired
            self._end_revoked(self._tokens, time.time())

    # ---- who, and whether

    def _shown(self, metadata: Metadata) -> Shown:
        values = [value for key, value in metadata if key == AUTHORIZATION]
        if not values or self._tokens is None:
            return Shown()
        text = values[0] if isinstance(values[0], str) else ""
        if len(values) > 1 or text[: len(BEARER)].lower() != BEARER:
            return Shown(has_token=True)
        return Shown(has_token=True, token=self._tokens.book.find(text[len(BEARER) :].strip()))

    def _by_token_alone(self, method: str, shown: Shown) -> tuple[Denied | None, Identity | None]:
        """A refusal that no certificate could turn, and whose call it is if that is known."""
        rule = RULES.get(method)
        if (
            not self._asks.tokens
            or (rule is not None and not rule.asked)
            or (self._asks.tls and not shown.has_token)
        ):
            return None, None
        identity = identify(Asks(tokens=True, tls=False), shown, time.time())
        if isinstance(identity, Denied):
            return identity, None
        return decide(identity, method), identity

    def _caller(self, method: str, shown: Shown, context: Context) -> Caller | Denied:
        says = str(dict(context.invocation_metadata() or ()).get(USER_KEY, ""))
        rule = RULES.get(method)
        if rule is not None and not rule.asked:
            return Caller(peer=str(context.peer()), says=says)
        certificate = peer_certificate(context) if self._asks.tls else None
        if certificate is not None:
            name, role = certificate.common_name, certificate.organizational_unit
            shown = Shown(shown.has_token, shown.token, name, role)
        identity = identify(self._asks, shown, time.time())
        return identity if isinstance(identity, Denied) else Caller(identity, str(context.peer()), says)

    # ---- letting in

    def _wrapped(self, handler: Handler, method: str, shown: Shown) -> Handler:
        behavior = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )

        async def answer(request: object, context: Context) -> Any:
            await self._admit(method, shown, context, streams=False)
            return await behavior(request, context)

        async def converse(request: object, context: Context) -> Any:
            async with self._as_long_as_allowed(method, shown, context):
                return await behavior(request, context)

        async def answers(request: object, context: Context) -> AsyncIterator[Any]:
            async with (
                self._as_long_as_allowed(method, shown, context),
                aclosing(behavior(request, context)) as responses,
            ):
                async for response in responses:
                    yield response

        if inspect.isasyncgenfunction(behavior):
            return _with_behavior(handler, answers)
        streams = handler.request_streaming or handler.response_streaming
        return _with_behavior(handler, converse if streams else answer)

    async def _admit(self, method: str, shown: Shown, context: Context, *, streams: bool) -> Identity:
        """Let a call in: from here on it is known whose it is. Ends it otherwise."""
        caller = self._caller(method, shown, context)
        if isinstance(caller, Denied):
            await self._refuse(context, method, caller, None)
            raise AssertionError("a refusal does not return")  # noqa: TRY004 - nothing is checked here
        if denied := decide(caller.identity, method):
            await self._refuse(context, method, denied, caller.identity)
        if problem := self._too_much(method, caller, context, streams=streams):
            await refuse(context, problem)
        CALLER.set(caller)
        return caller.identity

    @asynccontextmanager
    async def _as_long_as_allowed(self, method: str, shown: Shown, context: Context) -> AsyncIterator[None]:
        """Let a stream in, and end it when its token counts no more."""
        identity = await self._admit(method, shown, context, streams=True)
        entry = _Open(identity, asyncio.current_task())
        self._open.add(entry)
        context.add_done_callback(lambda _: self._open.discard(entry))
        try:
            yield
        except asyncio.CancelledError:
            if not entry.revoked:
                raise
            assert entry.task is not None
            entry.task.uncancel()
            await refuse(context, Unauthenticated(entry.revoked))
        except NotAllowed as error:  # for a reason that only whoever answers can know
            await self._refuse(context, method, Denied(NAME, error), identity)

    def _too_much(
        self, method: str, caller: Caller, context: Context, *, streams: bool
    ) -> GradloomError | None:
        now, rule = time.monotonic(), RULES.get(method)
        wait_s = self._rates.take(caller.key, now)
        if wait_s <= 0 and rule is not None and rule.changes:
            wait_s = self._changes.take(caller.key, now)
        if wait_s > 0:
            return TooManyCalls(
                f"{caller.key} makes too many calls a second; again in {wait_s:.3f} s", wait_s
            )
        if not streams:
            return None
        counted = self._worker_streams if method.startswith(WORKERS) else self._streams
        if problem := counted.open(caller.key):
            return TooManyCalls(problem)
        context.add_done_callback(lambda _: counted.close(caller.key))
        return None

    # ---- refusing

    def _refusing(self, method: str, denied: Denied, identity: Identity | None) -> Handler:
        """Ends a call of whatever kind, without reading it: on the wire, all are streams."""

        async def end(_: object, context: Context) -> None:
            await self._refuse(context, method, denied, identity)

        return grpc.stream_stream_rpc_method_handler(end)

    async def _refuse(self, context: Context, method: str, denied: Denied, identity: Identity | None) -> None:
        self._metrics.not_allowed(denied.kind)
        peer = str(context.peer())
        caller = Caller(peer=peer) if identity is None else Caller(identity, peer)
        if self._denials.take("", time.monotonic()) > 0:
            self._unlogged += 1
        else:
            log.warning("refused %s to %s: %s", short(method), peer, denied.error.message)
            rule = RULES.get(method)
            if identity is not None and rule is not None and (rule.changes or denied.kind == NAME):
                self._audit.write(caller, short(method), error=denied.error)
        await refuse(context, denied.error)

    def _tell_unlogged(self) -> None:
        if self._unlogged:
            log.warning("refused %d more calls", self._unlogged)
            self._unlogged = 0

    def _end_revoked(self, tokens: WatchedTokens, now: float) -> None:
        for entry in list(self._open):
            token = entry.identity.token
            if token is None or entry.revoked or entry.task is None:
                continue
            if token.expired(now) or not tokens.book.holds(token):
                entry.revoked = f"the token of {token.name!r} has " + (
                    "expired" if token.expired(now) else "been revoked"
                )
                log.info("a stream of %s ends: %s", token.name, entry.revoked)
                entry.task.cancel()


def _with_behavior(handler: Handler, behavior: Callable[..., Any]) -> Handler:
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(behavior, handler.request_deserializer, handler.response_serializer)
