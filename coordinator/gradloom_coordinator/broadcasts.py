"""A round's message, serialized once for all workers: whole, or as differences for those that have the one before."""

from dataclasses import dataclass, field

from gradloom.streams import Transfer
from gradloom.v1 import worker_pb2
from gradloom.wire.bundles import bundle_of, encode, raw_bytes
from gradloom.wire.frames import INITIAL_CREDIT, SharedFrames
from gradloom_coordinator.compression.downlink import Outgoing
from gradloom_coordinator.scheduling.events import JobId

WHOLE = 1 << 62
"""Added to the transfer id of a message's differences, it makes that of the whole message."""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One form of a round's message."""

    round: int
    compute: bytes
    """A CoordinatorMessage whose Compute holds the bundle; a worker's own tasks are appended to it, since
    protobuf merges the fields of concatenated messages."""
    frames: SharedFrames | None
    """None where the bundle rides inline."""
    byte_length: int
    raw_bytes: int = 0
    """What its tensors take in memory."""
    base_round: int = 0
    """It is for workers that have this round's message; 0 = for all."""
    whole: "Whole | None" = None
    """The form for all others."""

    def transfer(self, job: JobId) -> Transfer | None:
        """The frames for one worker, if there are any; the frames themselves are shared."""
        if self.frames is None:
            return None
        frames = self.frames
        return Transfer(job, frames.transfer_id, frames.receiver(), len(frames), INITIAL_CREDIT)

    def for_worker(self, arrived_round: int) -> "Broadcast":
        """The form for a worker whose newest message is that of this round; 0 = nobody knows."""
        if self.whole is None or arrived_round == self.base_round:
            return self
        return self.whole.get()


@dataclass(slots=True)
class Whole:
    """The whole message, serialized when the first worker needs it."""

    compute: worker_pb2.Compute
    outgoing: Outgoing
    transfer_id: int
    _made: Broadcast | None = field(default=None)

    def get(self) -> Broadcast:
        """The same every time."""
        if self._made is None:
            self._made = _serialized(self.compute, self.outgoing, self.transfer_id, None)
        return self._made


def broadcast_of(compute: worker_pb2.Compute, outgoing: Outgoing, transfer_id: int) -> Broadcast:
    """The message of a round; ``compute`` names it, and says how answers are to be sent."""
    compute.replicated.extend(outgoing.replicated)
    if outgoing.difference is None:
        return _serialized(compute, outgoing, transfer_id, None)
    whole = worker_pb2.Compute()
    whole.CopyFrom(compute)
    compute.base_round = outgoing.base_round
    return _serialized(compute, outgoing, transfer_id, Whole(whole, outgoing, transfer_id + WHOLE))


def _serialized(
    compute: worker_pb2.Compute, outgoing: Outgoing, transfer_id: int, whole: Whole | None
) -> Broadcast:
    encoded = encode(outgoing.whole if whole is None or outgoing.difference is None else outgoing.difference)
    compute.broadcast.CopyFrom(bundle_of(encoded, transfer_id))
    return Broadcast(
        round=compute.round,
        compute=worker_pb2.CoordinatorMessage(compute=compute).SerializeToString(),
        frames=None if encoded.fits_inline else SharedFrames(transfer_id, encoded.buffers),
        byte_length=encoded.byte_length,
        raw_bytes=raw_bytes(encoded.specs),
        base_round=compute.base_round,
        whole=whole,
    )
