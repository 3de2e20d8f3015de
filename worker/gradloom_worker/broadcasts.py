"""Broadcasts on their way in: puts frames together.

The session announces a broadcast; the frames come on the bulk stream, before or after. Of each job only the newest
round is kept.
"""

from dataclasses import dataclass

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

    def announce(self, job: str, round_number: int, bundle: tensor_pb2.Bundle) -> None:
        """A round's broadcast comes, or came already. Raises WireError."""
        self._drop(job)
        if bundle.WhichOneof("carrier") != "transfer_id":
            self._messages[job] = (round_number, decode_inline(bundle))
            return
        self._announced[bundle.transfer_id] = _Announced(job, round_number, bundle)
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
        self._messages[announced.job] = (announced.round, decode(announced.bundle.tensors, assembly.payload))
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
