"""What a codec is: a tensor into fewer bytes, and what was left out of them.

::

    encode(array, memory, context) -> payload, memory'         # sender; array and memory are values
    decode(payload, n)             -> array of n float32       # receiver; needs nothing but the payload

A codec is a frozen value. What it must remember from one round to the next (the part of earlier gradients that was
not sent, a velocity, a basis) is a value too, a ``Memory``, which its owner keeps, drops or sends elsewhere. Codecs
do no I/O and draw no global randomness: the same array, memory and context give the same bytes on every machine.

Error feedback, wherever a codec leaves something out: what is encoded is gradient + residual, and the new residual
is that minus what the receiver will DECODE. So the sum of all that was sent and the last residual is the sum of
all gradients. Source: Karimireddy et al., "Error feedback fixes SignSGD and other gradient compression schemes",
ICML 2019.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import FrameRefused, GradloomError
from gradloom.tensors import Array

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
BLOCK = 1 << 14
"""Elements that are worked on at a time: three float32 arrays of it stay in the L2 cache."""


LIMIT = 1e38
"""The largest magnitude that is sent: rounding it up must not overflow float32."""
TOO_LARGE = f"it holds NaN, Inf or a number above {LIMIT:g}, which no codec can send"


class Format(StrEnum):
    """How the bytes of a packed tensor are to be read; several codecs may write the same format."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    SPARSE = "sparse"
    LOW_RANK = "low_rank"
    SIGN = "sign"


class NotFinite(GradloomError):
    """What is to be encoded holds NaN or Inf, or is too large for float32: it would spoil every later sum."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A tensor as a codec sends it."""

    format: Format
    dtype: np.dtype[np.float32] | np.dtype[np.float64]
    """Of what it is decoded to."""
    shape: tuple[int, ...]
    payload: Bytes

    @property
    def nbytes(self) -> int:
        """Bytes on the wire."""
        return self.payload.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a codec remembers of one tensor; each array has the tensor's shape but the basis."""

    residual: Floats
    """What earlier encodings have left out."""
    velocity: Floats | None = None
    """Momentum that the sender accumulates (dgc)."""
    basis: Floats | None = None
    """(columns, rank): where the next low-rank search starts (powersgd)."""

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(a.nbytes for a in (self.residual, self.velocity, self.basis) if a is not None)


@dataclass(frozen=True, slots=True)
class Context:
    """What randomness and warm-up are keyed by: the same on whichever machine encodes."""

    seed: int = 0
    """Of the job."""
    iteration: int = 0
    """Updates that the algorithm has done."""
    lo: int = 0
    hi: int = 0
    """The shards that are summed."""
    tensor: str = ""


class Codec(Protocol):
    """One way to send fewer bytes."""

    @property
    def has_memory(self) -> bool:
        """Whether it leaves something out that a later encoding must make up for."""
        ...

    @property
    def format(self) -> Format:
        """Of its payloads."""
        ...

    def encode(
        self, array: Floats, memory: Memory | None, context: Context
    ) -> tuple[Bytes | None, Memory | None]:
        """The payload and what to remember; None for a payload: the array is better sent as it is.

        ``array`` is a C-contiguous float32 array, which is not changed; ``memory`` fits its shape, and is not changed
        either. Raises NotFinite.
        """
        ...


def largest(array: Floats) -> float:
    """max |x| over all elements; 0 without any. Raises NotFinite where one is NaN, Inf or above LIMIT."""
    found = _peak(array.reshape(-1), LIMIT)
    if not found <= LIMIT:
        raise NotFinite(TOO_LARGE)
    return found


def _peak(flat: Array, limit: float) -> float:
    """max |x| if it is at most ``limit``, else something that is not."""
    found = 0.0
    for part in blocks(flat):
        here = max(float(part.max()), -float(part.min()))
        if not here <= limit:  # NaN survives max and min, but not a comparison
            return here
        found = max(found, here)
    return found


def blocks(flat: Array, size: int = BLOCK) -> Iterator[Array]:
    """Consecutive views of at most ``size`` elements."""
    return (flat[start : start + size] for start in range(0, flat.size, size))


def with_residual(array: Floats, memory: Memory | None) -> Floats:
    """gradient + residual as a new array, which the caller may change."""
    if memory is None:
        return array.copy()
    total: Floats = array + memory.residual
    return total


def folded(memories: Iterable[Memory]) -> Memory | None:
    """Several memories of one tensor as one: residuals and velocities are sums over rows and add up; the first
    basis is as good as any. None of none."""
    return reduce(_fold, memories, None)


def _fold(left: Memory | None, right: Memory) -> Memory:
    if left is None:
        return right
    velocity = left.velocity
    if velocity is None:
        velocity = right.velocity
    elif right.velocity is not None:
        velocity = velocity + right.velocity
    basis = right.basis if left.basis is None else left.basis
    return replace(left, residual=left.residual + right.residual, velocity=velocity, basis=basis)


def joined(parts: Sequence[Array]) -> Bytes:
    """Arrays one after the other as bytes, little-endian."""
    return np.concatenate([np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in parts])


class Reader:
    """Takes arrays off the front of a payload. Raises FrameRefused where it is too short."""

    def __init__(self, payload: Bytes) -> None:
        self._rest = payload

    def take(self, dtype: str, count: int) -> Array:
        """The next ``count`` elements; a view, which may not be aligned."""
        size = count * np.dtype(dtype).itemsize
        if count < 0 or size > self._rest.size:
            raise FrameRefused(f"a payload ends {self._rest.size} bytes after the place where {size} are due")
        part, self._rest = self._rest[:size], self._rest[size:]
        return part.view(dtype) if size else np.empty(0, dtype)

    def end(self) -> None:
        """Raises FrameRefused if something is left."""
        if self._rest.size:
            raise FrameRefused(f"{self._rest.size} bytes of a payload belong to nothing")


def refuse_nonfinite(array: Array, what: str) -> None:
    """Raises FrameRefused where something that was received is NaN or Inf, or can't be what was sent."""
    with np.errstate(invalid="ignore"):
        peak = _peak(array, 2 * LIMIT)
    if not peak <= 2 * LIMIT:
        raise FrameRefused(f"the {what} of a payload are not all finite")
