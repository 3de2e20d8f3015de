"""Carries out what the pure session decides: owns the channel, the clock, the executor and the jobs' work."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, count
from typing import Any

import grpc

from gradloom.errors import GradloomError, Unavailable
from gradloom.jobs import RetryReason
from gradloom.settings import WorkerSettings
from gradloom.streams import Transfer
from gradloom.v1 import worker_pb2
from gradloom.wire.bundles import bundle_of, encode
from gradloom.wire.data import shard_from_proto
from gradloom.wire.faults import fault_from_proto
from gradloom.wire.frames import FrameKind, credit_frame, data_frames, n_frames, parse_frame
from gradloom_worker import commands as c
from gradloom_worker import events as e
from gradloom_worker.answers import Answers, Kept
from gradloom_worker.broadcasts import Broadcasts
from gradloom_worker.calling import Line
from gradloom_worker.chaos import Chaos, damaged
from gradloom_worker.executor import Executor, Failed, Outcome, failure_of
from gradloom_worker.messages import (
    failed_message,
    given_up_message,
    heartbeat_message,
    hello_message,
    job_work,
    order_of,
    partial_message,
    tasks_named,
    tasks_of,
)
from gradloom_worker.metrics import WorkerMetrics
from gradloom_worker.phases import Doing, PhaseClock
from gradloom_worker.readable import readable
from gradloom_worker.session import Backoff, Phase, Session
from gradloom_worker.shards import ShardStore
from gradloom_worker.speech import Streams
from gradloom_worker.uplinks import Uplinks
from gradloom_worker.work import Computed, JobWork

log = logging.getLogger(__name__)

Call = Any
"""grpc.aio.StreamStreamCall, which has no types."""
CREDIT_BATCH = 4
GOODBYE_LIMIT_S = 2.0
"""The coordinator ends the session when it has heard our Goodbye, and all answers before it."""


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
        self._line = Line(settings)
        self.store = ShardStore(settings.cache_bytes, readable(settings))
        self._phases = PhaseClock(clock)
        self._answers = Answers()
        self.metrics = WorkerMetrics(
            settings.name, self.store, self._phases, self._answers, self._line.certificate_ends_at
        )
        self.metrics_address = metrics_address
        self.ended_because = ""
        """Known once ``run`` has ended."""
        self._on_welcome = on_welcome
        self._clock = clock
        self._session = Session(
            Backoff(give_up_after_s=settings.give_up_after_s),
            resume_for_s=settings.resume_for_s,
            drain_timeout_s=settings.drain_timeout_s,
        )
        self._chaos = Chaos(allowed=settings.allow_chaos, wanted=lambda: self._session.wanted, clock=clock)
        self._executor = Executor(self.store, self._phases.switch, self._chaos.slowness, self._chaos.spoil)
        self._streams = Streams(self._written)
        self._work: dict[str, JobWork | str] = {}
        self._broadcasts = Broadcasts()
        self._uplinks = Uplinks()
        self._flushing = False
        self._transfer_ids = count(1)
        self._exit: asyncio.Future[tuple[int, str]] | None = None
        self._conversation: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Connect and work until told to leave; the exit code."""
        self._exit = asyncio.get_running_loop().create_future()
        self._handle(e.Connect())
        code, self.ended_because = await self._exit
        log.info("leaving: %s", self.ended_because)
        if self._conversation is not None:
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._conversation, GOODBYE_LIMIT_S)
        self._executor.close()
        return code

    @property
    def welcome(self) -> bool:
        """Whether a coordinator has it now."""
        return self._session.connected

    def leave(self, reason: str) -> None:
        """Finish or hand back what is in hand, tell the coordinator, and end; the second time end at once."""
        self._handle(e.LeaveRequested(reason))

    # ---- commands

    def _handle(self, event: e.Event) -> None:
        for command in self._session.handle(event, self._clock(), random.random()):  # noqa: S311 - only jitter
            self._execute(command)
        self._settle()

    def _execute(self, command: c.Command) -> None:
        match command:
            case c.RunTask():
                self._run_task(command.task)
            case c.Answer():
                self._answer(command.task)
            case c.AnswerAgain():
                self._say(command.task)
            case c.Discard():
                self._answers.forget(command.task)
                self._uplinks.dropped(command.task)
                self.metrics.discarded()
            case c.Forget():
                self._forget(command)
            case c.OpenSession():
                self._conversation = asyncio.create_task(self._converse(command))
            case c.ConnectLater():
                log.warning("not connected, next try in %.1f s: %s", command.after_s, command.reason)
                self._later(command.after_s, e.Connect())
            case c.LimitDrain():
                self._later(command.after_s, e.DrainTimedOut())
            case c.Flush():
                self._flushing = True
                asyncio.get_running_loop().call_soon(self._written)
            case c.GiveUp():
                self._streams.send(given_up_message(command.tasks))
            case c.SayDraining():
                draining = worker_pb2.Draining(reason=command.reason)
                self._streams.send(worker_pb2.WorkerMessage(draining=draining))
            case c.SayGoodbye():
                goodbye = worker_pb2.Goodbye(reason=command.reason)
                self._streams.send(worker_pb2.WorkerMessage(goodbye=goodbye))
            case c.Exit():
                assert self._exit is not None
                if not self._exit.done():
                    self._exit.set_result((command.code, command.reason))

    def _later(self, after_s: float, event: e.Event) -> None:
        asyncio.get_running_loop().call_later(after_s, self._handle, event)

    def _written(self) -> None:
        """All that was queued on a stream is written."""
        if self._flushing and not self._streams.pending:
            self._handle(e.Flushed())
        self._settle()

    def _settle(self) -> None:
        """Tell the clock what we do now; while a task is computed, its thread does."""
        if not self._executor.busy:
            self._phases.switch(self._doing())

    def _doing(self) -> Doing:
        if not self._session.connected:
            return Doing.IDLE
        if self._session.waiting:  # and nothing is computed: its message is not here
            return Doing.DECODE
        if self._streams.pending:
            return Doing.SEND
        return Doing.BARRIER_WAIT if self._work else Doing.IDLE

    # ---- tasks

    def _run_task(self, task: e.Task) -> None:
        work = self._work.get(task.job, "no Setup came before this task")
        message = self._broadcasts.message(task.job, task.round)
        if isinstance(work, str) or message is None:
            why = work if isinstance(work, str) else "its broadcast is gone"
            failed = Failed(RetryReason.EXCEPTION, why, "")
            asyncio.get_running_loop().call_soon(self._task_done, task, failed)
            return
        packing = self._uplinks.packing(task, work, message)
        self._executor.submit(task, work, message, self._task_done, packing)

    def _task_done(self, task: e.Task, outcome: Outcome) -> None:
        if isinstance(outcome, Computed):
            outcome = self._uplinks.encoded(task, outcome)
        else:
            self._uplinks.dropped(task)
        self._answers.keep(task, outcome)
        self._handle(e.TaskEnded(task))

    def _answer(self, task: e.Task) -> None:
        outcome = self._say(task)
        if isinstance(outcome, Computed):
            self.metrics.answered(outcome)
        else:
            self.metrics.failed()
        self._answers.trim()

    def _say(self, task: e.Task) -> Outcome | None:
        """Send an answer if it is still kept; what was sent."""
        kept = self._answers.get(task)
        if kept is None:
            return None
        try:
            if isinstance(kept.outcome, Computed):
                self._send_partial(task, kept, kept.outcome)
                return kept.outcome
        except Exception as error:
            log.exception("the partial of %s can't be sent", task)
            failed = failure_of(error)
            self._answers.keep(task, failed)
        else:
            failed = kept.outcome
        self._streams.send(failed_message(task, failed))
        return failed

    def _send_partial(self, task: e.Task, kept: Kept, computed: Computed) -> None:
        if not self._executor.busy:
            self._phases.switch(Doing.ENCODE)
        start = self._clock()
        encoded = encode(computed.partial)
        transfer_id = next(self._transfer_ids)
        bundle = bundle_of(encoded, transfer_id)
        frames = data_frames(transfer_id, encoded.buffers)
        if self._chaos.corrupts_next():
            if encoded.fits_inline:
                bundle.inline.payload = damaged(bundle.inline.payload)
            else:
                frames = chain([damaged(next(frames))], frames)
        busy_s = computed.load_s + computed.compute_s + computed.encode_s
        queue_s = max(start - task.given_at - busy_s, 0.0)
        encode_s = computed.encode_s + self._clock() - start
        self._streams.send(partial_message(task, bundle, computed, queue_s, encode_s))
        self._uplinks.sent(task)
        if not encoded.fits_inline:
            # the coordinator grants credit once it wants the partial
            size = n_frames(encoded.byte_length)
            self._streams.bulk.start(Transfer(task.job, transfer_id, frames, size, credit=0))
            kept.transfer_id = transfer_id

    def _forget(self, command: c.Forget) -> None:
        for task in command.tasks:
            kept = self._answers.forget(task)
            if kept is not None and kept.transfer_id and command.unsend:
                self._streams.bulk.drop(kept.transfer_id)

    # ---- one conversation with the coordinator

    async def _converse(self, session: c.OpenSession) -> None:
        self._start_afresh()
        refused, code = False, "OK"
        try:
            async with self._line.open() as channel:
                detail = await self._speak(channel, session)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            refused = self._line.is_final(error.code())
            detail = await self._line.why(error)
        except (asyncio.InvalidStateError, GradloomError) as error:
            detail = str(error)
        except Exception as error:  # whatever it is: a worker that does not hear of its session's end is lost
            log.exception("the session breaks off")
            detail = f"{type(error).__name__}: {error}"
        self.metrics.session_over(code)
        self._line.move_on()
        self._handle(e.SessionEnded(detail, refused))

    def _start_afresh(self) -> None:
        for job in self._work:
            self._executor.forget(job)
        self._work.clear()
        self._broadcasts.clear()
        self._streams = Streams(self._written)

    async def _speak(self, channel: grpc.aio.Channel, session: c.OpenSession) -> str:
        open_session = channel.stream_stream(
            "/gradloom.v1.WorkerService/Session",
            response_deserializer=worker_pb2.CoordinatorMessage.FromString,
        )
        call = self._chaos.guard(open_session(metadata=self._line.metadata()))
        try:
            async with asyncio.timeout(self._line.welcome_limit_s):
                await call.write(hello_message(self.settings, self.metrics_address, session))
                message = await call.read()
        except TimeoutError:
            raise Unavailable(
                f"no Welcome from {self._line.address} within {self._line.welcome_limit_s:.3g} s"
            ) from None
        if message is grpc.aio.EOF or message.WhichOneof("kind") != "welcome":
            raise grpc.aio.AioRpcError(
                await call.code(),
                await call.initial_metadata(),
                await call.trailing_metadata(),
                await call.details(),
            )
        welcome = message.welcome
        self._line.reached()
        how = "resumed the session with" if welcome.resumed else "joined"
        log.info("%s %s as %s", how, self._line.address, welcome.worker)
        if not welcome.resumed:
            self._uplinks.clear()
        self._handle(e.Welcomed(welcome.session_token, welcome.resumed))
        if self._session.phase is Phase.GONE:
            return self.ended_because
        self.metrics.welcomed(welcome.worker)
        self._on_welcome(welcome.worker)
        open_bulk = channel.stream_stream("/gradloom.v1.WorkerService/Bulk")
        metadata = (*self._line.metadata(), ("gradloom-session", welcome.session_token))
        bulk = self._chaos.guard(open_bulk(metadata=metadata))
        return await self._pump(call, bulk, welcome.heartbeat_interval_seconds)

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
            streams.send(heartbeat_message(sequence, self._phases.seconds()))
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
                case "take_back":
                    self._handle(e.TasksTakenBack(tasks_named(message.take_back.tasks)))
                case "cancel":
                    self._handle(e.TasksCancelled(tasks_named(message.cancel.tasks)))
                case "drain":
                    self._handle(e.DrainAsked(message.drain.reason or "an operator wants it to leave"))
                case "inject":
                    self._chaos.inject(fault_from_proto(message.inject))
                case kind:
                    log.warning("the coordinator sent %s, which is not expected here", kind)
        return f"the coordinator ended the session: {await call.details() or 'no reason given'}"

    async def _read_bulk(self, bulk: Call) -> str:
        consumed: dict[int, int] = {}
        while (message := await bulk.read()) is not grpc.aio.EOF:
            # a damaged broadcast ends the session: it is sent anew in the next one
            frame = parse_frame(message)
            match frame.kind:
                case FrameKind.CREDIT:
                    self._streams.bulk.grant(frame.transfer_id, frame.granted)
                case FrameKind.REFUSAL:
                    self._streams.bulk.drop(frame.transfer_id)
                case FrameKind.DATA:
                    if arrived := self._broadcasts.add(frame):
                        self._handle(arrived)
                    consumed[frame.transfer_id] = consumed.get(frame.transfer_id, 0) + 1
                    if frame.last:
                        del consumed[frame.transfer_id]
                    elif consumed[frame.transfer_id] == CREDIT_BATCH:
                        granted = consumed.pop(frame.transfer_id)
                        self._streams.bulk.control(credit_frame(frame.transfer_id, granted))
        return "the coordinator ended the bulk stream"

    # ---- messages

    def _set_up(self, setup: worker_pb2.Setup) -> None:
        try:
            self._work[setup.job_id] = job_work(setup, self._work.get(setup.job_id))
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
        job, round_number = compute.job_id, compute.round
        counted = [(task.round, task.range) for task in tasks_named(compute.counted)]
        decided = compute.earlier_are_decided
        self._uplinks.heard(job, round_number, order_of(compute), counted, decided=decided)
        if compute.HasField("broadcast"):
            if not self._executor.busy:
                self._phases.switch(Doing.DECODE)
            base, replicated = compute.base_round, compute.replicated
            self._broadcasts.announce(job, round_number, compute.broadcast, base, replicated)
        is_here = self._broadcasts.message(job, round_number) is not None
        if tasks := tasks_of(compute, self._clock()):
            self._handle(e.TasksGiven(tasks, is_here))

    def _release(self, job: str) -> None:
        self._handle(e.JobReleased(job))
        self._work.pop(job, None)
        self._broadcasts.forget(job)
        self._streams.bulk.drop_job(job)
        self._uplinks.forget(job)
        self._executor.forget(job)
