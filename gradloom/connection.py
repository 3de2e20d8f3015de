"""One gRPC channel to a coordinator, with the patience of a client: deadlines, repeated calls, resumed streams.

Every RPC of JobService and ClusterService is idempotent, which is what makes trying again safe. No value is
translated here but events, and no decision is taken but whether and when to try again.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import grpc

from gradloom.addresses import addresses_of
from gradloom.channels import Channels, Methods
from gradloom.credentials import Certificates
from gradloom.errors import GradloomError, InvalidInput, NotLeading, NotTrusted, TooManyCalls, Unavailable
from gradloom.jobs import JobEvent, StateChanged
from gradloom.settings import Access
from gradloom.status import from_rpc_error
from gradloom.tls import check_target, leaves_the_machine
from gradloom.tokens import checked
from gradloom.v1 import cluster_service_pb2, cluster_service_pb2_grpc, job_service_pb2, job_service_pb2_grpc
from gradloom.watching import Assembly, ClusterChange, ClusterView
from gradloom.wire import MAX_MESSAGE_BYTES
from gradloom.wire.cluster import change_from_proto
from gradloom.wire.jobs import event_from_proto, job_from_proto

R = TypeVar("R")
log = logging.getLogger(__name__)

USER_KEY = "gradloom-user"
"""Metadata that says who asks."""
TOKEN_KEY = "authorization"  # noqa: S105 - the name of a header
RECONNECT_LIMIT_S = 15.0
"""How long a call waits for a cluster to come back: a coordinator that is started again takes a few seconds, one that
takes over from another the time of its lease and a little more."""
FIRST_CONTACT_LIMIT_S = 2.0
"""How long it waits for one that has never answered: most likely there is none."""
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 2.0
CONNECT_LIMIT_S = 25.0
"""A stream that lasted longer was there; gRPC itself tries to connect for 20 s."""

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A machine that vanished while a stream was silent is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # The defaults, 1 s and 2 min, are longer than a coordinator needs to come back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

CHANNEL_OPTIONS_OF_SEVERAL = (
    *(option for option in CHANNEL_OPTIONS if not option[0].endswith(("e_time_ms", "timeout_ms"))),
    # One that hangs is not waited for as long where there are others; gRPC would try to connect for 20 s.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.min_reconnect_backoff_ms", 2_000),
)

# CANCELLED is what a server that shuts down in the middle of a stream may leave behind.
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class Connection:
    """A channel and its stubs; ``timeout_s`` bounds each call, and how long a broken stream may stay broken.

    ``user`` and the token of ``access`` go with every call. ``jobs`` and ``cluster`` are the generated stubs, which
    carry no types. Raises InvalidInput where plain text would leave this machine, or a file of TLS is no good.
    """

    def __init__(self, address: str, timeout_s: float, user: str = "", access: Access | None = None) -> None:
        if not timeout_s > 0:
            raise InvalidInput("timeout_s", f"{timeout_s} is not allowed; it must be more than 0 seconds")
        self.address = address
        self.timeout_s = timeout_s
        self.access = access or Access()
        self._metadata = _metadata(user, self.access.token)
        self._closed = threading.Event()
        self._answered = False
        addresses = addresses_of("address", address)
        options = CHANNEL_OPTIONS if len(addresses) == 1 else CHANNEL_OPTIONS_OF_SEVERAL
        self._channels = Channels(addresses, _certificates(addresses, self.access), options)
        self.jobs: Any = Methods(job_service_pb2_grpc.JobServiceStub, self._channels)
        self.cluster: Any = Methods(cluster_service_pb2_grpc.ClusterServiceStub, self._channels)

    def close(self) -> None:
        """End all calls. Closing twice does nothing."""
        self._closed.set()
        self._channels.close()

    def call(self, method: Callable[..., R], request: object) -> R:
        """One call, tried again while the cluster is away, all within ``timeout_s``."""
        return self._patiently(partial(self._start, method, request), self.timeout_s)

    def download(self, method: Callable[..., Any], request: object, timeout_s: float) -> list[Any]:
        """All messages of one server stream, from the beginning again if it breaks, all within ``timeout_s``."""
        return self._patiently(lambda left_s: list(self.stream(method, request, left_s)), timeout_s)

    def send(self, method: Callable[..., R], requests: Callable[[], Iterator[Any]], timeout_s: float) -> R:
        """One client stream, from the beginning again if it breaks, all within ``timeout_s``."""
        return self._patiently(lambda left_s: self._start(method, requests(), left_s), timeout_s)

    def _patiently(self, attempt: Callable[[float], R], timeout_s: float) -> R:
        """Try until it succeeds, is refused, or the cluster has been away for too long."""
        deadline, away_since, pauses = time.monotonic() + timeout_s, None, _pauses()
        while True:
            address = self._channels.address
            try:
                result = attempt(max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                self._answered = self._answered or is_answer(error)
                wait_s = _asked_to_wait_s(error)
                if wait_s and time.monotonic() + wait_s < deadline:
                    self._closed.wait(wait_s)
                    continue
                now, pause = time.monotonic(), next(pauses) / len(self._channels)
                limit_s = RECONNECT_LIMIT_S if self._answered else FIRST_CONTACT_LIMIT_S
                gone_on_s = 0.0 if away_since is None else now - away_since
                if error.code() not in _AWAY or now + pause >= deadline or gone_on_s + pause >= limit_s:
                    raise self._failure(error) from error
                first = away_since is None and not (self._answered or self._channels.several)
                if first and (trouble := self._channels.trouble()):
                    raise NotTrusted(trouble) from error
                away_since = now if away_since is None else away_since
                self._channels.move_on(address)
            else:
                self._answered = True
                return result
            self._closed.wait(pause)

    def stream(self, method: Callable[..., Any], request: object, timeout_s: float | None) -> Iterator[Any]:
        """The messages of one server stream; raises grpc.RpcError. Leaving early ends the call."""
        call = self._start(method, request, timeout_s)
        try:
            yield from call
        finally:
            call.cancel()

    def events(self, job_id: str, after_sequence: int, deadline: float | None) -> Iterator[JobEvent]:
        """A job's events up to the one of a final state, each once; or up to ``deadline`` (monotonic seconds).

        A stream that breaks is taken up again after the last event. Raises Unavailable once it has been broken
        for ``timeout_s``, and what the server refuses at once.
        """
        seen, broken_since, pauses = after_sequence, None, _pauses()
        while True:
            failure, began, address = None, time.monotonic(), self._channels.address
            try:
                for event in self._watch(job_id, seen, deadline):
                    seen, broken_since, pauses = event.sequence, None, _pauses()
                    yield event
                    if isinstance(event.what, StateChanged) and event.what.state.final:
                        return
            except grpc.RpcError as error:
                failure = error
            now = time.monotonic()
            if _past(deadline, now, failure) or (failure is None and self._is_final(job_id)):
                return
            if now - began > MAX_PAUSE_S and self._was_there(job_id, now - began):
                broken_since, pauses = None, _pauses()
            self._channels.move_on(address)
            broken_since = broken_since or now
            self._check_worth_resuming(failure, now - broken_since)
            self._closed.wait(next(pauses) / len(self._channels))

    def cluster_views(self, deadline: float | None) -> Iterator[ClusterView]:
        """The cluster as it stands, again whenever something has changed; up to ``deadline`` (monotonic seconds).

        A stream that breaks, or ends because the coordinator stops, is begun anew. Raises as ``events``.
        """
        broken_since, pauses = None, _pauses()
        while True:
            failure, assembly, address = None, Assembly(), self._channels.address
            try:
                for change in self._changes(deadline):
                    broken_since, pauses = None, _pauses()
                    if (view := assembly.take(change)) is not None:
                        yield view
            except grpc.RpcError as error:
                failure = error
            now = time.monotonic()
            if _past(deadline, now, failure):
                return
            self._channels.move_on(address)
            broken_since = broken_since or now
            self._check_worth_resuming(failure, now - broken_since)
            self._closed.wait(next(pauses) / len(self._channels))

    def _changes(self, deadline: float | None) -> Iterator[ClusterChange]:
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        request = cluster_service_pb2.WatchClusterRequest()
        return map(change_from_proto, self.stream(self.cluster.WatchCluster, request, timeout_s))

    def _watch(self, job_id: str, after_sequence: int, deadline: float | None) -> Iterator[JobEvent]:
        request = job_service_pb2.WatchJobRequest(job_id=job_id, after_sequence=after_sequence)
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        for response in self.stream(self.jobs.WatchJob, request, timeout_s):
            yield event_from_proto(response.event)

    def _was_there(self, job_id: str, lasted_s: float) -> bool:
        """Whether a stream that broke was cut off while it was silent, rather than never begun."""
        return lasted_s > CONNECT_LIMIT_S or self._is_final(job_id) is not None

    def _is_final(self, job_id: str) -> bool | None:
        """Whether a job has ended and its stream has nothing more to say; None if the cluster does not answer."""
        try:
            response = self._start(
                self.jobs.GetJob, job_service_pb2.GetJobRequest(job_id=job_id), self.timeout_s
            )
        except grpc.RpcError:  # the next stream will tell
            return None
        return job_from_proto(response.job).state.final

    def _check_worth_resuming(self, failure: grpc.RpcError | None, broken_s: float) -> None:
        if failure is not None and failure.code() not in _AWAY:
            raise self._failure(failure) from failure
        if broken_s >= self.timeout_s:
            if trouble := self._channels.trouble():
                raise NotTrusted(trouble)
            why = "it keeps ending the stream" if failure is None else failure.details()
            raise Unavailable(
                f"the events of the cluster at {self.address} stopped and did not come back"
                f" within {self.timeout_s:g} s: {why}"
            )

    def _failure(self, error: grpc.RpcError) -> GradloomError:
        """What a call failed of; gRPC's words for a refused certificate are of no use to people."""
        failure = from_rpc_error(error, self.address)
        if (
            type(failure) is Unavailable
            and not self._closed.is_set()
            and (trouble := self._channels.trouble())
        ):
            return NotTrusted(trouble)
        return failure

    def _start(self, method: Callable[..., R], request: object, timeout_s: float | None) -> R:
        try:
            return method(request, timeout=timeout_s, metadata=self._metadata)
        except ValueError:  # what grpc raises for a closed channel
            if self._closed.is_set():
                raise Unavailable(f"this client of {self.address} has been closed") from None
            raise


def _certificates(addresses: tuple[str, ...], access: Access) -> Certificates | None:
    """What a connection shows and trusts; None for plain text, which is allowed here or loudly."""
    for address in addresses:
        check_target("address", address, access.tls, insecure=access.insecure)
    if access.tls is not None:
        return Certificates(access.tls)
    for host in filter(None, map(leaves_the_machine, addresses)):
        log.warning("INSECURE: what is said with %s is neither encrypted nor signed (--insecure)", host)
    return None


def is_answer(error: grpc.RpcError) -> bool:
    """Whether somebody of ours was there to refuse a call."""
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return True
    return isinstance(from_rpc_error(error), NotLeading)


def _metadata(user: str, token: str) -> tuple[tuple[str, str], ...]:
    shown = checked(token)
    words = {USER_KEY: user, TOKEN_KEY: shown and f"Bearer {shown}"}
    return tuple((key, text) for key, text in words.items() if text)


def _asked_to_wait_s(error: grpc.RpcError) -> float:
    """How long we are to wait who ask too much at a time; 0 = it is not that."""
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return 0.0
    failure = from_rpc_error(error)
    return failure.retry_after_s if isinstance(failure, TooManyCalls) else 0.0


def _past(deadline: float | None, now: float, failure: grpc.RpcError | None) -> bool:
    """Whether our own deadline is over; gRPC's clock may be a moment ahead of ours."""
    if deadline is None:
        return False
    return now >= deadline or (failure is not None and failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED)


def _pauses() -> Iterator[float]:
    """Seconds between tries: doubling up to MAX_PAUSE_S, jittered so that many clients don't return at once."""
    pause = FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it
        pause = min(2 * pause, MAX_PAUSE_S)
