"""Adds the partials of one round in canonical order as they come in, small ones whole, big ones frame by frame.

A big partial of plain sums is never put together: each of its frames is added to the frame of its sibling as soon
as both are there, so a round holds few copies of the parameters however many workers there are. A frame counts
once, like a partial does: what a lost worker has sent of a range is kept, and its successor's copy of those frames
is dropped; what was sent of its parts gives way to the frames of the whole. That is exact because the partial of
a range has the same bits whoever computes it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradloom.canonical import CanonicalSum, Range
from gradloom.errors import FrameRefused
from gradloom.steps import Merge
from gradloom.tensors import Tensors, byte_length, sum_tensors
from gradloom.v1 import tensor_pb2
from gradloom.wire.bundles import Assembly, all_float64, decode
from gradloom.wire.frames import FRAME_BYTES, MAX_TRANSFER_BYTES, Frame, n_frames

Chunk = NDArray[np.float64]


class Collector:
    """The sum of one round on its way.

    ``all_count``: every shard will be counted. Where some may miss, big partials are merged as a whole, so that
    all of their frames count or none. ``framewise``: whether the same partial has the same bits from whomever; where
    workers leave something out, it has not.
    """

    def __init__(
        self, n_shards: int, merge: Merge, *, all_count: bool = True, framewise: bool = True
    ) -> None:
        self._n_shards = n_shards
        self._merge = merge
        self._all_count = all_count
        self._framewise = all_count and framewise and merge is sum_tensors
        self._whole: CanonicalSum[Tensors] = CanonicalSum(n_shards, merge)
        self._chunked: ChunkedSum | None = None
        self.partial_bytes = 0
        """Of one partial; 0 until the first has come."""

    def add(self, node: Range, tensors: Tensors) -> None:
        """Count a whole partial; the scheduler has made sure that its shards are missing."""
        self.partial_bytes = byte_length(tensors)
        counted = self._whole.add(node, tensors)
        assert counted, f"shards {node} were counted before"

    def upload(self, node: Range, bundle: tensor_pb2.Bundle) -> "ChunkedUpload | WholeUpload":
        """Where the frames of a big partial go. Raises FrameRefused for an announcement that can't be true."""
        _check_size(bundle)
        self.partial_bytes = bundle.byte_length
        if not self._framewise or not all_float64(bundle.tensors):
            return WholeUpload(bundle)
        if self._chunked is None:
            self._chunked = ChunkedSum(self._n_shards, bundle)
        return ChunkedUpload(node, self._chunked, bundle)

    @property
    def held_bytes(self) -> int:
        """Memory of the sums so far."""
        chunked = 0 if self._chunked is None else self._chunked.held_bytes
        return chunked + self._whole.n_held * self.partial_bytes

    def total(self) -> Tensors:
        """The sum over all shards once every one has been counted; or over those that were, where some may miss."""
        if not self._all_count:
            return self._whole.total_so_far()
        return self._chunked.total() if self._chunked is not None else self._whole.total()


def _check_size(bundle: tensor_pb2.Bundle) -> None:
    described = sum(spec.byte_length for spec in bundle.tensors)
    if described != bundle.byte_length or described > MAX_TRANSFER_BYTES:
        raise FrameRefused(
            f"a bundle of {bundle.byte_length} bytes holds tensors of {described} bytes; "
            f"both must be the same, at most {MAX_TRANSFER_BYTES}"
        )


class ChunkedSum:
    """One canonical sum for each frame of a bundle of float64; the sums grow in the place where they belong."""

    def __init__(self, n_shards: int, bundle: tensor_pb2.Bundle) -> None:
        self.specs = tuple(bundle.tensors)
        self.byte_length = bundle.byte_length
        self._total = np.empty(bundle.byte_length // 8, dtype=np.float64)
        self._sums: list[CanonicalSum[Chunk] | None] = [
            CanonicalSum(n_shards, _adder(self._place(i))) for i in range(n_frames(bundle.byte_length))
        ]
        self._left = len(self._sums)

    def _place(self, position: int) -> Chunk:
        start = position * FRAME_BYTES // 8
        return self._total[start : start + FRAME_BYTES // 8]

    def add(self, node: Range, frame: Frame) -> None:
        """Count one frame, unless that part of the sum has been counted for all of these shards."""
        position = frame.offset // FRAME_BYTES
        chunk_sum = self._sums[position]
        if chunk_sum is None:
            return
        chunk_sum.replace(node, np.frombuffer(frame.payload, dtype="<f8"))
        if chunk_sum.complete:
            self._finish(position, chunk_sum.total())

    def _finish(self, position: int, chunk: Chunk) -> None:
        place = self._place(position)
        if not np.may_share_memory(place, chunk):
            place[...] = chunk  # it was merged elsewhere, or not at all
        self._sums[position] = None
        self._left -= 1

    @property
    def held_bytes(self) -> int:
        """Memory of the total, and of frames that wait for their siblings."""
        frames = sum(one.n_held for one in self._sums if one is not None)
        return self.byte_length + frames * FRAME_BYTES

    def total(self) -> Tensors:
        """The arrays; only once every frame is complete."""
        assert self._left == 0, f"{self._left} frames are incomplete"
        return decode(self.specs, self._total.view(np.uint8).data)


def _adder(place: Chunk) -> Callable[[Chunk, Chunk], Chunk]:
    """left + right without a new array where that can be: in ``place`` once, then over whichever of them is ours.

    Frames fresh from the wire are read-only.
    """
    place_is_free = True

    def add(left: Chunk, right: Chunk) -> Chunk:
        nonlocal place_is_free
        if left is place or right is place or place_is_free:
            place_is_free = False
            return np.add(left, right, out=place)
        ours = left if left.flags.writeable else right if right.flags.writeable else None
        return np.add(left, right, out=ours)

    return add


class ChunkedUpload:
    """One big partial whose frames are added as they arrive."""

    def __init__(self, node: Range, chunked: ChunkedSum, bundle: tensor_pb2.Bundle) -> None:
        if tuple(bundle.tensors) != chunked.specs:
            raise FrameRefused("the partials of one round differ in their tensors")
        self._node = node
        self._sum = chunked
        self._received = 0

    def add(self, frame: Frame) -> bool:
        """Take in a frame; whether it was the last. Raises FrameRefused out of order."""
        if frame.offset != self._received or frame.total != self._sum.byte_length:
            raise FrameRefused(f"expected the frame at {self._received}, got the one at {frame.offset}")
        self._sum.add(self._node, frame)
        self._received += len(frame.payload)
        return self._received == frame.total

    def whole(self) -> Tensors | None:
        """Nothing is left to merge: every frame was."""
        return None


class WholeUpload:
    """One big partial that can be merged only as a whole."""

    def __init__(self, bundle: tensor_pb2.Bundle) -> None:
        self._specs: Sequence[tensor_pb2.TensorSpec] = tuple(bundle.tensors)
        self._assembly = Assembly(np.empty(bundle.byte_length, dtype=np.uint8))

    def add(self, frame: Frame) -> bool:
        """Take in a frame; whether it was the last. Raises FrameRefused out of order."""
        return self._assembly.add(frame)

    def whole(self) -> Tensors | None:
        """The arrays; only once complete."""
        return decode(self._specs, self._assembly.payload)


Upload = ChunkedUpload | WholeUpload
