"""Frames: what is cut comes together again, and no byte that was not sent is ever believed."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from gradloom.errors import ChecksumMismatch, FrameRefused, WireError
from gradloom.wire.frames import (
    FRAME_BYTES,
    HEADER,
    MAGIC,
    MAX_TRANSFER_BYTES,
    Frame,
    FrameKind,
    SharedFrames,
    credit_frame,
    data_frames,
    n_frames,
    parse_frame,
    refusal_frame,
)


def random_bytes(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def frames_of(*buffers: bytes, transfer_id: int = 7) -> list[bytes]:
    return list(data_frames(transfer_id, [memoryview(buffer) for buffer in buffers]))


def together(frames: Sequence[Frame]) -> bytes:
    return b"".join(frame.payload for frame in frames)


def message(
    *, offset: int = 0, total: int = 4, payload: bytes = b"abcd", length: int | None = None, kind: int = 1
) -> bytes:
    """A frame whose fields say what they like, with a checksum that is right."""
    length = len(payload) if length is None else length
    return HEADER.pack(MAGIC, kind, 7, offset, total, length, xxhash.xxh3_64_intdigest(payload)) + payload


@pytest.mark.parametrize(
    "sizes",
    [
        [0],
        [],
        [1],
        [FRAME_BYTES],
        [FRAME_BYTES + 1],
        [3, 0, FRAME_BYTES - 3, 1],
        [FRAME_BYTES - 1, FRAME_BYTES, 2, 2 * FRAME_BYTES + 5],
    ],
)
def test_buffers_come_back_as_one_run_of_bytes(sizes: list[int]) -> None:
    buffers = [random_bytes(size) for size in sizes]
    messages = frames_of(*buffers)
    frames = [parse_frame(message) for message in messages]
    assert together(frames) == b"".join(buffers)
    assert len(frames) == n_frames(sum(sizes))
    assert [frame.last for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert [frame.offset for frame in frames] == [i * FRAME_BYTES for i in range(len(frames))]
    assert {(frame.kind, frame.transfer_id, frame.total) for frame in frames} == {
        (FrameKind.DATA, 7, sum(sizes))
    }
    assert all(len(message) <= HEADER.size + FRAME_BYTES for message in messages)


def test_the_layout_is_the_one_of_the_contract() -> None:
    [frame] = frames_of(b"payload", transfer_id=0x0102030405060708)
    assert HEADER.size == 48
    assert frame[:8] == b"GLB1\x01\x00\x00\x00"
    assert frame[8:16] == bytes.fromhex("0807060504030201")
    assert frame[16:24] == bytes(8)
    assert frame[24:32] == (7).to_bytes(8, "little")
    assert frame[32:40] == (7).to_bytes(4, "little") + bytes(4)
    assert frame[40:48] == xxhash.xxh3_64_intdigest(b"payload").to_bytes(8, "little")


def test_a_parsed_payload_is_a_view_of_the_message() -> None:
    [sent] = frames_of(b"payload")
    assert parse_frame(sent).payload.obj is sent


def test_credit_and_refusal_say_which_transfer() -> None:
    credit, refusal = parse_frame(credit_frame(9, 4)), parse_frame(refusal_frame(9))
    assert (credit.kind, credit.transfer_id, credit.granted) == (FrameKind.CREDIT, 9, 4)
    assert (refusal.kind, refusal.transfer_id) == (FrameKind.REFUSAL, 9)


@given(st.integers(0, 999), st.integers(0, 7))
def test_one_flipped_bit_of_the_payload_is_noticed(position: int, bit: int) -> None:
    [sent] = frames_of(random_bytes(1000))
    damaged = bytearray(sent)
    damaged[HEADER.size + position] ^= 1 << bit
    with pytest.raises(ChecksumMismatch, match="payload at 0 of 1000 bytes does not match"):
        parse_frame(bytes(damaged))


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (b"", "shorter than its header"),
        (message()[:47], "shorter than its header"),
        (b"HTTP" + message()[4:], "not a frame: magic b'HTTP'"),
        (message(kind=0), "kind 0"),
        (message(kind=4), "kind 4"),
        (message()[:-1], "says 4 bytes of payload and holds 3"),
        (message() + b"!", "says 4 bytes of payload and holds 5"),
        (message(length=3), "says 3 bytes of payload and holds 4"),
        (
            message(payload=bytes(FRAME_BYTES + 1), total=FRAME_BYTES + 1),
            f"holds {FRAME_BYTES + 1}; at most {FRAME_BYTES}",
        ),
        (message(total=MAX_TRANSFER_BYTES + 1), "over the limit"),
        (message(total=3), "does not fit a transfer of 3 bytes"),
        (message(total=5), "does not fit a transfer of 5 bytes"),
        (message(total=2 * FRAME_BYTES), "does not fit"),
        (message(offset=8, total=12), "frame at 8 of 4 bytes does not fit"),
        (message(offset=FRAME_BYTES, total=4), "does not fit"),
        (message(offset=FRAME_BYTES, total=FRAME_BYTES, payload=b""), "does not fit"),
    ],
)
def test_a_frame_that_can_not_be_true_is_refused(damaged: bytes, says: str) -> None:
    with pytest.raises(FrameRefused, match=says):
        parse_frame(damaged)


@given(st.binary(max_size=200))
@example(HEADER.pack(MAGIC, 1, 1, 2**64 - 1, 2**64 - 1, 0, 0))
def test_random_bytes_are_refused_and_never_crash(noise: bytes) -> None:
    for received in (noise, MAGIC + noise, message()[:40] + noise):
        with suppress(WireError):
            frame = parse_frame(received)
            assert frame.offset + len(frame.payload) <= frame.total or frame.kind is not FrameKind.DATA


# ---- frames that several receivers share


def shared(n: int) -> SharedFrames:
    """The frames of n times 2 MiB."""
    return SharedFrames(7, [memoryview(random_bytes(FRAME_BYTES)) for _ in range(n)])


def test_receivers_that_keep_step_get_the_same_frames() -> None:
    frames = shared(3)
    both = list(zip(frames.receiver(), frames.receiver(), strict=True))
    assert len(both) == len(frames) == 3
    assert all(one is other for one, other in both)
    assert [parse_frame(frame).offset for frame, _ in both] == [0, FRAME_BYTES, 2 * FRAME_BYTES]


def test_only_what_lies_between_the_fastest_and_the_slowest_is_held() -> None:
    frames = shared(3)
    slow, fast = frames.receiver(), frames.receiver()
    sent = list(fast)
    assert len(frames._built) == 3
    assert next(slow) is sent[0]
    assert len(frames._built) == 2
    assert list(slow) == sent[1:]
    assert not frames._built


def test_one_that_comes_later_has_its_frames_built_anew() -> None:
    frames = shared(2)
    first = list(frames.receiver())
    assert not frames._built
    again = list(frames.receiver())
    assert again == first
    assert not frames._built


@pytest.mark.parametrize("begun", [True, False])
def test_a_receiver_that_goes_away_holds_nothing_up(begun: bool) -> None:
    frames = shared(3)
    gone, staying = frames.receiver(), frames.receiver()
    if begun:
        next(gone)
    next(staying)
    del gone
    next(staying)
    assert not frames._built
