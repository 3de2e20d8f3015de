"""Named arrays <-> Bundle: descriptors in protobuf, bytes inline or as frames of the Bulk stream."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from gradloom.codecs import Format, Packed, Parcel
from gradloom.codecs import decode as unpacked
from gradloom.errors import ChecksumMismatch, FrameRefused
from gradloom.tensors import Array, Tensors
from gradloom.v1 import tensor_pb2
from gradloom.wire.frames import MAX_TRANSFER_BYTES, Frame

INLINE_BYTES = 256 * 1024
"""Bundles up to this size ride inside the session's own message."""

_DTYPES: Mapping[tensor_pb2.DType.ValueType, np.dtype[Any]] = {
    tensor_pb2.DTYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.DTYPE_FLOAT64: np.dtype("<f8"),
    tensor_pb2.DTYPE_INT64: np.dtype("<i8"),
    tensor_pb2.DTYPE_UINT8: np.dtype("u1"),
}
_DTYPE_CODES = {dtype: code for code, dtype in _DTYPES.items()}
assert _DTYPES.keys() == set(tensor_pb2.DType.values()) - {tensor_pb2.DTYPE_UNSPECIFIED}
_FORMATS: Mapping[tensor_pb2.Codec.ValueType, Format] = {
    tensor_pb2.CODEC_FLOAT16: Format.FLOAT16,
    tensor_pb2.CODEC_BFLOAT16: Format.BFLOAT16,
    tensor_pb2.CODEC_INT8: Format.INT8,
    tensor_pb2.CODEC_SPARSE: Format.SPARSE,
    tensor_pb2.CODEC_LOW_RANK: Format.LOW_RANK,
    tensor_pb2.CODEC_SIGN: Format.SIGN,
}
_FORMAT_CODES = {format_: code for code, format_ in _FORMATS.items()}
# every format has a decoder (see gradloom.codecs.registry), so every codec of the wire has one
assert _FORMAT_CODES.keys() == set(Format)
assert _FORMATS.keys() == set(tensor_pb2.Codec.values()) - {
    tensor_pb2.CODEC_UNSPECIFIED,
    tensor_pb2.CODEC_DENSE,
}
_FLOATS = (tensor_pb2.DTYPE_FLOAT32, tensor_pb2.DTYPE_FLOAT64)
_MAX_AXES = 32
"""Of a tensor: what every version of numpy can do, and so few that their product is no work."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Arrays ready to send: descriptors, and one byte view each; the views keep the arrays alive."""

    specs: tuple[tensor_pb2.TensorSpec, ...]
    buffers: tuple[memoryview, ...]
    byte_length: int

    @property
    def fits_inline(self) -> bool:
        """Whether the bytes ride inside the message instead of on the Bulk stream."""
        return self.byte_length <= INLINE_BYTES


def encode(tensors: Parcel) -> Encoded:
    """Describe arrays of float32, float64, int64 or uint8, and packed ones. Little-endian C order is not copied.

    Wide elements come first, so that every array starts at a multiple of its element size; packed tensors come last.
    """
    packed = sorted((name, part) for name, part in tensors.items() if isinstance(part, Packed))
    arrays = [(name, _dense(name, part)) for name, part in tensors.items() if not isinstance(part, Packed)]
    arrays.sort(key=lambda item: (-item[1].dtype.itemsize, item[0]))
    specs = tuple(
        tensor_pb2.TensorSpec(
            name=name,
            dtype=_DTYPE_CODES[array.dtype],
            shape=array.shape,
            codec=tensor_pb2.CODEC_DENSE,
            byte_length=array.nbytes,
        )
        for name, array in arrays
    )
    specs += tuple(
        tensor_pb2.TensorSpec(
            name=name,
            dtype=_DTYPE_CODES[part.dtype],
            shape=part.shape,
            codec=_FORMAT_CODES[part.format],
            byte_length=part.nbytes,
        )
        for name, part in packed
    )
    buffers = tuple(array.reshape(-1).view(np.uint8).data for _, array in arrays)
    buffers += tuple(part.payload.data for _, part in packed)
    return Encoded(specs, buffers, sum(len(buffer) for buffer in buffers))


def _dense(name: str, array: Array) -> Array:
    dtype = array.dtype.newbyteorder("<")
    assert dtype in _DTYPE_CODES, (
        f"tensor {name!r} is {array.dtype}; the wire carries {list(map(str, _DTYPE_CODES))}"
    )
    # ascontiguousarray makes a 0-d array 1-d
    return np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)


def bundle_of(encoded: Encoded, transfer_id: int) -> tensor_pb2.Bundle:
    """The message that carries or announces the arrays; ``transfer_id`` is used where they are too big."""
    bundle = tensor_pb2.Bundle(tensors=encoded.specs, byte_length=encoded.byte_length)
    if encoded.fits_inline:
        payload = b"".join(encoded.buffers)
        bundle.inline.payload = payload
        bundle.inline.checksum = xxhash.xxh3_64_intdigest(payload)
    else:
        bundle.transfer_id = transfer_id
    return bundle


def decode_inline(bundle: tensor_pb2.Bundle, limit_bytes: int = MAX_TRANSFER_BYTES) -> Tensors:
    """The arrays of a bundle that carries its bytes; read-only views. Raises ChecksumMismatch or FrameRefused.

    ``limit_bytes``: what packed tensors may take together once they are decoded.
    """
    payload = bundle.inline.payload
    if xxhash.xxh3_64_intdigest(payload) != bundle.inline.checksum:
        raise ChecksumMismatch(f"an inline bundle of {len(payload)} bytes does not match its checksum")
    return decode(bundle.tensors, memoryview(payload), limit_bytes)


def decode(
    specs: Sequence[tensor_pb2.TensorSpec], payload: memoryview, limit_bytes: int = MAX_TRANSFER_BYTES
) -> Tensors:
    """The tensors: views into ``payload``, or decoded. Raises FrameRefused if the descriptors do not fit it.

    ``limit_bytes``: what packed tensors may take together once they are decoded.
    """
    check_packed(specs, limit_bytes)
    tensors: dict[str, Array] = {}
    offset = 0
    for spec in specs:
        if offset + spec.byte_length > len(payload) or spec.name in tensors:
            shape = tuple(spec.shape)
            raise FrameRefused(
                f"tensor {spec.name!r} of shape {shape} does not fit its {spec.byte_length} bytes"
            )
        tensors[spec.name] = _tensor(spec, payload[offset : offset + spec.byte_length])
        offset += spec.byte_length
    if offset != len(payload):
        raise FrameRefused(f"{len(payload) - offset} bytes of a bundle belong to no tensor")
    return tensors


def check_packed(specs: Sequence[tensor_pb2.TensorSpec], limit_bytes: int = MAX_TRANSFER_BYTES) -> None:
    """Refuse descriptors that mean nothing, and packed tensors that would take more than ``limit_bytes`` together.

    A few bytes can stand for an array of any size, so this comes before they are decoded. Raises FrameRefused.
    """
    for spec in specs:
        if spec.dtype not in _DTYPES or (spec.codec not in _FORMATS and spec.codec != tensor_pb2.CODEC_DENSE):
            raise FrameRefused(f"tensor {spec.name!r} has unknown dtype {spec.dtype} or codec {spec.codec}")
        if len(spec.shape) > _MAX_AXES:
            axes = len(spec.shape)
            raise FrameRefused(
                f"tensor {spec.name!r} has the shape of {axes} axes; at most {_MAX_AXES} may be"
            )
    packed = raw_bytes([spec for spec in specs if spec.codec != tensor_pb2.CODEC_DENSE])
    if packed > limit_bytes:
        raise FrameRefused(f"packed tensors take {packed} bytes once decoded; at most {limit_bytes} may")


def _tensor(spec: tensor_pb2.TensorSpec, part: memoryview) -> Array:
    dtype, shape = _DTYPES[spec.dtype], tuple(spec.shape)
    byte_length = math.prod(shape) * dtype.itemsize  # Python's integers don't overflow
    if spec.codec == tensor_pb2.CODEC_DENSE:
        if byte_length != len(part):
            raise FrameRefused(f"tensor {spec.name!r} of shape {shape} does not fit its {len(part)} bytes")
        return _shaped(np.frombuffer(part, dtype=dtype), shape, spec.name)
    if spec.dtype not in _FLOATS:
        raise FrameRefused(f"tensor {spec.name!r} of {dtype} and shape {shape} can't be packed")
    payload = np.frombuffer(part, dtype=np.uint8)
    flat = unpacked(Packed(_FORMATS[spec.codec], dtype, (byte_length // dtype.itemsize,), payload))
    return _shaped(flat, shape, spec.name)


def raw_bytes(specs: Sequence[tensor_pb2.TensorSpec]) -> int:
    """What the tensors take once they are decoded. Only for descriptors that ``check_packed`` took."""
    return sum(
        spec.byte_length
        if spec.codec == tensor_pb2.CODEC_DENSE
        else math.prod(spec.shape) * _DTYPES[spec.dtype].itemsize
        for spec in specs
    )


def _shaped(flat: Array, shape: tuple[int, ...], name: str) -> Array:
    try:
        return flat.reshape(shape)
    except ValueError as error:  # more axes, or longer ones, than an array may have
        raise FrameRefused(f"tensor {name!r} has the shape {shape}: {error}") from None


def all_float64(specs: Sequence[tensor_pb2.TensorSpec]) -> bool:
    """Whether the bytes are one run of float64, so that two bundles can be added frame by frame."""
    return all(
        spec.dtype == tensor_pb2.DTYPE_FLOAT64 and spec.codec == tensor_pb2.CODEC_DENSE for spec in specs
    )


class Assembly:
    """Puts the frames of one transfer together in a buffer of its size, in the order they were sent."""

    def __init__(self, buffer: NDArray[np.uint8]) -> None:
        self._buffer = buffer
        self._received = 0

    def add(self, frame: Frame) -> bool:
        """Copy a frame into its place; whether the transfer is complete. Raises FrameRefused out of order."""
        if frame.offset != self._received or frame.total != len(self._buffer):
            raise FrameRefused(f"expected the frame at {self._received}, got the one at {frame.offset}")
        self._buffer[frame.offset : frame.offset + len(frame.payload)] = frame.payload
        self._received += len(frame.payload)
        return self.complete

    @property
    def complete(self) -> bool:
        """Whether every byte is there."""
        return self._received == len(self._buffer)

    @property
    def payload(self) -> memoryview:
        """All bytes; only once complete."""
        assert self.complete
        return self._buffer.data
