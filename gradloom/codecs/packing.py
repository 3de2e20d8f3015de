"""A partial's gradients on their way to the wire: each tensor by itself, small ones as they are.

Only the tensors that the algorithm names as gradient sums are touched. What a tensor's memory holds always goes with
it: also where the tensor is sent as it is, because another codec is in force by now.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gradloom.codecs.codec import Codec, Context, Floats, Memory, NotFinite, Packed
from gradloom.codecs.registry import decode
from gradloom.tensors import Array, Tensors

SMALLEST = 4096
"""Elements of the smallest tensor that is encoded; a codec would save less than the call costs."""
MEASURE_EVERY = 16
"""Updates between two measurements of the error of a codec that does not know it anyway."""

Parcel = Mapping[str, Array | Packed]
"""A partial as it is sent: tensors as they are, and tensors that are packed."""


@dataclass(frozen=True, slots=True)
class Account:
    """What packing a partial came to; sums over its gradients, which add up over partials too."""

    raw_bytes: int = 0
    """As the tensors stand in memory."""
    wire_bytes: int = 0
    square_error: float = 0.0
    """|decoded - wanted|^2, where it was measured; wanted = gradient + residual."""
    square_norm: float = 0.0
    """|wanted|^2 of the same tensors."""
    square_residual: float = 0.0
    """|residual|^2 of what is remembered."""

    def __add__(self, other: "Account") -> "Account":
        return Account(
            self.raw_bytes + other.raw_bytes,
            self.wire_bytes + other.wire_bytes,
            self.square_error + other.square_error,
            self.square_norm + other.square_norm,
            self.square_residual + other.square_residual,
        )

    @property
    def relative_error(self) -> float | None:
        """|decoded - wanted| / |wanted|; None where it was not measured."""
        return (self.square_error / self.square_norm) ** 0.5 if self.square_norm > 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class PackedPartial:
    """A partial that is packed, and what its sender has to remember."""

    parcel: Parcel
    memory: Mapping[str, Memory] = field(default_factory=dict)
    account: Account = Account()


def pack(
    tensors: Tensors,
    gradients: Collection[str],
    codec: Codec | None,
    memory: Mapping[str, Memory],
    context: Context,
) -> PackedPartial:
    """The partial with its gradients encoded, and what was left out of them. Raises NotFinite."""
    parcel: dict[str, Array | Packed] = dict(tensors)
    remembered: dict[str, Memory] = {}
    account = Account()
    for name in gradients:
        try:
            sent, left, spent = _packed(tensors[name], codec, memory.get(name), replace(context, tensor=name))
        except NotFinite as error:
            raise NotFinite(f"{name!r} can't be encoded: {error}") from None
        parcel[name] = sent
        account += spent
        if left is not None:
            remembered[name] = left
    return PackedPartial(parcel, remembered, account)


def _packed(
    array: Array, codec: Codec | None, memory: Memory | None, context: Context
) -> tuple[Array | Packed, Memory | None, Account]:
    encoding = None
    if codec is not None and array.size >= SMALLEST and array.dtype in (np.float32, np.float64):
        single = as_float32(array)
        if memory is not None and not codec.has_memory:
            single, memory = single + memory.residual, None
        payload, left = codec.encode(single, memory, context)
        if payload is not None:
            encoding = Packed(codec.format, array.dtype, array.shape, payload)
            return encoding, left, _account(single, encoding, left, context)
    if memory is not None:
        array = array + memory.residual
    return array, None, Account(array.nbytes, array.nbytes)


def as_float32(array: Array) -> Floats:
    """The array in single precision, C-contiguous; numbers that are too large become Inf."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _account(single: Floats, encoding: Packed, left: Memory | None, context: Context) -> Account:
    account = Account(single.size * encoding.dtype.itemsize, encoding.nbytes)
    error = 0.0 if left is None else square_norm(left.residual)
    if context.iteration % MEASURE_EVERY:
        return replace(account, square_residual=error)
    received = decode(replace(encoding, dtype=np.dtype(np.float32)))
    if left is None:
        return replace(account, square_error=square_norm(received - single), square_norm=square_norm(single))
    wanted = square_norm(received + left.residual)
    return replace(account, square_residual=error, square_error=error, square_norm=wanted)


def square_norm(array: Array) -> float:
    """The sum of all squares, added up in float64."""
    flat = array.reshape(-1)
    with np.errstate(under="ignore"):
        return float(np.einsum("i,i->", flat, flat, dtype=np.float64))


def unpack(parcel: Parcel) -> Tensors:
    """The tensors that the receiver adds. Raises FrameRefused for what no encoder makes."""
    return {name: decode(part) if isinstance(part, Packed) else part for name, part in parcel.items()}
