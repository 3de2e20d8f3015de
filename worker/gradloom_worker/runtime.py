"""Carries out what the pure session decides: owns the channel, the clock, the executor and the jobs' work."""

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import grpc

from gradloom import __version__
from gradloom.algorithms import build, versions
from gradloom.canonical import Range
from gradloom.errors import GradloomError, VersionMismatch
from gradloom.jobs import RetryReason
from gradloom.settings import WorkerSettings
from gradloom.streams import FrameOutbox, Outbox, Transfer
from gradloom.v1 import worker_pb2
from gradloom.wire import PROTOCOL_VERSION
from gradloom.wire.bundles import bundle_of, encode
from gradloom.wire.data import manifest_from_proto, preparation_from_proto, shard_from_proto, split_from_proto
from gradloom.wire.frames import FrameKind, credit_frame, data_frames, n_frames, parse_frame
from gradloom.wire.steps import failure_to_proto, step_from_proto
from gradloom_worker import session as s
from gradloom_worker.broadcasts import Broadcasts
from gradloom_worker.executor import Executor, Failed, Outcome, failure_of
from gradloom_worker.host import cpu_cores, memory_bytes
from gradloom_worker.metrics import WorkerMetrics
from gradloom_worker.shards import ShardStore
from gradloom_worker.work import Computed, JobWork

log = logging.getLogger(__name__)

Call = Any
"""grpc.aio.StreamStreamCall, which has no types."""
CREDIT_BATCH = 4
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
"""Every attempt to connect has a subchannel of its own: a shared one would remember gRPC's long backoff."""


class Streams:
    """What is written to the coordinator during one session."""

    def __init__(self) -> None:
        self.session = Outbox()
        self.bulk = FrameOutbox()

    def send(self, message: worker_pb2.WorkerMessage) -> None:
        """Queue a message of the typed session."""
        self.session.put(message.SerializeToString())


class WorkerRuntime:
    """One worker. ``run`` ends with the process's exit code."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        metrics_address: str = "",
        on_welcome: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.store = ShardStore(settings.cache_bytes)
        self.metrics = WorkerMetrics(self.store)
        self.metrics_address = metrics_address
        self.ended_because = ""
        """Known once ``run`` has ended."""
        self._on_welcome = on_welcome
        self._clock = clock
        self._session = s.Session(s.Backoff(give_up_after_s=settings.give_up_after_s))
        self._executor = Executor(self.store)
        self._streams = Streams()
        self._work: dict[str, JobWork | str] = {}
        self._broadcasts = Broadcasts()
        self._outcomes: dict[s.Task, Outcome] = {}
        self._transfer_ids = count(1)
        self._exit: asyncio.Future[tuple[int, str]] | None = None
        self._conversation: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Connect and work until told to leave; the exit code."""
        self._exit = asyncio.get_running_loop().create_future()
        self._handle(s.Connect())
        code, self.ended_because = await self._exit
        log.info("leaving: %s", self.ended_because)
        if self._conversation is not None:
            # a Goodbye may still be in the outbox
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._conversation, 1.0)
        self._executor.close()
        return code

    def leave(self, reason: str) -> None:
        """Tell the coordinator, and end."""
        self._handle(s.LeaveRequested(reason))

    # ---- commands

    def _handle(self, event: s.Event) -> None:
        for command in self._session.handle(event, self._clock(), random.random()):  # noqa: S311 - only jitter
            self._execute(command)

    def _execute(self, command: s.Command) -> None:
        match command:
            case s.RunTask():
                self._run_task(command.task)
            case s.Answer():
                self._answer(command.task, self._outcomes.pop(command.task))
            case s.Discard():
                self._outcomes.pop(command.task, None)
                self.metrics.discarded()
            case s.OpenSession():
                self._conversation = asyncio.create_task(self._converse())
            case s.ConnectLater():
                log.warning("not connected, next try in %.1f s: %s", command.after_s, command.reason)
                asyncio.get_running_loop().call_later(command.after_s, self._handle, s.Connect())
            case s.SayGoodbye():
                self._streams.send(
                    worker_pb2.WorkerMessage(goodbye=worker_pb2.Goodbye(reason=command.reason))
                )
            case s.Exit():
                assert self._exit is not None
                if not self._exit.done():
                    self._exit.set_result((command.code, command.reason))

    def _run_task(self, task: s.Task) -> None:
        work = self._work.get(task.job, "no Setup came before this task")
        message = self._broadcasts.message(task.job, task.round)
        if isinstance(work, str) or message is None:
            why = work if isinstance(work, str) else "its broadcast is gone"
            failed = Failed(RetryReason.EXCEPTION, why, "")
            asyncio.get_running_loop().call_soon(self._task_done, task, failed)
            return
        self._executor.submit(task, work, message, self._task_done)

    def _task_done(self, task: s.Task, outcome: Outcome) -> None:
        self._outcomes[task] = outcome
        self._handle(s.TaskEnded(task))

    def _answer(self, task: s.Task, outcome: Outcome) -> None:
        match outcome:
            case Failed():
                self._send_failure(task, outcome)
            case Computed():
                try:
                    self._send_partial(task, outcome)
                except Exception as error:
                    log.exception("the partial of %s can't be sent", task)
                    self._send_failure(task, failure_of(error))

    def _send_failure(self, task: s.Task, failed: Failed) -> None:
        self.metrics.failed()
        words = worker_pb2.TaskFailed(
            task=_task_key(task),
            reason=failure_to_proto(failed.reason),
            message=_sendable(failed.message),
            detail=_sendable(failed.detail),
        )
        self._streams.send(worker_pb2.WorkerMessage(failed=words))

    def _send_partial(self, task: s.Task, computed: Computed) -> None:
        start = self._clock()
        encoded = encode(computed.partial)
        transfer_id = next(self._transfer_ids)
        bundle = bundle_of(encoded, transfer_id)
        encode_s = self._clock() - start
        queue_s = start - task.given_at - computed.load_s - computed.compute_s
        times = worker_pb2.TaskTimes(
            queue_seconds=max(queue_s, 0.0),
            load_seconds=computed.load_s,
            compute_seconds=computed.compute_s,
            encode_seconds=encode_s,
        )
        partial = worker_pb2.Partial(task=_task_key(task), bundle=bundle, times=times, rows=computed.rows)
        self._streams.send(worker_pb2.WorkerMessage(partial=partial))
        if not encoded.fits_inline:
            # the coordinator grants credit once it wants the partial
            frames = data_frames(transfer_id, encoded.buffers)
            self._streams.bulk.start(
                Transfer(task.job, transfer_id, frames, n_frames(encoded.byte_length), credit=0)
            )
        self.metrics.answered(queue_s, computed.load_s, computed.compute_s, encode_s, computed.rows)

    # ---- one conversation with the coordinator

    async def _converse(self) -> None:
        self._start_afresh()
        refused = False
        try:
            async with grpc.aio.insecure_channel(
                self.settings.coordinator, options=CHANNEL_OPTIONS
            ) as channel:
                detail = await self._speak(channel)
        except grpc.aio.AioRpcError as error:
            refused = error.code() is grpc.StatusCode.FAILED_PRECONDITION
            detail = error.details() or str(error.code())
        except (asyncio.InvalidStateError, GradloomError) as error:
            detail = str(error)
        except Exception as error:  # whatever it is: a worker that does not hear of its session's end is lost
            log.exception("the session breaks off")
            detail = f"{type(error).__name__}: {error}"
        self._handle(s.SessionEnded(detail, refused))

    def _start_afresh(self) -> None:
        for job in self._work:
            self._executor.forget(job)
        self._work.clear()
        self._broadcasts.clear()
        self._streams = Streams()

    async def _speak(self, channel: grpc.aio.Channel) -> str:
        call = channel.stream_stream(
            "/gradloom.v1.WorkerService/Session",
            response_deserializer=worker_pb2.CoordinatorMessage.FromString,
        )()
        await call.write(worker_pb2.WorkerMessage(hello=self._hello()).SerializeToString())
        welcome = await call.read()
        if welcome is grpc.aio.EOF or welcome.WhichOneof("kind") != "welcome":
            raise grpc.aio.AioRpcError(
                await call.code(),
                await call.initial_metadata(),
                await call.trailing_metadata(),
                await call.details(),
            )
        self._handle(s.Welcomed())
        log.info("joined %s as %s", self.settings.coordinator, welcome.welcome.worker)
        self._on_welcome(welcome.welcome.worker)
        bulk = channel.stream_stream("/gradloom.v1.WorkerService/Bulk")(
            metadata=(("gradloom-session", welcome.welcome.session_token),)
        )
        return await self._pump(call, bulk, welcome.welcome.heartbeat_interval_seconds)

    async def _pump(self, call: Call, bulk: Call, beat_s: float) -> str:
        streams = self._streams
        # in the order in which they are believed when several end together: first the coordinator's own words
        parts: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._read_session(call)),
            asyncio.create_task(self._read_bulk(bulk)),
            asyncio.create_task(streams.session.drain_to(call.write)),
            asyncio.create_task(streams.bulk.drain_to(bulk.write)),
            asyncio.create_task(self._beat(streams, beat_s)),
        ]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            return str(next(part for part in parts if part in done).result())
        finally:
            for part in parts:
                part.cancel()
            call.cancel()
            bulk.cancel()
            # whatever the others raised is heard, or asyncio would complain of it
            await asyncio.gather(*parts, return_exceptions=True)

    async def _beat(self, streams: Streams, interval_s: float) -> str:
        for sequence in count(1):
            await asyncio.sleep(interval_s)
            heartbeat = worker_pb2.Heartbeat(sequence=sequence)
            streams.send(worker_pb2.WorkerMessage(heartbeat=heartbeat))
        raise AssertionError("count never ends")

    async def _read_session(self, call: Call) -> str:
        while (message := await call.read()) is not grpc.aio.EOF:
            match message.WhichOneof("kind"):
                case "compute":
                    self._compute(message.compute)
                case "setup":
                    self._set_up(message.setup)
                case "assign_shards":
                    self._assign(message.assign_shards)
                case "release":
                    self._release(message.release.job_id)
                case kind:
                    log.warning("the coordinator sent %s, which is not expected here", kind)
        return f"the coordinator ended the session: {await call.details() or 'no reason given'}"

    async def _read_bulk(self, bulk: Call) -> str:
        consumed: dict[int, int] = {}
        while (message := await bulk.read()) is not grpc.aio.EOF:
            frame = parse_frame(
                message
            )  # a damaged broadcast ends the session: it is sent anew in the next one
            match frame.kind:
                case FrameKind.CREDIT:
                    self._streams.bulk.grant(frame.transfer_id, frame.granted)
                case FrameKind.REFUSAL:
                    self._streams.bulk.drop(frame.transfer_id)
                case FrameKind.DATA:
                    self._give(self._broadcasts.add(frame))
                    consumed[frame.transfer_id] = consumed.get(frame.transfer_id, 0) + 1
                    if frame.last:
                        del consumed[frame.transfer_id]
                    elif consumed[frame.transfer_id] == CREDIT_BATCH:
                        self._streams.bulk.control(
                            credit_frame(frame.transfer_id, consumed.pop(frame.transfer_id))
                        )
        return "the coordinator ended the bulk stream"

    # ---- messages

    def _hello(self) -> worker_pb2.Hello:
        return worker_pb2.Hello(
            protocol_version=PROTOCOL_VERSION,
            name=self.settings.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            cores=cpu_cores(),
            memory_bytes=memory_bytes(),
            version=__version__,
            algorithms=versions(),
            metrics_address=self.metrics_address,
        )

    def _set_up(self, setup: worker_pb2.Setup) -> None:
        try:
            self._work[setup.job_id] = _job_work(setup, self._work.get(setup.job_id))
        except GradloomError as error:
            self._work[setup.job_id] = error.message
        except Exception as error:
            log.exception("the setup of job %s fails", setup.job_id)
            self._work[setup.job_id] = f"the job's setup fails: {type(error).__name__}: {error}"

    def _assign(self, assign: worker_pb2.AssignShards) -> None:
        work = self._work.get(assign.job_id)
        if isinstance(work, JobWork):
            work.plans.update({plan.index: shard_from_proto(plan) for plan in assign.shards})

    def _compute(self, compute: worker_pb2.Compute) -> None:
        now = self._clock()
        tasks = [
            s.Task(compute.job_id, compute.round, Range(t.lo, t.hi), t.attempt, now) for t in compute.tasks
        ]
        if compute.HasField("broadcast"):
            ready = self._broadcasts.announce(compute.job_id, compute.round, compute.broadcast, tasks)
        else:
            ready = self._broadcasts.more_tasks(compute.job_id, compute.round, tasks)
        self._give(ready)

    def _give(self, tasks: list[s.Task]) -> None:
        if tasks:
            self._handle(s.TasksGiven(tuple(tasks)))

    def _release(self, job: str) -> None:
        self._handle(s.JobReleased(job))
        self._work.pop(job, None)
        self._broadcasts.forget(job)
        self._streams.bulk.drop_job(job)
        self._executor.forget(job)


def _task_key(task: s.Task) -> worker_pb2.TaskKey:
    return worker_pb2.TaskKey(
        job_id=task.job, round=task.round, lo=task.range.lo, hi=task.range.hi, attempt=task.attempt
    )


def _sendable(text: str) -> str:
    """The text with ? for what UTF-8 can't carry: halves of surrogate pairs, as names of files may hold them."""
    return text.encode("utf-8", "replace").decode()


def _job_work(setup: worker_pb2.Setup, before: JobWork | str | None) -> JobWork:
    algorithm = build(setup.algorithm, setup.settings)
    if algorithm.version != setup.algorithm_version:
        raise VersionMismatch(
            f"algorithm {setup.algorithm!r}: the coordinator has version {setup.algorithm_version}, "
            f"this worker {algorithm.version}; install the same gradloom on both"
        )
    step = step_from_proto(setup.step)
    source_key, preparation_key = (
        part.SerializeToString(deterministic=True).hex() for part in (setup.source, setup.preparation)
    )
    return JobWork(
        step=step,
        algorithm=algorithm,
        n_shards=setup.n_shards,
        source_key=f"{source_key}/{setup.n_shards}",
        preparation_key=preparation_key,
        manifest=manifest_from_proto(setup.source, ()),
        split=split_from_proto(setup.preparation),
        preparation=preparation_from_proto(setup.preparation),
        plans=before.plans if isinstance(before, JobWork) else {},
    )
