"""The two streams of each worker: gRPC in, the attendance and the scheduler out. Messages are only translated."""

import asyncio
import logging
import time

import grpc

from gradloom.algorithms import versions
from gradloom.errors import GradloomError, NotAllowed, Unavailable, VersionMismatch, WireError
from gradloom.jobs import RetryReason
from gradloom.v1 import worker_pb2
from gradloom.wire import PROTOCOL_VERSION
from gradloom.wire.frames import FrameKind, credit_frame, parse_frame
from gradloom.wire.steps import failure_from_proto
from gradloom_coordinator.access.callers import CALLER
from gradloom_coordinator.links import Incoming, WorkerLink
from gradloom_coordinator.refusals import Context, refuse
from gradloom_coordinator.runtime import Coordinator
from gradloom_coordinator.scheduling.events import PartialOffered, TaskFailed, WorkerDraining
from gradloom_coordinator.sending import task_ref
from gradloom_coordinator.wording import with_last_lines

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
UPLOADS_LIMIT_S = 2.0
"""A worker that has said Goodbye has written its last partial; it may still be on its way."""
CREDIT_BATCH = 4
"""Frames that are granted together."""


class WorkerServicer:
    """The two streams of each worker. Registered by hand: what we write is bytes that were serialized once."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._attendance = coordinator.attendance
        self._answers = coordinator.answers
        self._dispatch = coordinator.dispatch
        self._messages = coordinator.attendance.messages
        self._metrics = coordinator.metrics

    def handler(self) -> grpc.GenericRpcHandler:
        """The service as gRPC wants it."""
        return grpc.method_handlers_generic_handler(
            "gradloom.v1.WorkerService",
            {
                "Session": grpc.stream_stream_rpc_method_handler(
                    self.session, request_deserializer=self._messages.read
                ),
                "Bulk": grpc.stream_stream_rpc_method_handler(
                    self.bulk, request_deserializer=self._messages.read_frame
                ),
            },
        )

    # ---- the typed session

    async def session(self, requests: object, context: Context) -> None:
        """One worker, from Hello to its end."""
        try:
            link = self._attendance.join(await _hello(context), CALLER.get().identity.name)
        except NotAllowed:
            raise  # the guard counts it, and writes it down
        except GradloomError as error:
            await refuse(context, error)
            return
        goodbye, detail = False, "its session broke off"
        writer = asyncio.create_task(link.session.drain_to(self._messages.writing(context.write)))
        reader = asyncio.create_task(self._read_session(link, context))
        closing = asyncio.create_task(link.closing.wait())
        try:
            await asyncio.wait((writer, reader, closing), return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                detail = link.close_reason
            elif reader.done():
                goodbye, detail = _ending(link, reader)
        finally:
            for task in (writer, reader, closing):
                task.cancel()
            self._attendance.leave(link, detail, goodbye=goodbye)
            link.close(detail)
        if not goodbye:
            _end_with_reason(context, detail)

    async def _read_session(self, link: WorkerLink, context: Context) -> tuple[bool, str]:
        while True:
            message = await context.read()
            if message is grpc.aio.EOF:
                return False, "its session ended"
            match message.WhichOneof("kind"):
                case "partial":
                    self._partial(link, message.partial)
                case "heartbeat":
                    self._attendance.heard(link, message.heartbeat)
                case "failed":
                    self._failed(link, message.failed)
                case "given_up":
                    self._attendance.given_up(link, message.given_up.tasks)
                case "draining":
                    self._dispatch(WorkerDraining(link.worker, message.draining.reason))
                case "goodbye":
                    await link.uploads_end(UPLOADS_LIMIT_S)
                    return True, message.goodbye.reason
                case kind:
                    log.warning("worker %s sent %s, which is not expected here", link.worker, kind)

    def _partial(self, link: WorkerLink, partial: worker_pb2.Partial) -> None:
        task = task_ref(partial.task)
        if partial.bundle.WhichOneof("carrier") == "transfer_id":
            link.incoming[partial.bundle.transfer_id] = Incoming(task, partial)
            self._dispatch(PartialOffered(link.worker, task))
            return
        start = time.perf_counter()
        try:
            tensors = self._answers.decoded(link, task, partial.bundle)
        except WireError as error:
            self._dispatch(TaskFailed(link.worker, task, RetryReason.CHECKSUM, error.message))
            return
        self._answers.arrived(link, task, partial, tensors, time.perf_counter() - start)

    def _failed(self, link: WorkerLink, failed: worker_pb2.TaskFailed) -> None:
        reason = failure_from_proto(failed.reason)
        if failed.detail:
            log.info(
                "worker %s, shards %d-%d:\n%s", link.worker, failed.task.lo, failed.task.hi - 1, failed.detail
            )
        words = with_last_lines(failed.message, failed.detail)
        self._dispatch(TaskFailed(link.worker, task_ref(failed.task), reason, words))

    # ---- the raw bulk stream

    async def bulk(self, requests: object, context: Context) -> None:
        """Frames of one worker, until its session ends."""
        metadata = dict(context.invocation_metadata() or ())
        session = str(metadata.get("gradloom-session", ""))
        link = self._attendance.link_with_token(session, CALLER.get().identity.name)
        if link is None or link.has_bulk:
            problem = "no such session" if link is None else "its bulk stream is open already"
            self._metrics.not_allowed("session")
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"gradloom-session: {problem}")
            return
        link.has_bulk = True
        writer = asyncio.create_task(link.bulk.drain_to(self._messages.writing_frames(context.write)))
        reader = asyncio.create_task(self._read_bulk(link, context))
        closing = asyncio.create_task(link.closing.wait())
        try:
            await asyncio.wait((writer, reader, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            broken = next((t.exception() for t in (writer, reader) if t.done() and not t.cancelled()), None)
            for task in (writer, reader, closing):
                task.cancel()
            link.close(f"its bulk stream broke: {broken}" if broken else "its bulk stream ended")
        _end_with_reason(context, link.close_reason)

    async def _read_bulk(self, link: WorkerLink, context: Context) -> None:
        consumed: dict[int, int] = {}
        while (message := await context.read()) is not grpc.aio.EOF:
            try:
                frame = parse_frame(message)
            except WireError as error:
                self._all_damaged(link, error)
                continue
            if frame.kind is FrameKind.CREDIT:
                link.bulk.grant(frame.transfer_id, frame.granted)
                continue
            incoming = link.incoming.get(frame.transfer_id)
            if incoming is None or incoming.upload is None or frame.kind is not FrameKind.DATA:
                continue  # refused meanwhile
            try:
                complete = incoming.upload.add(frame)
                start = time.perf_counter()
                tensors = incoming.upload.whole() if complete else None
            except WireError as error:
                self._answers.damaged(link, frame.transfer_id, error)
                continue
            if complete:
                consumed.pop(frame.transfer_id, None)
                del link.incoming[frame.transfer_id]
                now = time.perf_counter()
                self._answers.uploaded(
                    link, incoming.task, incoming.partial, time.monotonic() - incoming.accepted_at
                )
                self._answers.arrived(link, incoming.task, incoming.partial, tensors, now - start)
                link.changed.set()
                continue
            self._return_credit(link, frame.transfer_id, consumed)

    def _return_credit(self, link: WorkerLink, transfer_id: int, consumed: dict[int, int]) -> None:
        consumed[transfer_id] = consumed.get(transfer_id, 0) + 1
        if consumed[transfer_id] == CREDIT_BATCH:
            link.bulk.control(credit_frame(transfer_id, consumed.pop(transfer_id)))

    def _all_damaged(self, link: WorkerLink, error: WireError) -> None:
        """A frame that can't be trusted names no transfer that can: everything under way is tried again."""
        for transfer_id in [t for t, incoming in link.incoming.items() if incoming.upload is not None]:
            self._answers.damaged(link, transfer_id, error)


def _ending(link: WorkerLink, reader: "asyncio.Task[tuple[bool, str]]") -> tuple[bool, str]:
    """Whether a worker left on purpose, and why its session is over."""
    error = reader.exception()
    if error is None:
        return reader.result()
    log.error("the session of worker %s broke off", link.worker, exc_info=error)
    return False, f"its session broke off: {error}"


def _end_with_reason(context: Context, reason: str) -> None:
    context.set_code(grpc.StatusCode.ABORTED)
    context.set_details(reason)


async def _hello(context: Context) -> worker_pb2.Hello:
    try:
        message = await asyncio.wait_for(context.read(), HELLO_TIMEOUT_S)
    except TimeoutError:
        raise Unavailable(f"no Hello within {HELLO_TIMEOUT_S:g} s") from None
    if message is grpc.aio.EOF or message.WhichOneof("kind") != "hello":
        raise VersionMismatch("the first message of a session must be Hello")
    hello: worker_pb2.Hello = message.hello
    if hello.protocol_version != PROTOCOL_VERSION:
        raise VersionMismatch(
            f"protocol_version: the worker speaks {hello.protocol_version}, "
            f"the coordinator {PROTOCOL_VERSION}; install the same gradloom on both"
        )
    _check_algorithms(hello)
    return hello


def _check_algorithms(hello: worker_pb2.Hello) -> None:
    """A worker may know other algorithms than we do, but not other versions of the same."""
    for name, ours in versions().items():
        theirs = hello.algorithms.get(name)
        if theirs is not None and theirs != ours:
            raise VersionMismatch(
                f"algorithm {name!r}: the coordinator has version {ours}, the worker {theirs}; "
                "install the same gradloom on both"
            )
