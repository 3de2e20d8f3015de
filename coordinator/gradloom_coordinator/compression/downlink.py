"""The parameters on their way down: compressed differences from what the workers have already. Pure.

    w  the algorithm's parameters;   r  what every worker computes with, float32
    first:    r = float32(w), sent whole
    then:     sent: C(w - r) to workers that have r, else the new r whole;    both sides:  r <- r + decode(sent)

What a difference leaves out is in the next one, so the error feeds back by itself and r follows w. All workers see the
same r, whichever way it reached them: the result does not depend on who joined when. r belongs to the checkpoint.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gradloom.codecs import Codec, Context, NotFinite, Packed, Parcel, decode
from gradloom.codecs.packing import SMALLEST, as_float32
from gradloom.errors import JobFailed
from gradloom.tensors import Array, Tensors

SINGLE = np.dtype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """A round's message in the forms that workers may need."""

    whole: Tensors
    """With r where that is what workers compute with."""
    difference: Parcel | None = None
    """The same as differences from the round before; None where there are none."""
    replicated: tuple[str, ...] = ()
    """The tensors that are r."""
    base_round: int = 0
    """The round whose message the differences are from."""


@dataclass(frozen=True, slots=True, eq=False)
class _Replica:
    at: int
    """The iteration of the message that ``now`` was made for."""
    before: Tensors | None
    now: Tensors | None
    round_before: int = 0
    """The round in which ``before`` was sent; 0 = nobody has it for sure."""
    round_now: int = 0


@dataclass(slots=True)
class Downlink:
    """One job's replica of the parameters."""

    _replica: _Replica = field(default_factory=lambda: _Replica(-1, None, None))

    def prepare(
        self,
        message: Tensors,
        names: Collection[str],
        codec: Codec | None,
        context: Context,
        round_number: int,
    ) -> Outgoing:
        """The message of an iteration; may be prepared anew. Raises JobFailed for parameters that are not finite."""
        iteration, before, base = (
            context.iteration,
            self.before(context.iteration),
            self._base(context.iteration),
        )
        replicated = tuple(name for name in names if codec is not None and _is_large(message[name]))
        if codec is None or not replicated:
            self._replica = _Replica(iteration, before, None, base)
            return Outgoing(message)
        wanted = {name: message[name] for name in replicated}
        if before is None or any(
            name not in before or before[name].shape != w.shape for name, w in wanted.items()
        ):
            now: Tensors = {name: as_float32(w) for name, w in wanted.items()}
            difference: Parcel | None = None
        else:
            now, sent = _advance(before, wanted, codec, context)
            difference = {**message, **sent} if base else None
        self._replica = _Replica(iteration, before, now, base, round_number)
        whole = {**message, **{name: r.astype(message[name].dtype) for name, r in now.items()}}
        return Outgoing(whole, difference, replicated, base if difference is not None else 0)

    def _base(self, iteration: int) -> int:
        replica = self._replica
        return replica.round_before if replica.at == iteration else replica.round_now

    def before(self, iteration: int) -> Tensors | None:
        """r as it was before the message of an iteration was made: what a checkpoint of that iteration needs."""
        replica = self._replica
        return replica.before if replica.at == iteration else replica.now

    def restore(self, replica: Mapping[str, Array]) -> None:
        """Go on from a checkpoint."""
        self._replica = _Replica(-1, None, dict(replica) or None)


def _advance(
    before: Tensors, wanted: Tensors, codec: Codec, context: Context
) -> tuple[Tensors, dict[str, Array | Packed]]:
    """The new r, and what takes a worker there."""
    now: dict[str, Array] = {}
    sent: dict[str, Array | Packed] = {}
    for name, w in wanted.items():
        step = as_float32(w - before[name])
        try:
            payload, _ = codec.encode(step, None, replace(context, tensor=name))
        except NotFinite as error:
            raise JobFailed(f"{name!r} can't be sent: {error}") from None
        if payload is None:
            sent[name] = step.astype(w.dtype)
        else:
            sent[name] = packed = Packed(codec.format, w.dtype, w.shape, payload)
            step = decode(replace(packed, dtype=SINGLE))
        now[name] = before[name] + step
    return now, sent


def _is_large(array: Array) -> bool:
    return array.size >= SMALLEST and array.dtype in (np.float32, np.float64)
