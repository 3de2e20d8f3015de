"""``float16``: half precision after a power-of-two scale, two bytes an element.

    k = 15 - exponent(max |x|)        so that 2^14 <= 2^k max |x| < 2^15
    sent:  k (int32), fp16(2^k x)     received:  2^-k h

The scale keeps small gradients off float16's subnormal numbers, which lose digits and take 40 times as long. The
relative error is at most 2^-11, down to 2^-29 of the largest element; below that the absolute error is at most
2^-40 of it.
"""

import math
from dataclasses import dataclass

import numpy as np

from gradloom.codecs.codec import (
    BLOCK,
    Bytes,
    Context,
    Floats,
    Format,
    Memory,
    Reader,
    largest,
    refuse_nonfinite,
)
from gradloom.errors import FrameRefused

HEADER_BYTES = 4
MAX_SHIFT = 126
"""2^k must itself be a float32; elements so small as to need more are as good as 0."""


@dataclass(frozen=True, slots=True)
class Float16:
    """Half the bytes of float32, 11 bits of precision."""

    format = Format.FLOAT16
    has_memory = False

    def __str__(self) -> str:
        return "float16"

    def encode(self, array: Floats, memory: Memory | None, context: Context) -> tuple[Bytes, None]:  # noqa: ARG002
        """4 + 2n bytes. Raises NotFinite."""
        return to_bytes(array.reshape(-1)), None


def to_bytes(flat: Floats) -> Bytes:
    """The scale and the halves of a flat array. Raises NotFinite."""
    shift = shift_of(largest(flat))
    payload = np.empty(HEADER_BYTES + 2 * flat.size, dtype=np.uint8)
    payload[:HEADER_BYTES].view("<i4")[0] = shift
    halves = payload[HEADER_BYTES:].view("<f2")
    scale = np.float32(2.0**shift)
    scaled = np.empty(min(BLOCK, flat.size), dtype=np.float32)
    with np.errstate(under="ignore"):
        for start in range(0, flat.size, BLOCK):
            part = flat[start : start + BLOCK]
            halves[start : start + BLOCK] = np.multiply(part, scale, out=scaled[: part.size])
    return payload


def shift_of(peak: float) -> int:
    """k for a largest magnitude."""
    if peak == 0.0:
        return 0
    return max(-MAX_SHIFT, min(MAX_SHIFT, 15 - math.frexp(peak)[1]))


def from_bytes(payload: Bytes, n: int) -> Floats:
    """n elements. Raises FrameRefused."""
    reader = Reader(payload)
    shift, halves = int(reader.take("<i4", 1)[0]), reader.take("<f2", n)
    reader.end()
    if abs(shift) > MAX_SHIFT:
        raise FrameRefused(f"a scale of 2^{shift} is out of range")
    with np.errstate(all="ignore"):  # what is not finite is refused
        array: Floats = halves.astype(np.float32)
        array *= np.float32(2.0**-shift)
    refuse_nonfinite(array, "values")
    return array
