"""The sum of a round: whole or frame by frame, from whomever and in any order, it has the bits of the tree."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.canonical import Range, cover, fold
from gradloom.errors import FrameRefused
from gradloom.tensors import Tensors, sha256, sum_tensors
from gradloom.v1 import tensor_pb2
from gradloom.wire import frames
from gradloom.wire.bundles import encode
from gradloom.wire.frames import Frame, data_frames, parse_frame
from gradloom_coordinator import collector as module
from gradloom_coordinator.collector import ChunkedUpload, Collector, Upload, WholeUpload

FRAME_BYTES = 32
N_FRAMES = 4


@pytest.fixture(scope="module", autouse=True)
def _small_frames() -> Iterator[None]:
    """Four numbers a frame, so that a small partial has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "FRAME_BYTES", FRAME_BYTES)
        patch.setattr(module, "FRAME_BYTES", FRAME_BYTES)
        yield


def leaf(shard: int) -> Tensors:
    """13 + 1 numbers that round differently in every order: three frames and a half."""
    rng = np.random.default_rng(shard)
    return {
        "gradient": rng.normal(size=13) * 10.0 ** rng.integers(-9, 9, size=13),
        "loss": rng.normal(size=()),
    }


def partial(node: Range) -> Tensors:
    return fold(node, leaf, sum_tensors)


def bundle_and_frames(tensors: Tensors) -> tuple[tensor_pb2.Bundle, list[Frame]]:
    encoded = encode(tensors)
    bundle = tensor_pb2.Bundle(tensors=encoded.specs, byte_length=encoded.byte_length, transfer_id=1)
    return bundle, [parse_frame(message) for message in data_frames(1, encoded.buffers)]


class Sender:
    """A worker that uploads the partial of one node, one frame at a time."""

    def __init__(self, collector: Collector, node: Range) -> None:
        bundle, self._frames = bundle_and_frames(partial(node))
        self.upload: Upload = collector.upload(node, bundle)
        self.complete = False

    def send(self, n: int = N_FRAMES) -> None:
        for frame in self._frames[:n]:
            self.complete = self.upload.add(frame)
        del self._frames[:n]

    @property
    def left(self) -> int:
        return len(self._frames)


def test_whole_partials_in_any_order_have_the_bits_of_the_tree() -> None:
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        collector = Collector(5, sum_tensors)
        for i in order:
            collector.add(Range(i, i + 1), leaf(i))
        assert sha256(collector.total()) == sha256(partial(Range(0, 5)))


def test_counting_a_partial_twice_is_our_own_bug() -> None:
    collector = Collector(2, sum_tensors)
    collector.add(Range(0, 1), leaf(0))
    with pytest.raises(AssertionError, match="shards 0 were counted before"):
        collector.add(Range(0, 1), leaf(0))


def test_frames_of_several_workers_are_added_as_they_come() -> None:
    collector = Collector(5, sum_tensors)
    senders = [Sender(collector, node) for node in (Range(0, 2), Range(2, 3), Range(3, 5))]
    assert all(isinstance(sender.upload, ChunkedUpload) for sender in senders)
    for sender in [senders[i] for i in (2, 0, 2, 1, 1, 0, 2, 1, 0, 2, 0, 1)]:
        assert not sender.complete
        sender.send(1)
    assert all(sender.complete for sender in senders)
    assert sender.upload.whole() is None
    assert sha256(collector.total()) == sha256(partial(Range(0, 5)))


def test_what_a_dead_worker_had_sent_of_a_range_is_kept_when_its_halves_come() -> None:
    collector = Collector(4, sum_tensors)
    Sender(collector, Range(0, 4)).send(2)
    for half in (Range(2, 4), Range(0, 2)):
        Sender(collector, half).send()
    assert sha256(collector.total()) == sha256(partial(Range(0, 4)))


def test_what_dead_workers_had_sent_of_the_halves_gives_way_to_the_whole() -> None:
    collector = Collector(4, sum_tensors)
    Sender(collector, Range(0, 2)).send(3)
    Sender(collector, Range(2, 4)).send(1)
    Sender(collector, Range(3, 4)).send(2)
    Sender(collector, Range(0, 4)).send()
    assert sha256(collector.total()) == sha256(partial(Range(0, 4)))


@given(
    n=st.integers(1, 9),
    lost=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 9), st.integers(1, N_FRAMES - 1)), max_size=8),
    owners=st.lists(st.integers(0, 2), min_size=9, max_size=9),
    rng=st.randoms(use_true_random=False),
)
def test_no_death_in_the_middle_of_an_upload_changes_a_bit(
    n: int, lost: list[tuple[int, int, int]], owners: list[int], rng: random.Random
) -> None:
    collector = Collector(n, sum_tensors)
    senders: list[tuple[Sender, int]] = []
    for lo, size, n_frames in lost:
        nodes = cover(range(min(lo, n - 1), min(lo + size, n)), n)
        senders += [(Sender(collector, node), n_frames) for node in nodes]
    for worker in range(3):
        nodes = cover((i for i in range(n) if owners[i] == worker), n)
        senders += [(Sender(collector, node), N_FRAMES) for node in nodes]
    while unsent := [sender for sender, n_frames in senders if sender.left > N_FRAMES - n_frames]:
        rng.choice(unsent).send(1)
    assert sha256(collector.total()) == sha256(partial(Range(0, n)))


def test_a_merge_of_its_own_gets_its_partials_whole() -> None:
    def larger(left: Tensors, right: Tensors) -> Tensors:
        return {name: np.maximum(left[name], right[name]) for name in left}

    collector = Collector(2, larger)
    for i in (1, 0):
        sender = Sender(collector, Range(i, i + 1))
        assert isinstance(sender.upload, WholeUpload)
        sender.send()
        tensors = sender.upload.whole()
        assert tensors is not None
        collector.add(Range(i, i + 1), tensors)
    assert sha256(collector.total()) == sha256(larger(leaf(0), leaf(1)))


def test_other_types_than_float64_are_not_added_frame_by_frame() -> None:
    bundle, _ = bundle_and_frames({"counts": np.arange(9), "sums": np.zeros(2)})
    assert isinstance(Collector(2, sum_tensors).upload(Range(0, 1), bundle), WholeUpload)


def test_frames_out_of_order_are_refused_and_change_nothing() -> None:
    collector = Collector(1, sum_tensors)
    bundle, [first, second, *rest] = bundle_and_frames(leaf(0))
    upload = collector.upload(Range(0, 1), bundle)
    with pytest.raises(FrameRefused, match="expected the frame at 0, got the one at 32"):
        upload.add(second)
    upload.add(first)
    with pytest.raises(FrameRefused, match="expected the frame at 32, got the one at 0"):
        upload.add(first)
    assert [upload.add(frame) for frame in (second, *rest)] == [False, False, True]
    assert sha256(collector.total()) == sha256(leaf(0))


def test_partials_of_one_round_must_be_alike() -> None:
    collector = Collector(2, sum_tensors)
    Sender(collector, Range(0, 1))
    bundle, _ = bundle_and_frames({"gradient": np.zeros(14)})
    with pytest.raises(FrameRefused, match="differ in their tensors"):
        collector.upload(Range(1, 2), bundle)


@pytest.mark.parametrize(("told", "described"), [(2**40, 104), (8, 104), (2**60, 2**60)])
def test_an_announcement_that_can_not_be_true_is_refused(told: int, described: int) -> None:
    spec = tensor_pb2.TensorSpec(
        name="g", dtype=tensor_pb2.DTYPE_FLOAT64, codec=tensor_pb2.CODEC_DENSE, byte_length=described
    )
    with pytest.raises(FrameRefused, match=f"a bundle of {told} bytes holds tensors of {described} bytes"):
        Collector(1, sum_tensors).upload(
            Range(0, 1), tensor_pb2.Bundle(tensors=[spec], byte_length=told, transfer_id=1)
        )


def test_what_the_sums_hold_is_known() -> None:
    collector = Collector(4, sum_tensors)
    assert collector.held_bytes == 0
    collector.add(Range(0, 1), leaf(0))
    collector.add(Range(2, 3), leaf(2))
    assert collector.held_bytes == 2 * 14 * 8
    collector.add(Range(1, 2), leaf(1))
    assert collector.held_bytes == 2 * 14 * 8
    framewise = Collector(4, sum_tensors)
    for shard in (0, 2):
        Sender(framewise, Range(shard, shard + 1)).send()
    assert framewise.held_bytes == 14 * 8 + 2 * N_FRAMES * FRAME_BYTES


def test_an_incomplete_total_is_our_own_bug() -> None:
    collector = Collector(2, sum_tensors)
    Sender(collector, Range(0, 1)).send()
    Sender(collector, Range(1, 2)).send(3)
    with pytest.raises(AssertionError, match="1 frames are incomplete"):
        collector.total()


def test_what_the_wire_gave_us_is_never_written_to() -> None:
    collector = Collector(3, sum_tensors)
    messages = {}
    for i in range(3):
        encoded = encode(leaf(i))
        messages[i] = list(data_frames(1, encoded.buffers))
        bundle = tensor_pb2.Bundle(tensors=encoded.specs, byte_length=encoded.byte_length, transfer_id=1)
        upload = collector.upload(Range(i, i + 1), bundle)
        for message in messages[i]:
            upload.add(parse_frame(message))
    assert messages == {i: list(data_frames(1, encode(leaf(i)).buffers)) for i in range(3)}
