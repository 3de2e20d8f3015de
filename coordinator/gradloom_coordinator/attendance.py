"""Which workers are here or may come back, and all that goes between each of them and the scheduler.

A worker whose stream breaks is known until the scheduler forgets it: a Hello with its token resumes the session under
the same name. Of two streams with one token the newer counts. A resumed link has been given nothing: setup, shards and
broadcasts are sent anew as they are needed.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, count

from gradloom.algorithms import versions
from gradloom.codecs import NONE, Account
from gradloom.codecs.left_over import is_left_over, parted
from gradloom.errors import Conflict, JobFailed, NotFound, Overloaded, WireError
from gradloom.faults import Fault
from gradloom.jobs import RetryReason, WorkerPhases, WorkerView
from gradloom.settings import CoordinatorSettings
from gradloom.steps import Step
from gradloom.tensors import Tensors
from gradloom.v1 import tensor_pb2, worker_pb2
from gradloom.wire.bundles import check_packed, decode_inline, raw_bytes
from gradloom.wire.cluster import phases_from_proto
from gradloom.wire.faults import fault_to_proto
from gradloom.wire.frames import INITIAL_CREDIT, credit_frame, refusal_frame
from gradloom_coordinator.links import Arrived, WorkerLink
from gradloom_coordinator.monitoring.message_counts import MessageCounts
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.monitoring.views import worker_view
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.admission import Admission, Offer
from gradloom_coordinator.scheduling.closing import refusal_of
from gradloom_coordinator.scheduling.meters import Reading, Tally
from gradloom_coordinator.scheduling.rounds import Refusal
from gradloom_coordinator.scheduling.state import ClusterState
from gradloom_coordinator.sending import send_tasks, task_key, task_ref
from gradloom_coordinator.wording import sentence_of

log = logging.getLogger(__name__)

MAX_NAME = 100
MAX_SECONDS = 1e9
MAX_SQUARE = 1e100
NOTHING_ENCODED = Account()
PACKED_BYTES, PACKED_TIMES = 64 * 1024 * 1024, 4
"""What the packed tensors of an answer may take once decoded: so much, or so many times the round's message. They are
sums of gradients, as large as the parameters in that message, in float64 at most."""

WorkerCommand = (
    c.SendTasks
    | c.TakeBack
    | c.CancelTasks
    | c.DrainWorker
    | c.ForgetWorker
    | c.EndSession
    | c.MergePartial
    | c.AcceptOffer
    | c.DropPartial
)


@dataclass(frozen=True, slots=True)
class Record:
    """A worker that is here, or may come back."""

    worker: e.WorkerId
    token: str
    hello: worker_pb2.Hello
    heard_at: float
    """When the Hello came; seconds since the epoch."""


class Attendance:
    """The workers of one coordinator."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        state: ClusterState,
        runs: Mapping[e.JobId, JobRun],
        metrics: CoordinatorMetrics,
        dispatch: Callable[[e.Event], None],
    ) -> None:
        self.links: dict[e.WorkerId, WorkerLink] = {}
        """The workers that are here."""
        self._known: dict[e.WorkerId, Record] = {}
        self._phases: dict[e.WorkerId, WorkerPhases] = {}
        """What workers last said of their time."""
        self._settings = settings
        self._state = state
        self._runs = runs
        self._metrics = metrics
        self._dispatch = dispatch
        self._arrived: dict[tuple[e.WorkerId, e.TaskRef], Arrived] = {}
        self._admission = Admission(settings.partials_limit_bytes)
        self.messages = MessageCounts()
        self._stalls = 0
        """Of links that are gone."""

    def views(self, now: float) -> list[WorkerView]:
        """The workers as people see them, by name; those that may come back included."""
        known = [record for _, record in sorted(self._known.items()) if record.worker in self._state.workers]
        return [
            worker_view(
                r.worker, r.hello, r.heard_at, self._phases.get(r.worker), self._state, self._runs, now
            )
            for r in known
        ]

    def heard(self, link: WorkerLink, heartbeat: worker_pb2.Heartbeat) -> None:
        """A sign of life."""
        if heartbeat.HasField("phases"):
            self._phases[link.worker] = phases_from_proto(heartbeat.phases)
        self._dispatch(e.HeartbeatReceived(link.worker))

    def readings(self) -> list[Reading]:
        """The streams, and what went through them, for the metrics."""
        links = self.links.values()
        streams = Tally("grpc_streams_active", "Streams of workers that are open.")
        streams.set(sum(1 + link.has_bulk for link in links))
        stalls = Tally("flow_control_stalls", "How often frames waited for the other side to have room.")
        stalls.add(by=self._stalls + sum(link.bulk.stalls for link in links))
        return [streams.reading("gauge"), stalls.reading(), *self.messages.readings()]

    # ---- coming and going

    def join(self, hello: worker_pb2.Hello) -> WorkerLink:
        """Welcome a worker: back into its session, or under a unique name. Raises Overloaded when all is full."""
        record = self._with_token(hello.resume_token)
        if record is not None and record.worker in self._state.workers:
            return self._resume(record, hello)
        self._forget_predecessor(hello)
        if len(self._known) >= self._settings.max_workers:
            raise Overloaded(f"the cluster holds {len(self._known)} workers, as many as it may")
        link = self._open(
            Record(self._free_name(hello.name), uuid.uuid4().hex, hello, time.time()), resumed=False
        )
        log.info("worker %s joined from %s", link.worker, hello.host)
        joined = e.WorkerJoined(
            link.worker,
            hello.host,
            dict(hello.labels),
            max(plausible(hello.cores), 0.01),
            hello.memory_bytes,
            frozenset(versions()) - set(hello.algorithms),
        )
        self._dispatch(joined)
        return link

    def _resume(self, record: Record, hello: worker_pb2.Hello) -> WorkerLink:
        if older := self.links.get(record.worker):
            self.leave(older, "its worker has resumed the session on a newer stream", goodbye=False)
        link = self._open(Record(record.worker, record.token, hello, time.time()), resumed=True)
        log.info("worker %s is back", link.worker)
        computing = task_ref(hello.computing) if hello.HasField("computing") else None
        self._dispatch(e.WorkerResumed(link.worker, computing))
        return link

    def _open(self, record: Record, *, resumed: bool) -> WorkerLink:
        link = WorkerLink(record.worker, record.token)
        self._known[record.worker] = record
        self.links[record.worker] = link
        if not resumed:
            self._phases.pop(record.worker, None)
        welcome = worker_pb2.Welcome(
            worker=record.worker,
            session_token=record.token,
            heartbeat_interval_seconds=self._settings.heartbeat_interval_s,
            resumed=resumed,
        )
        link.say(worker_pb2.CoordinatorMessage(welcome=welcome))
        return link

    def _forget_predecessor(self, hello: worker_pb2.Hello) -> None:
        """A worker that was started anew on its host takes the name of the one that died there, at once."""
        before = self._known.get(hello.name[:MAX_NAME])
        if before is None or before.worker in self.links or before.hello.host != hello.host:
            return
        if before.hello.pid != hello.pid:
            del self._known[before.worker]
            self._gone(before.worker)
            self._dispatch(e.WorkerLeft(before.worker, "its process was started anew"))

    def _free_name(self, wished: str) -> str:
        wished = wished[:MAX_NAME] or "worker"
        return next(n for n in chain([wished], (f"{wished}-{i}" for i in count(2))) if n not in self._known)

    def leave(self, link: WorkerLink, detail: str, *, goodbye: bool) -> None:
        """A worker's session is over, or broken and may be resumed."""
        if self.links.get(link.worker) is not link:
            return
        del self.links[link.worker]
        self._stalls += link.bulk.stalls
        link.close(detail)
        if goodbye:
            del self._known[link.worker]
            self._gone(link.worker)
            log.info("worker %s has left: %s", link.worker, detail)
            self._dispatch(e.WorkerLeft(link.worker, detail))
        else:
            log.info("worker %s broke off: %s", link.worker, detail)
            self._dispatch(e.StreamBroken(link.worker, detail))

    def link_with_token(self, token: str) -> WorkerLink | None:
        """The session that a bulk stream belongs to."""
        record = self._with_token(token)
        return self.links.get(record.worker) if record is not None else None

    def _with_token(self, token: str) -> Record | None:
        return next((record for record in self._known.values() if record.token == token), None)

    # ---- what the scheduler wants

    def execute(self, command: WorkerCommand) -> None:
        """Carry out a command about a worker or its tasks. Raises JobFailed, or whatever goes wrong."""
        match command:
            case c.SendTasks():
                self._send_tasks(command)
            case c.TakeBack():
                self._take_back(command)
            case c.CancelTasks():
                self._cancel(command)
            case c.DrainWorker():
                if link := self.links.get(command.worker):
                    link.say(worker_pb2.CoordinatorMessage(drain=worker_pb2.Drain(reason=command.reason)))
            case c.ForgetWorker():
                self._known.pop(command.worker, None)
                self._gone(command.worker)
            case c.EndSession():
                self._known.pop(command.worker, None)
                self._gone(command.worker)
                if ended := self.links.pop(command.worker, None):
                    self._stalls += ended.bulk.stalls
                    ended.close(command.reason)
            case c.MergePartial():
                self._merge(command)
                self.admit()
            case c.AcceptOffer():
                self._accept_offer(command)
            case c.DropPartial():
                self._drop(command)
                self.admit()

    def _send_tasks(self, command: c.SendTasks) -> None:
        link, run = self.links.get(command.worker), self._runs[command.job]
        if link is not None and run.broadcast is not None:
            send_tasks(link, run, command.tasks)

    def _take_back(self, command: c.TakeBack) -> None:
        if link := self.links.get(command.worker):
            take_back = worker_pb2.TakeBack(tasks=map(task_key, command.tasks))
            link.say(worker_pb2.CoordinatorMessage(take_back=take_back))

    def _cancel(self, command: c.CancelTasks) -> None:
        if link := self.links.get(command.worker):
            link.refuse(command.tasks)
            cancel = worker_pb2.Cancel(tasks=map(task_key, command.tasks))
            link.say(worker_pb2.CoordinatorMessage(cancel=cancel))

    def release(self, job: e.JobId) -> None:
        """The job has ended: its workers forget it."""
        for link in self.links.values():
            if job in link.given:
                link.release(job)

    def inject(self, worker: e.WorkerId, fault: Fault) -> None:
        """Have a worker do harm to itself. Raises NotFound, Conflict."""
        record, link = self._known.get(worker), self.links.get(worker)
        if record is None:
            here = ", ".join(sorted(self.links)) or "none"
            raise NotFound(f"worker: {worker!r} is not known; connected now: {here}")
        if not record.hello.allow_chaos:
            raise Conflict(
                f"worker {worker} takes no faults; start it with --allow-chaos or GRADLOOM_ALLOW_CHAOS=1"
            )
        if link is None:
            raise Conflict(f"worker {worker} is away; try again when it is back")
        link.say(worker_pb2.CoordinatorMessage(inject=fault_to_proto(fault)))

    # ---- answers

    def decoded(self, link: WorkerLink, task: e.TaskRef, bundle: tensor_pb2.Bundle) -> Tensors | Refusal:
        """The arrays of an answer whose bytes came with it, or why nobody wants them. Raises WireError."""
        if refusal := refusal_of(self._state, link.worker, task):
            check_packed(bundle.tensors)
            return refusal
        return decode_inline(bundle, self._most_packed(task.job))

    def _most_packed(self, job: e.JobId) -> int:
        run = self._runs.get(job)
        message = run.broadcast.raw_bytes if run is not None and run.broadcast is not None else 0
        return max(PACKED_BYTES, PACKED_TIMES * message)

    def arrived(
        self,
        link: WorkerLink,
        task: e.TaskRef,
        partial: worker_pb2.Partial,
        tensors: Tensors | Refusal | None,
        decode_s: float = 0.0,
    ) -> None:
        """A partial is here with all its bytes; ``tensors`` is None if its frames were merged as they came.

        Or it is why the scheduler will refuse them; it hears of the answer all the same.
        """
        times = partial.times
        spent = e.TaskTimes(
            queue_s=plausible(times.queue_seconds),
            load_s=plausible(times.load_seconds),
            compute_s=plausible(times.compute_seconds),
            encode_s=plausible(times.encode_seconds),
        )
        self._note_traffic(link, task, partial, spent.encode_s, decode_s)
        account = _account(partial.codec_report) if partial.HasField("codec_report") else NOTHING_ENCODED
        if not isinstance(tensors, Refusal):
            self._arrived[link.worker, task] = Arrived(tensors, account, partial.holds_back)
        try:
            self._dispatch(
                e.PartialArrived(link.worker, task, partial.rows, spent, partial.bundle.byte_length)
            )
        finally:
            self._arrived.pop((link.worker, task), None)

    def _note_traffic(
        self, link: WorkerLink, task: e.TaskRef, partial: worker_pb2.Partial, encode_s: float, decode_s: float
    ) -> None:
        run = self._runs.get(task.job)
        if run is None or run.training is None or run.training.step is not Step.TRAIN:
            return
        given, bundle = link.given.get(task.job), partial.bundle
        heard = given is not None and given.answered(task)
        own = [spec for spec in bundle.tensors if not is_left_over(spec.name)]
        raw = bundle.byte_length if run.traffic.codec == NONE else raw_bytes(own)
        run.traffic.arrived(link.worker, task, raw, bundle.byte_length, encode_s, decode_s, heard=heard)

    def uploaded(
        self, link: WorkerLink, task: e.TaskRef, partial: worker_pb2.Partial, seconds: float
    ) -> None:
        """A big partial took so many seconds from the moment it was asked for."""
        self._admission.ended(link.worker, partial.bundle.transfer_id)
        if run := self._runs.get(task.job):
            raw = raw_bytes(partial.bundle.tensors)
            run.traffic.uploaded(raw, partial.bundle.byte_length, seconds)

    def _gone(self, worker: e.WorkerId) -> None:
        """A worker is gone for good, and what it held back of its gradients with it."""
        self._phases.pop(worker, None)
        for run in self._runs.values():
            if not run.state.final and run.traffic.worker_gone(worker):
                log.warning(
                    "job %s: worker %s took with it what it had not sent of its gradients", run.job_id, worker
                )

    def given_up(self, link: WorkerLink, tasks: Iterable[worker_pb2.TaskKey]) -> None:
        """A worker gave tasks back before it had started them."""
        self._dispatch(e.TasksGivenUp(link.worker, tuple(map(task_ref, tasks))))

    def damaged(self, link: WorkerLink, transfer_id: int, error: WireError) -> None:
        """A big partial can't be what was computed: refuse the rest of it, and have it computed again."""
        incoming = link.incoming.pop(transfer_id, None)
        if incoming is not None:
            link.bulk.control(refusal_frame(transfer_id))
            self._dispatch(e.TaskFailed(link.worker, incoming.task, RetryReason.CHECKSUM, error.message))

    def _merge(self, command: c.MergePartial) -> None:
        arrived = self._arrived.pop((command.worker, command.task))
        tensors = arrived.tensors
        run = self._runs[command.task.job]
        assert run.collector is not None
        assert run.training is not None
        left_over: Tensors = {}
        if tensors is not None:
            tensors, left_over = parted(tensors)
        if run.training.step is Step.TRAIN:
            account, more = arrived.account, arrived.holds_back
            run.traffic.counted(command.worker, command.task, account, left_over, holds_back=more)
        if tensors is None:
            return
        try:
            run.collector.add(command.task.range, run.training.damped(tensors, command.staleness))
        except Exception as error:
            where = f"the sum of shards {command.task.range} does not fit the others"
            raise JobFailed(f"{where}: {sentence_of(error)}") from error

    def _accept_offer(self, command: c.AcceptOffer) -> None:
        link, run = self.links[command.worker], self._runs[command.task.job]
        assert run.collector is not None
        for transfer_id, incoming in list(link.incoming.items()):
            if incoming.task != command.task or incoming.upload is not None:
                continue
            try:
                check_packed(incoming.partial.bundle.tensors, self._most_packed(run.job_id))
                incoming.upload = run.collector.upload(command.task.range, incoming.partial.bundle)
            except WireError as error:
                self.damaged(link, transfer_id, error)
            else:
                size = incoming.partial.bundle.byte_length
                self._admission.offer(Offer(command.task.range.lo, link.worker, transfer_id, size))
        self.admit()

    def admit(self) -> None:
        """Have the big partials come that memory has room for."""
        for offer in self._admission.admit(self._held_bytes, self._is_wanted):
            link = self.links[offer.worker]
            incoming = link.incoming[offer.transfer_id]
            if not incoming.accepted_at:  # else an offer of the same number, of a process that is gone
                incoming.accepted_at = time.monotonic()
                link.bulk.control(credit_frame(offer.transfer_id, INITIAL_CREDIT))

    def _held_bytes(self) -> int:
        return sum(run.collector.held_bytes for run in self._runs.values() if run.collector is not None)

    def _is_wanted(self, worker: e.WorkerId, transfer_id: int) -> bool:
        link = self.links.get(worker)
        return link is not None and transfer_id in link.incoming

    def _drop(self, command: c.DropPartial) -> None:
        self._metrics.dropped(command.reason)
        link, run = self.links.get(command.worker), self._runs.get(command.task.job)
        if link is None:
            return
        link.refuse((command.task,))
        if run is None or run.state.final:  # the worker was away when the job ended
            link.release(command.task.job)


def _account(report: worker_pb2.CodecReport) -> Account:
    return Account(
        square_error=plausible(report.square_error, MAX_SQUARE),
        square_norm=plausible(report.square_norm, MAX_SQUARE),
        square_residual=plausible(report.square_residual, MAX_SQUARE),
    )


def plausible(said: float, limit: float = MAX_SECONDS) -> float:
    """What a worker says that something took or came to, if it can be true."""
    return said if 0.0 <= said < limit else 0.0
