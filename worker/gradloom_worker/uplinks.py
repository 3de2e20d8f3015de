"""How this worker's partials are sent: the codec of each job's round, and what encodings leave out. No streams.

All of it belongs to the event loop; the compute thread is handed a ``Packing``, which is a value.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from gradloom.codecs import Codec, Context, Packed, pack, parse_codec
from gradloom.codecs.left_over import part_of, tensors_of
from gradloom.errors import InvalidInput
from gradloom.steps import Step
from gradloom.tensors import Tensors
from gradloom_worker.events import JobId, Task
from gradloom_worker.residuals import Key, Memories, Residuals, joined
from gradloom_worker.work import Computed, JobWork


@dataclass(frozen=True, slots=True)
class Order:
    """What the coordinator says of a round's gradients."""

    round: int
    codec: str = ""
    iteration: int = 0
    seed: int = 0
    lineage: int = 0
    send_left_over: bool = False
    """Whether partials are to bring what is left out of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """How the gradients of one task are to be encoded."""

    codec: Codec | InvalidInput | None
    """Or why there is none of that name here."""
    context: Context
    gradients: tuple[str, ...]
    taken_up: tuple[Memories, ...] = ()
    send_left_over: bool = False
    holds_back: bool = False
    """Whether there is more than was taken up."""

    def apply(self, computed: Computed, clock: Callable[[], float] = time.perf_counter) -> Computed:
        """The same with its partial encoded. Raises NotFinite, and InvalidInput for a codec that we don't know."""
        start = clock()
        if isinstance(self.codec, InvalidInput):
            raise self.codec
        tensors = {name: part for name, part in computed.partial.items() if not isinstance(part, Packed)}
        packed = pack(tensors, self.gradients, self.codec, joined(self.taken_up), self.context)
        return replace(
            computed,
            partial={**packed.parcel, **tensors_of(packed.memory)} if self.send_left_over else packed.parcel,
            left_over=packed.memory,
            account=packed.account,
            holds_back=self.holds_back,
            encode_s=clock() - start,
        )


@dataclass(slots=True)
class Uplinks:
    """Of all jobs."""

    residuals: Residuals = field(default_factory=Residuals)
    _orders: dict[JobId, Order] = field(default_factory=dict)
    _codecs: dict[str, Codec | InvalidInput | None] = field(default_factory=dict)

    def heard(
        self, job: JobId, round_number: int, order: Order | None, counted: Iterable[Key], *, decided: bool
    ) -> None:
        """A Compute came; ``order`` is None where it brought none."""
        if order is not None:
            before = self._orders.get(job)
            if before is not None and before.lineage != order.lineage:
                self.residuals.forget(job)
            if order.codec not in self._codecs:
                self._codecs[order.codec] = _codec_or_refusal(order.codec)
            self._orders[job] = order
        self.residuals.of(job).decide(counted, round_number if decided else 0)

    def packing(self, task: Task, work: JobWork, message: Tensors) -> Packing | None:
        """How a task that starts now is to be packed; None where its partial is sent as it is.

        What the round's message brings of gradients that were left out before a restart is taken up, too.
        """
        order, residuals = self._orders.get(task.job), self.residuals.of(task.job)
        if work.step is not Step.TRAIN or order is None or order.round != task.round:
            return None
        codec, remembers = self._codecs[order.codec], bool(residuals.held or residuals.claims)
        handed_out = part_of(message, task.range.size / work.n_shards)
        if codec is None and not remembers and not handed_out:
            return None
        context = Context(order.seed, order.iteration, task.range.lo, task.range.hi)
        taken_up: tuple[Memories, ...] = (handed_out,) if handed_out else ()
        if remembers or (not isinstance(codec, InvalidInput | None) and codec.has_memory):
            taken_up += residuals.take_up(task, everything=order.send_left_over)
        gradients, more = work.algorithm.needs.gradients, residuals.holds_more_than(task)
        return Packing(codec, context, gradients, taken_up, order.send_left_over, more)

    def encoded(self, task: Task, computed: Computed) -> Computed:
        """A task is through; what it left out is ours from here on."""
        self.residuals.find(task.job).encoded(task, computed.left_over)
        return replace(computed, left_over={}) if computed.left_over else computed

    def sent(self, task: Task) -> None:
        """Its partial is on its way."""
        self.residuals.find(task.job).sent(task)

    def dropped(self, task: Task) -> None:
        """It failed, or nobody waits for it any more."""
        self.residuals.find(task.job).dropped(task)

    def forget(self, job: JobId) -> None:
        """The job is over."""
        self._orders.pop(job, None)
        self.residuals.forget(job)

    def clear(self) -> None:
        """A new session."""
        self._orders.clear()
        self.residuals.clear()


def _codec_or_refusal(text: str) -> Codec | InvalidInput | None:
    try:
        return parse_codec(text)
    except InvalidInput as refusal:
        return refusal
