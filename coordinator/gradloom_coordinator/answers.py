"""What becomes of a worker's answers: small ones come with their bytes, big ones when memory has room for them.

The scheduler alone says whether an answer counts; until it has, its tensors are held here. What nobody wants is not
even decoded.
"""

import time
from collections.abc import Callable, Mapping

from gradloom.codecs import NONE, Account
from gradloom.codecs.left_over import is_left_over, parted
from gradloom.errors import JobFailed, WireError
from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom.tensors import Tensors
from gradloom.v1 import tensor_pb2, worker_pb2
from gradloom.wire.bundles import check_packed, decode_inline, raw_bytes
from gradloom.wire.frames import INITIAL_CREDIT, credit_frame, refusal_frame
from gradloom_coordinator.links import Arrived, WorkerLink
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.admission import Admission, Offer
from gradloom_coordinator.scheduling.closing import refusal_of
from gradloom_coordinator.scheduling.rounds import Refusal
from gradloom_coordinator.scheduling.state import ClusterState
from gradloom_coordinator.wording import sentence_of

MAX_SECONDS = 1e9
MAX_SQUARE = 1e100
NOTHING_ENCODED = Account()
PACKED_BYTES, PACKED_TIMES = 64 * 1024 * 1024, 4
"""What the packed tensors of an answer may take once decoded: so much, or so many times the round's message. They are
sums of gradients, as large as the parameters in that message, in float64 at most."""
AnswerCommand = c.MergePartial | c.AcceptOffer | c.DropPartial


class Answers:
    """The answers of all workers of one coordinator, on their way to the sums of its jobs."""

    def __init__(
        self,
        partials_limit_bytes: int,
        state: ClusterState,
        runs: Mapping[e.JobId, JobRun],
        links: Mapping[e.WorkerId, WorkerLink],
        metrics: CoordinatorMetrics,
        dispatch: Callable[[e.Event], None],
    ) -> None:
        self._state = state
        self._runs = runs
        self._links = links
        self._metrics = metrics
        self._dispatch = dispatch
        self._arrived: dict[tuple[e.WorkerId, e.TaskRef], Arrived] = {}
        self._admission = Admission(partials_limit_bytes)

    def execute(self, command: AnswerCommand) -> None:
        """Carry out what the scheduler says of an answer. Raises JobFailed."""
        match command:
            case c.MergePartial():
                self._merge(command)
                self.admit()
            case c.AcceptOffer():
                self._accept_offer(command)
            case c.DropPartial():
                self._drop(command)
                self.admit()

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
        link, run = self._links[command.worker], self._runs[command.task.job]
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
            link = self._links[offer.worker]
            incoming = link.incoming[offer.transfer_id]
            if not incoming.accepted_at:  # else an offer of the same number, of a process that is gone
                incoming.accepted_at = time.monotonic()
                link.bulk.control(credit_frame(offer.transfer_id, INITIAL_CREDIT))

    def _held_bytes(self) -> int:
        return sum(run.collector.held_bytes for run in self._runs.values() if run.collector is not None)

    def _is_wanted(self, worker: e.WorkerId, transfer_id: int) -> bool:
        link = self._links.get(worker)
        return link is not None and transfer_id in link.incoming

    def _drop(self, command: c.DropPartial) -> None:
        self._metrics.dropped(command.reason)
        link, run = self._links.get(command.worker), self._runs.get(command.task.job)
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
