"""``signsgd``: one bit an element and their mean magnitude, with error feedback.

    v = g + e;   s = mean |v|;   sent: s, sign(v)      received: s sign(v);   e' = v - s sign(v)

About 32 times fewer bytes than float32; every element moves in every step, so a learning rate that is large already may
have to be smaller. A zero counts as positive. Source: Karimireddy et al., "Error feedback fixes SignSGD", ICML 2019.
"""

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
    joined,
    largest,
    refuse_nonfinite,
    with_residual,
)
from gradloom.tensors import Array


@dataclass(frozen=True, slots=True)
class SignSgd:
    """Signs and one scale."""

    format = Format.SIGN
    has_memory = True

    def __str__(self) -> str:
        return "signsgd"

    def encode(self, array: Floats, memory: Memory | None, context: Context) -> tuple[Bytes, Memory]:  # noqa: ARG002
        """4 + n / 8 bytes. Raises NotFinite."""
        left = with_residual(array, memory)
        largest(left)
        flat = left.reshape(-1)
        scale = np.float32(_mean_magnitude(flat))
        positive = flat >= 0
        step = np.empty(min(BLOCK, flat.size), np.float32)
        for start in range(0, flat.size, BLOCK):
            part = flat[start : start + BLOCK]
            _signs(positive[start : start + BLOCK], scale, step[: part.size])
            part -= step[: part.size]
        bits = np.packbits(positive, bitorder="little")
        return joined([np.array([scale], "<f4"), bits]), Memory(left)


def _mean_magnitude(flat: Floats) -> float:
    """mean |x|; added up in float64 within a block, so that no order of threads changes it."""
    if not flat.size:
        return 0.0
    starts = range(0, flat.size, BLOCK)
    return sum(float(np.abs(flat[i : i + BLOCK]).sum(dtype=np.float64)) for i in starts) / flat.size


def _signs(positive: Array, scale: np.float32, out: Floats) -> None:
    """+scale or -scale."""
    out[...] = positive
    out *= 2 * scale
    out -= scale


def from_bytes(payload: Bytes, n: int) -> Floats:
    """n elements. Raises FrameRefused."""
    reader = Reader(payload)
    scale, bits = reader.take("<f4", 1), reader.take("u1", -(-n // 8))
    reader.end()
    refuse_nonfinite(scale, "scale")
    array = np.empty(n, dtype=np.float32)
    positive = np.unpackbits(bits, count=n, bitorder="little")
    for start in range(0, n, BLOCK):
        part = array[start : start + BLOCK]
        _signs(positive[start : start + BLOCK], scale[0], part)
    return array
