"""Frames of the Bulk stream: a header of 48 bytes and up to 2 MiB of payload, never protobuf.

The layout stands in protos/gradloom/v1/worker_service.proto. 2 MiB is where throughput over loopback is flat;
the sender joins header and payload once (gRPC takes only ``bytes``), the receiver reads without a copy.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from weakref import WeakSet

import xxhash

from gradloom.errors import ChecksumMismatch, FrameRefused

MAGIC = b"GLB1"
HEADER = struct.Struct("<4sB3xQQQI4xQ")
FRAME_BYTES = 2 * 1024 * 1024
"""Payload of every frame but the last of a transfer."""
INITIAL_CREDIT = 8
"""Frames that may be under way to one receiver before it has answered."""
MAX_TRANSFER_BYTES = 16 * 1024**3


class FrameKind(IntEnum):
    """What a frame is for."""

    DATA = 1
    CREDIT = 2
    REFUSAL = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it was read; ``payload`` is a view into the message that gRPC gave us."""

    kind: FrameKind
    transfer_id: int
    offset: int
    total: int
    payload: memoryview

    @property
    def last(self) -> bool:
        """Whether the transfer ends with this frame."""
        return self.offset + len(self.payload) == self.total

    @property
    def granted(self) -> int:
        """Frames that a credit allows."""
        return self.offset


def n_frames(total_bytes: int) -> int:
    """Frames that a transfer of so many bytes takes."""
    return max(1, -(-total_bytes // FRAME_BYTES))


def data_frames(transfer_id: int, buffers: Sequence[memoryview]) -> Iterator[bytes]:
    """Cut consecutive byte buffers into frames, made one at a time."""
    total = sum(len(buffer) for buffer in buffers)
    return (data_frame(transfer_id, buffers, total, i) for i in range(n_frames(total)))


def data_frame(transfer_id: int, buffers: Sequence[memoryview], total: int, index: int) -> bytes:
    """The frame at ``index`` of a transfer of ``total`` bytes: one copy of the payload, which gRPC needs as bytes."""
    offset = index * FRAME_BYTES
    parts = _slices(buffers, offset, min(FRAME_BYTES, total - offset))
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    length = sum(len(part) for part in parts)
    header = HEADER.pack(MAGIC, FrameKind.DATA, transfer_id, offset, total, length, digest.intdigest())
    return b"".join([header, *parts])


class SharedFrames:
    """The frames of one broadcast: each is built when its first receiver needs it, and dropped after its last.

    So the bytes are serialized once for all receivers that keep step, sending starts at once, and only what lies
    between the fastest and the slowest receiver is held. One that comes later has its frames built anew.
    """

    def __init__(self, transfer_id: int, buffers: Sequence[memoryview]) -> None:
        self.transfer_id = transfer_id
        self.total = sum(len(buffer) for buffer in buffers)
        self._buffers = buffers
        self._built: dict[int, bytes] = {}
        self._receivers: WeakSet[_Receiver] = WeakSet()

    def __len__(self) -> int:
        return n_frames(self.total)

    def receiver(self) -> Iterator[bytes]:
        """The frames in order for one receiver; one that is no longer referred to holds nothing up."""
        receiver = _Receiver(self)
        self._receivers.add(receiver)
        return receiver

    def frame(self, index: int) -> bytes:
        """One frame, built unless it is held."""
        if index not in self._built:
            self._built[index] = data_frame(self.transfer_id, self._buffers, self.total, index)
        return self._built[index]

    def let_go(self) -> None:
        """Drop what every receiver has had."""
        needed_from = min(receiver.next_index for receiver in self._receivers)
        for index in [index for index in self._built if index < needed_from]:
            del self._built[index]


class _Receiver(Iterator[bytes]):
    """Where one receiver of shared frames is."""

    def __init__(self, frames: SharedFrames) -> None:
        self._frames = frames
        self.next_index = 0

    def __next__(self) -> bytes:
        if self.next_index == len(self._frames):
            raise StopIteration
        frame = self._frames.frame(self.next_index)
        self.next_index += 1
        self._frames.let_go()
        return frame


def _slices(buffers: Sequence[memoryview], offset: int, length: int) -> list[memoryview]:
    found = []
    for buffer in buffers:
        if length <= 0:
            break
        if offset < len(buffer):
            part = buffer[offset : offset + length]
            found.append(part)
            length -= len(part)
        offset = max(0, offset - len(buffer))
    return found


def credit_frame(transfer_id: int, granted: int) -> bytes:
    """Allow the other side to send ``granted`` more frames of a transfer."""
    return HEADER.pack(MAGIC, FrameKind.CREDIT, transfer_id, granted, 0, 0, 0)


def refusal_frame(transfer_id: int) -> bytes:
    """Tell the other side that nobody needs a transfer (any more)."""
    return HEADER.pack(MAGIC, FrameKind.REFUSAL, transfer_id, 0, 0, 0, 0)


def parse_frame(message: bytes) -> Frame:
    """Read one frame and verify it. Raises FrameRefused or ChecksumMismatch."""
    if len(message) < HEADER.size:
        raise FrameRefused(
            f"a frame of {len(message)} bytes is shorter than its header ({HEADER.size} bytes)"
        )
    magic, kind, transfer_id, offset, total, length, checksum = HEADER.unpack_from(message)
    payload = memoryview(message)[HEADER.size :]
    if magic != MAGIC or kind not in FrameKind.__members__.values():
        raise FrameRefused(f"not a frame: magic {magic!r}, kind {kind}")
    if length != len(payload) or length > FRAME_BYTES:
        raise FrameRefused(
            f"a frame says {length} bytes of payload and holds {len(payload)}; at most {FRAME_BYTES}"
        )
    if kind == FrameKind.DATA:
        _check_data(offset, total, payload, checksum)
    return Frame(FrameKind(kind), transfer_id, offset, total, payload)


def _check_data(offset: int, total: int, payload: memoryview, checksum: int) -> None:
    if total > MAX_TRANSFER_BYTES:
        raise FrameRefused(f"a transfer of {total} bytes is over the limit of {MAX_TRANSFER_BYTES}")
    fits = len(payload) == min(FRAME_BYTES, total - offset) and (payload or not offset)
    if offset % FRAME_BYTES or not fits:
        raise FrameRefused(
            f"a frame at {offset} of {len(payload)} bytes does not fit a transfer of {total} bytes"
        )
    if xxhash.xxh3_64_intdigest(payload) != checksum:
        raise ChecksumMismatch(f"the payload at {offset} of {total} bytes does not match its checksum")
