"""Broadcasts on their way in: puts frames together, and adds differences to the round before.

The session announces a broadcast; the frames come on the bulk stream, before or after. Of each job only the newest
round is kept. Where parameters come as differences, what every worker computes with is r = r + difference in float32,
from the message of the round that the announcement names: see ``gradloom_coordinator.compression.downlink``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradloom.errors import FrameRefused
from gradloom.memory import BufferPool
from gradloom.tensors import Tensors
from gradloom.v1 import tensor_pb2
from gradloom.wire.bundles import Assembly, decode, decode_inline
from gradloom.wire.frames import Frame
from gradloom_worker.events import MessageArrived


@dataclass(slots=True)
class _Announced:
    job: str
    round: int
    bundle: tensor_pb2.Bundle
    base: Tensors | None
    """The message that the replicated tensors are differences from; None = they are complete."""
    replicated: tuple[str, ...]


class Broadcasts:
    """The newest message of each job, complete or on its way."""

    def __init__(self) -> None:
        self._messages: dict[str, tuple[int, Tensors]] = {}
        self._announced: dict[int, _Announced] = {}
        self._assemblies: dict[int, Assembly] = {}
        self._dropped: set[int] = set()
        self._pool = BufferPool()

    def message(self, job: str, round_number: int) -> Tensors | None:
        """The message of a round, if it is here."""
        have, tensors = self._messages.get(job, (0, None))
        return tensors if have == round_number else None

    def announce(
        self,
        job: str,
        round_number: int,
        bundle: tensor_pb2.Bundle,
        base_round: int = 0,
        replicated: Sequence[str] = (),
    ) -> None:
        """A round's broadcast comes, or came already. Raises WireError."""
        base = self.message(job, base_round) if base_round else None
        if base_round and base is None:
            raise FrameRefused(
                f"round {round_number} is a difference from round {base_round}, which is not here"
            )
        announced = _Announced(job, round_number, bundle, base, tuple(replicated))
        self._drop(job)
        if bundle.WhichOneof("carrier") != "transfer_id":
            self._messages[job] = (round_number, _message(announced, decode_inline(bundle)))
            return
        self._announced[bundle.transfer_id] = announced
        self._complete(bundle.transfer_id)

    def add(self, frame: Frame) -> MessageArrived | None:
        """Take in a frame; the message that it completes. Raises WireError."""
        if frame.transfer_id in self._dropped:
            return None
        assembly = self._assemblies.get(frame.transfer_id)
        if assembly is None:
            assembly = self._assemblies[frame.transfer_id] = Assembly(self._pool.take(frame.total))
        assembly.add(frame)
        return self._complete(frame.transfer_id)

    def _complete(self, transfer_id: int) -> MessageArrived | None:
        announced, assembly = self._announced.get(transfer_id), self._assemblies.get(transfer_id)
        if announced is None or assembly is None or not assembly.complete:
            return None
        del self._announced[transfer_id], self._assemblies[transfer_id]
        tensors = decode(announced.bundle.tensors, assembly.payload)
        self._messages[announced.job] = (announced.round, _message(announced, tensors))
        return MessageArrived(announced.job, announced.round)

    def forget(self, job: str) -> None:
        """The job is over: drop what is here of it and what is on its way; of the last job, the buffers too."""
        self._drop(job)
        if not (self._messages or self._announced or self._assemblies):
            self._pool.clear()

    def _drop(self, job: str) -> None:
        self._messages.pop(job, None)
        for transfer_id in [t for t, announced in self._announced.items() if announced.job == job]:
            del self._announced[transfer_id]
            self._assemblies.pop(transfer_id, None)
            self._dropped.add(transfer_id)

    def clear(self) -> None:
        """The session is over: transfer ids start anew."""
        self._messages.clear()
        self._announced.clear()
        self._assemblies.clear()
        self._dropped.clear()
        self._pool.clear()


def _message(announced: _Announced, tensors: Tensors) -> Tensors:
    """The message itself. Raises FrameRefused for differences that do not fit."""
    if announced.base is None:
        return tensors
    complete = dict(tensors)
    for name in announced.replicated:
        before, step = announced.base.get(name), tensors.get(name)
        if before is None or step is None or before.shape != step.shape:
            raise FrameRefused(f"tensor {name!r} does not fit the one of the round before")
        # both are float32 numbers, whatever their dtype: nothing is lost on the way
        now = before.astype(np.float32) + step.astype(np.float32)
        complete[name] = now.astype(step.dtype)
    return complete
