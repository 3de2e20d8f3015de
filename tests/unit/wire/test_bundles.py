"""Bundles: every array comes back bit for bit, and descriptors that lie are refused."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradloom.codecs import Context, pack, parse_codec, unpack
from gradloom.errors import ChecksumMismatch, FrameRefused, WireError
from gradloom.tensors import Array, Tensors, sha256
from gradloom.v1 import tensor_pb2
from gradloom.wire.bundles import (
    INLINE_BYTES,
    Assembly,
    all_float64,
    bundle_of,
    decode,
    decode_inline,
    encode,
    raw_bytes,
)
from gradloom.wire.frames import FRAME_BYTES, data_frames, parse_frame

DTYPES = [np.dtype(name) for name in ("float32", "float64", "int64", "uint8")]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


def through_the_session(tensors: Tensors) -> Tensors:
    """Out and back as an inline bundle, through real protobuf bytes."""
    sent = bundle_of(encode(tensors), 1).SerializeToString()
    return decode_inline(tensor_pb2.Bundle.FromString(sent))


def through_the_bulk_stream(tensors: Tensors) -> Tensors:
    encoded = encode(tensors)
    assembly = Assembly(np.empty(encoded.byte_length, dtype=np.uint8))
    for message in data_frames(1, encoded.buffers):
        assembly.add(parse_frame(message))
    return decode(encoded.specs, assembly.payload)


def assert_same_bits(received: Tensors, sent: Tensors) -> None:
    assert received.keys() == sent.keys()
    assert sha256(received) == sha256(sent)


def spec(name: str, shape: tuple[int, ...], byte_length: int, **other: int) -> tensor_pb2.TensorSpec:
    fields = {"dtype": tensor_pb2.DTYPE_FLOAT64, "codec": tensor_pb2.CODEC_DENSE, **other}
    return tensor_pb2.TensorSpec(name=name, shape=shape, byte_length=byte_length, **fields)  # type: ignore[arg-type]


@given(st.dictionaries(st.text(max_size=5), arrays, max_size=4))
def test_arrays_come_back_bit_for_bit(tensors: dict[str, Array]) -> None:
    assert_same_bits(through_the_session(tensors), tensors)
    assert_same_bits(through_the_bulk_stream(tensors), tensors)


def test_special_values_keep_their_bits() -> None:
    odd = np.array([-0.0, np.nan, np.inf, -np.inf, 5e-324])
    odd.view(np.uint64)[1] |= 0xABCDEF  # a NaN with a payload
    assert_same_bits(through_the_session({"odd": odd}), {"odd": odd})


def test_several_big_tensors_cross_the_borders_of_frames() -> None:
    rng = np.random.default_rng(0)
    tensors: Tensors = {
        "first": rng.normal(size=(FRAME_BYTES // 8 - 1, 1)),
        "second": rng.normal(size=FRAME_BYTES // 8 + 3),
        "third": rng.normal(size=(700, 1000)).astype(np.float32),
        "last": rng.integers(0, 256, size=5, dtype=np.uint8),
    }
    assert not encode(tensors).fits_inline
    assert_same_bits(through_the_bulk_stream(tensors), tensors)


def test_strided_and_big_endian_arrays_are_made_plain() -> None:
    strided = np.arange(12, dtype=np.float32).reshape(3, 4).T
    received = through_the_session({"strided": strided, "foreign": np.array([1.5, -2.0], dtype=">f8")})
    np.testing.assert_array_equal(received["strided"], strided)
    np.testing.assert_array_equal(received["foreign"], [1.5, -2.0])
    assert received["foreign"].dtype == np.dtype("<f8")


def test_wide_elements_come_first_so_that_all_are_aligned() -> None:
    tensors: Tensors = {"a": np.ones(3, np.float32), "b": np.ones((), np.uint8), "c": np.ones(2)}
    encoded = encode(tensors)
    assert [spec.name for spec in encoded.specs] == ["c", "a", "b"]
    assert all(array.flags.aligned for array in through_the_bulk_stream(tensors).values())
    assert all(array.flags.aligned for array in through_the_session(tensors).values())


def test_encoding_copies_nothing_and_decoding_gives_views_that_nobody_can_write() -> None:
    w = np.arange(4.0)
    encoded = encode({"w": w})
    assert np.shares_memory(np.frombuffer(encoded.buffers[0], np.uint8), w)
    received = through_the_session({"w": w})["w"]
    assert not received.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        received[0] = 1.0


def test_a_type_that_the_wire_does_not_carry_is_our_own_bug() -> None:
    with pytest.raises(AssertionError, match="tensor 'flags' is bool; the wire carries"):
        encode({"flags": np.array([True])})


def test_up_to_the_limit_bytes_ride_inline_and_beyond_it_they_are_announced() -> None:
    small, big = (
        bundle_of(encode({"x": np.zeros(n, np.uint8)}), 42) for n in (INLINE_BYTES, INLINE_BYTES + 1)
    )
    assert small.WhichOneof("carrier") == "inline"
    assert (big.WhichOneof("carrier"), big.transfer_id) == ("transfer_id", 42)


def test_only_bundles_of_nothing_but_float64_are_added_frame_by_frame() -> None:
    assert all_float64(encode({"g": np.zeros(2), "loss": np.zeros(())}).specs)
    assert not all_float64(encode({"g": np.zeros(2), "n": np.zeros(1, np.int64)}).specs)


@pytest.mark.parametrize(("position", "bit"), [(0, 0), (9, 3), (15, 7)])
def test_one_flipped_bit_is_noticed(position: int, bit: int) -> None:
    bundle = bundle_of(encode({"w": np.array([1.0, 2.0])}), 1)
    payload = bytearray(bundle.inline.payload)
    payload[position] ^= 1 << bit
    bundle.inline.payload = bytes(payload)
    with pytest.raises(ChecksumMismatch, match="inline bundle of 16 bytes does not match"):
        decode_inline(bundle)


def test_a_bundle_without_bytes_is_no_bundle() -> None:
    with pytest.raises(ChecksumMismatch):
        decode_inline(tensor_pb2.Bundle())


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        ([spec("w", (3,), 24)], "does not fit its 24 bytes"),
        ([spec("w", (2,), 8)], "does not fit its 8 bytes"),
        ([spec("w", (1,), 8)], "8 bytes of a bundle belong to no tensor"),
        ([], "16 bytes of a bundle belong to no tensor"),
        ([spec("w", (1,), 8), spec("v", (2,), 16)], "tensor 'v' of shape .2,. does not fit"),
        ([spec("w", (1,), 8), spec("w", (1,), 8)], "tensor 'w'"),
        ([spec("w", (2,), 16, dtype=0)], "unknown dtype 0"),
        ([spec("w", (2,), 16, dtype=99)], "unknown dtype 99"),
        ([spec("w", (2,), 16, codec=0)], "unknown dtype 2 or codec 0"),
        ([spec("w", (2**32, 2**32), 0)], "does not fit its 0 bytes"),
        ([spec("w", (2**64 - 1,), 16)], "does not fit its 16 bytes"),
        ([spec("w", (2**63, 0), 0)], "has the shape"),
        ([spec("w", (2, *(1,) * 70), 16)], "has the shape"),
    ],
)
def test_descriptors_that_lie_are_refused(specs: list[tensor_pb2.TensorSpec], says: str) -> None:
    with pytest.raises(FrameRefused, match=says):
        decode(specs, memoryview(bytes(16)))


@given(st.binary(max_size=120))
def test_random_bundles_are_refused_and_never_crash(noise: bytes) -> None:
    try:
        bundle = tensor_pb2.Bundle.FromString(noise)
    except Exception:  # noqa: BLE001 - protobuf's own refusal
        return
    with suppress(WireError):
        decode(bundle.tensors, memoryview(noise))
    with suppress(WireError):
        decode_inline(bundle)


def test_frames_out_of_order_are_refused() -> None:
    encoded = encode({"x": np.zeros(FRAME_BYTES // 4, np.float64)})
    first, second = (parse_frame(message) for message in data_frames(1, encoded.buffers))
    assembly = Assembly(np.empty(encoded.byte_length, dtype=np.uint8))
    with pytest.raises(FrameRefused, match=f"expected the frame at 0, got the one at {FRAME_BYTES}"):
        assembly.add(second)
    assert not assembly.add(first)
    with pytest.raises(FrameRefused, match=f"expected the frame at {FRAME_BYTES}, got the one at 0"):
        assembly.add(first)
    assert assembly.add(second)
    with pytest.raises(FrameRefused):
        assembly.add(second)


def test_a_frame_of_another_length_of_transfer_is_refused() -> None:
    [frame] = map(parse_frame, data_frames(1, [memoryview(b"12345678")]))
    with pytest.raises(FrameRefused):
        Assembly(np.empty(9, dtype=np.uint8)).add(frame)


# ---- packed tensors


@pytest.mark.parametrize("text", ["float16", "bfloat16", "int8", "topk:0.1", "powersgd:2", "signsgd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_packed_tensors_travel_beside_others(text: str, dtype: str) -> None:
    tensors = {
        "loss": np.asarray(1.5),
        "gradient": np.random.default_rng(0).normal(size=(80, 64)).astype(dtype),
        "ids": np.arange(3),
    }
    parcel = pack(tensors, ("gradient",), parse_codec(text), {}, Context()).parcel
    encoded = encode(parcel)
    assert [spec.name for spec in encoded.specs][-1] == "gradient"
    received = decode_inline(bundle_of(encoded, 1))
    expected = unpack(parcel)
    assert received["gradient"].shape == (80, 64)
    assert received["gradient"].dtype == dtype
    assert all((received[name] == expected[name]).all() for name in tensors)
    assert not all_float64(encoded.specs)
    assert raw_bytes(encoded.specs) == sum(array.nbytes for array in tensors.values())
    assert encoded.byte_length < raw_bytes(encoded.specs)


@pytest.mark.parametrize("codec", [tensor_pb2.CODEC_SPARSE, tensor_pb2.CODEC_LOW_RANK])
def test_a_few_bytes_that_stand_for_a_large_array_are_refused_before_they_are_decoded(codec: int) -> None:
    bundle = tensor_pb2.Bundle(tensors=[spec(name, (2**17, 1), 0, codec=codec) for name in "ab"])
    bundle.inline.checksum = bundle_of(encode({}), 1).inline.checksum
    with pytest.raises(FrameRefused, match="packed tensors take 2097152 bytes once decoded; at most 2097151"):
        decode_inline(bundle, 2**21 - 1)
    with pytest.raises(FrameRefused, match="take 36507222016 bytes once decoded; at most 17179869184"):
        decode([spec(name, (17, 2**27), 0, codec=codec) for name in "ab"], memoryview(b""))


@pytest.mark.parametrize(
    "change",
    [
        {"codec": 99},
        {"codec": tensor_pb2.CODEC_INT8},
        {"dtype": tensor_pb2.DTYPE_INT64},
        {"shape": [2**40, 2**40]},
        {"shape": [81, 64]},
    ],
    ids=["unknown codec", "another codec", "no floats", "too large", "another shape"],
)
def test_packed_tensors_that_can_not_be_what_was_sent_are_refused(change: dict[str, Any]) -> None:
    gradient = np.random.default_rng(0).normal(size=(80, 64))
    encoded = encode(
        pack({"gradient": gradient}, ("gradient",), parse_codec("float16"), {}, Context()).parcel
    )
    spec = encoded.specs[0]
    if "shape" in change:
        del spec.shape[:]
    changed = tensor_pb2.TensorSpec(**change)
    spec.MergeFrom(changed)
    with pytest.raises(FrameRefused):
        decode([spec], memoryview(b"".join(encoded.buffers)))
