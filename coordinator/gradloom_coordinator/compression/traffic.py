"""How one job's messages travel: the codecs in force, what workers must hear of their answers, and the ledger. Pure.

Only rounds of training are meant: the first look at the data and the held-out rows travel as they are.
"""

from dataclasses import dataclass, field, replace

from gradloom.algorithms import build
from gradloom.algorithms.algorithm import Algorithm
from gradloom.algorithms.registry import setting_texts
from gradloom.codecs import AUTO, NONE, Account, Context, canonical_text, parse_codec
from gradloom.codecs.dgc import Dgc
from gradloom.errors import InvalidInput
from gradloom.jobs import Compression
from gradloom.saved import Saved, Scalar
from gradloom.specs import JobSpec
from gradloom.tensors import Tensors
from gradloom_coordinator.compression.downlink import Downlink, Outgoing
from gradloom_coordinator.compression.gathering import Gathering
from gradloom_coordinator.compression.ledger import Ledger, restored_ledger
from gradloom_coordinator.compression.pick import Picker
from gradloom_coordinator.compression.verdicts import Verdicts
from gradloom_coordinator.scheduling.events import TaskRef, WorkerId

ELEMENT_BYTES = 8
"""Partials are float64."""
HOLDERS = "holders"
REPLICA = "replica."
LEFT_OVER = "left_over."


@dataclass(slots=True)
class Traffic:
    """One job's."""

    ledger: Ledger = field(default_factory=Ledger)
    verdicts: Verdicts = field(default_factory=Verdicts)
    gathering: Gathering = field(default_factory=Gathering)
    codec: str = NONE
    """In force for the open round."""
    downlink: str = NONE
    lineage: int = 0
    """Another one after the job was set back: what workers hold back of rounds that are undone is void."""
    started: bool = False
    _picker: Picker = field(default_factory=Picker)
    _picks: bool = False
    _remembers: bool = False
    """Whether the codec in force leaves something with the workers."""
    _parameters: Downlink = field(default_factory=Downlink)
    _ahead: tuple[int, str, Outgoing] | None = None
    _released: bool = False

    def prepare(
        self,
        spec: JobSpec,
        algorithm: Algorithm[object],
        message: Tensors,
        iteration: int,
        round_number: int,
        n_shards: int,
    ) -> Outgoing:
        """What is sent to the workers in a round of training."""
        self.started = True
        self._picks = spec.codec == AUTO and bool(algorithm.needs.gradients)
        asked_for = spec.codec if algorithm.needs.gradients else NONE
        self.codec = self._picker.codec if self._picks else canonical_text(asked_for)
        codec = parse_codec(self.codec)
        self._remembers = codec is not None and codec.has_memory
        self.verdicts.tracks |= self._remembers or self.gathering.hands_out
        self.gathering.open_round(round_number, n_shards, frozenset(self.verdicts.holders))
        self.downlink = canonical_text(spec.downlink, "downlink")
        if self._ahead is not None and self._ahead[:2] == (iteration, self.downlink):
            outgoing, self._ahead = self._ahead[2], None
        else:
            outgoing = self._outgoing(spec, algorithm, message, iteration, round_number)
        return _with(outgoing, self.gathering.tensors) if self.gathering.hands_out else outgoing

    def prepare_ahead(
        self, spec: JobSpec, algorithm: Algorithm[object], message: Tensors, iteration: int, round_number: int
    ) -> None:
        """The same beforehand, where it may take long; worth nothing if the downlink changes meanwhile."""
        text = canonical_text(spec.downlink, "downlink")
        self._ahead = (iteration, text, self._outgoing(spec, algorithm, message, iteration, round_number))
        if self._released:  # perhaps meanwhile: this may run in a thread
            self._drop()

    def _outgoing(
        self, spec: JobSpec, algorithm: Algorithm[object], message: Tensors, iteration: int, round_number: int
    ) -> Outgoing:
        codec, context = parse_codec(spec.downlink, "downlink"), Context(spec.seed, iteration)
        return self._parameters.prepare(message, algorithm.needs.parameters, codec, context, round_number)

    def forget_ahead(self) -> None:
        """What was prepared is of another state, or of other settings."""
        self._ahead = None

    def release(self) -> None:
        """The job has ended: forget the arrays, and whom to tell of what; the ledger stays."""
        self._released = True  # before they go: whoever fills them in a thread looks at this afterwards
        self._drop()
        self.verdicts = Verdicts()

    def _drop(self) -> None:
        self._ahead, self._parameters = None, Downlink()
        self.gathering.drop()

    # ---- what happens in a round

    def sent(self, raw_bytes: int, wire_bytes: int) -> None:
        """The message was sent to a worker."""
        self.ledger.sent(self.downlink, raw_bytes, wire_bytes)

    def arrived(
        self,
        worker: WorkerId,
        task: TaskRef,
        raw_bytes: int,
        wire_bytes: int,
        encode_s: float,
        decode_s: float,
        *,
        heard: bool = True,
    ) -> None:
        """A partial is here; ``heard``: so its worker has got the message of its round."""
        self.ledger.arrived(self.codec, raw_bytes, wire_bytes, encode_s, decode_s)
        if heard:
            self.verdicts.answered(worker, task)
        if self._picks:
            self._picker.arrived(raw_bytes)

    def uploaded(self, raw_bytes: int, wire_bytes: int, seconds: float) -> None:
        """A big partial has come, in so many seconds."""
        if self._picks:
            self._picker.measured(wire_bytes, raw_bytes, seconds)

    def counted(
        self,
        worker: WorkerId,
        task: TaskRef,
        account: Account,
        left_over: Tensors,
        *,
        holds_back: bool = False,
    ) -> None:
        """A partial is part of the sum; ``left_over``: what of its gradients its worker keeps, where we asked;
        ``holds_back``: the worker keeps more, of other partials.
        """
        self.ledger.counted(account)
        self.gathering.counted(worker, task, left_over, holds_back=holds_back)
        self.verdicts.count(worker, task, left_over=self._remembers or holds_back)

    def end_round(self, seconds: float, iteration: int, *, sparse_suits: bool) -> str | None:
        """A round of training is over, and has led to that iteration; what to tell people."""
        self.ledger.end_round()
        self.ledger.resets += self.gathering.end_round(iteration)
        if not self._picks:
            return None
        return self._picker.end_round(seconds, element_bytes=ELEMENT_BYTES, sparse_suits=sparse_suits)

    def worker_gone(self, worker: WorkerId) -> bool:
        """A worker is gone for good; whether it took gradients with it that nobody else has."""
        lost = self.verdicts.gone(worker)
        self.ledger.resets += lost
        return lost

    # ---- people, and checkpoints

    def waits_for_left_over(self, iteration: int) -> bool:
        """A checkpoint is due: whether it is to be taken after the next round, which brings what workers hold."""
        lacks = self.lacks_left_over(iteration)
        if lacks:
            self.gathering.want()
        return lacks

    def lacks_left_over(self, iteration: int) -> bool:
        """Whether workers hold something that a checkpoint of that iteration would not have."""
        return bool(self.verdicts.holders) and self.gathering.iteration != iteration

    def view(self) -> Compression | None:
        """As people see it."""
        if not self.started:
            return None
        return self.ledger.view(self.codec, self.downlink, self._picker.reason if self._picks else "")

    def save(self, iteration: int) -> Saved:
        """For a checkpoint of that iteration."""
        replica = self._parameters.before(iteration) or {}
        arrays = {REPLICA + name: array for name, array in replica.items()}
        missing = len(self.verdicts.holders)
        if self.gathering.iteration == iteration:
            arrays |= {LEFT_OVER + name: array for name, array in self.gathering.tensors.items()}
            missing = self.gathering.missing
        values: dict[str, Scalar] = {**self.ledger.save(), HOLDERS: missing}
        return Saved(arrays, values)

    def restore(self, saved: Saved, iteration: int, *, all_gone: bool) -> None:
        """Go on from a checkpoint of that iteration; what workers hold back is void, for what they then held back is
        in it. ``all_gone``: they are new to us.

        Raises ValueError.
        """
        self.verdicts.all_gone()
        if all_gone and saved.values:
            try:
                self.ledger = restored_ledger(saved.values)
            except (KeyError, ValueError) as error:
                raise ValueError(f"its ledger can't be read: {error}") from error
        held = int(str(saved.values.get(HOLDERS, 0)))
        self.ledger.resets += held
        self.lineage += 1
        self._ahead = None
        self._parameters.restore(saved.under(REPLICA.removesuffix(".")).arrays)
        self.gathering.restore(saved.under(LEFT_OVER.removesuffix(".")).arrays, iteration)


def _with(outgoing: Outgoing, tensors: Tensors) -> Outgoing:
    """The same with more tensors in every form of it."""
    difference = None if outgoing.difference is None else {**outgoing.difference, **tensors}
    return replace(outgoing, whole={**outgoing.whole, **tensors}, difference=difference)


def check_codecs(spec: JobSpec) -> None:
    """Refuse a codec that is none, or that does not suit the algorithm. Raises InvalidInput."""
    codec = None if spec.codec == AUTO else parse_codec(spec.codec)
    downlink = parse_codec(spec.downlink, "downlink")
    if codec is None and downlink is None:
        return
    algorithm = build(spec.algorithm, spec.settings)
    what = f"does not suit {spec.algorithm} with these settings"
    if codec is not None and not algorithm.needs.gradients:
        raise InvalidInput("codec", f"{spec.codec} {what}: it sends no sums of gradients; none does")
    if codec is not None and codec.has_memory and not algorithm.takes_part_sums:
        raise InvalidInput(
            "codec",
            f"{spec.codec} {what}: its steps need whole gradients, of which this codec sends a part later; "
            "float16, bfloat16 and int8 can be used, or a solver like adam or momentum",
        )
    if isinstance(codec, Dgc) and codec.momentum:
        _check_momentum(spec, codec)
    if downlink is not None and not algorithm.needs.parameters:
        raise InvalidInput("downlink", f"{spec.downlink} {what}: it sends no parameters; none does")
    if downlink is not None and not algorithm.takes_part_sums:
        raise InvalidInput(
            "downlink",
            f"{spec.downlink} {what}: its steps compare losses at parameters that workers would have only nearly; "
            "a solver like adam or momentum can do with that",
        )
    if isinstance(downlink, Dgc):
        raise InvalidInput(
            "downlink", f"{spec.downlink} is for gradients; topk:RATIO is its like for parameters"
        )


def _check_momentum(spec: JobSpec, codec: Dgc) -> None:
    """Refuse to accumulate momentum twice, on the workers and in the optimizer. Raises InvalidInput."""
    settings = setting_texts(spec.algorithm, spec.settings)
    if settings.get("solver") not in ("sgd", "momentum") or float(settings.get("momentum", "0")) == 0.0:
        return
    raise InvalidInput(
        "codec",
        f"{codec} keeps the momentum itself, and so does solver={settings['solver']} with "
        f"momentum={settings['momentum']}; set momentum=0, or write dgc:{codec.ratio:g},momentum=0",
    )
