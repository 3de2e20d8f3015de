"""``int8``: one byte an element and one float32 scale for each 256 of them, rounded stochastically.

    s = max |x| / 127  over a block of 256;      q = floor(x / s + u),  u uniform in [0, 1)      received: s q

E[s q] = x: the error averages out over rounds and workers, so nothing has to be remembered. |s q - x| < s. The bits
of u are Philox's, keyed by the job's seed, the iteration, the shards and the tensor. 3.94 times fewer bytes than
float32. Source: Alistarh et al., "QSGD", NIPS 2017.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradloom.codecs.codec import (
    LIMIT,
    TOO_LARGE,
    Bytes,
    Context,
    Floats,
    Format,
    Memory,
    NotFinite,
    Reader,
    joined,
    refuse_nonfinite,
)
from gradloom.codecs.dither import dither

GROUP = 256
"""Elements that share a scale."""
GROUPS = 64
"""Groups that are worked on at a time."""
LEVELS = 127
SHY = np.float32(1 - 2**-21)
"""So that the largest of a group, with all the roundings on its way, does not come out above 127."""
TINY = np.float32(2.0**-119)
"""A largest element below it makes a scale that float32 holds with few digits: such a group is as good as 0."""


@dataclass(frozen=True, slots=True)
class Int8:
    """A quarter of the bytes of float32, without bias."""

    format = Format.INT8
    has_memory = False

    def __str__(self) -> str:
        return "int8"

    def encode(self, array: Floats, memory: Memory | None, context: Context) -> tuple[Bytes, None]:  # noqa: ARG002
        """n + 4 ceil(n / 256) bytes. Raises NotFinite."""
        flat = array.reshape(-1)
        whole = flat.size - flat.size % GROUP
        noise = dither(context, whole + (GROUP if whole < flat.size else 0))
        scales, levels = np.empty(-(-flat.size // GROUP), np.float32), np.empty(flat.size, np.int8)
        _quantize(flat[:whole], noise, scales, levels[:whole])
        if whole < flat.size:
            last, q = np.zeros(GROUP, np.float32), np.empty(GROUP, np.int8)
            last[: flat.size - whole] = flat[whole:]
            _quantize(last, noise[whole:], scales[whole // GROUP :], q)
            levels[whole:] = q[: flat.size - whole]
        return joined([scales, levels]), None


def _quantize(flat: Floats, noise: NDArray[np.uint16], scales: Floats, levels: NDArray[np.int8]) -> None:
    """``scales`` (groups,) and ``levels`` (n,) of a flat array of whole groups; ``noise`` (n,) uint16."""
    x, u = flat.reshape(-1, GROUP), noise[: flat.size].reshape(-1, GROUP)
    q = levels.reshape(-1, GROUP)
    scratch = np.empty((2, min(GROUPS, len(x)), GROUP), np.float32)
    for start in range(0, len(x), GROUPS):
        part = x[start : start + GROUPS]
        a, b = scratch[:, : len(part)]
        scale = scales[start : start + len(part)]
        np.abs(part, out=a)
        np.maximum.reduce(a, axis=1, out=scale)
        if not float(scale.max()) <= LIMIT:  # NaN is not below anything
            raise NotFinite(TOO_LARGE)
        scale[scale < TINY] = 0.0
        scale *= np.float32(1 / LEVELS)
        inverse = np.divide(SHY, scale, out=np.zeros_like(scale), where=scale > 0)
        np.multiply(part, inverse[:, None], out=a)
        b[...] = u[start : start + GROUPS]
        b *= np.float32(2.0**-16)
        a += b
        q[start : start + GROUPS] = np.floor(a, out=a)


def from_bytes(payload: Bytes, n: int) -> Floats:
    """n elements. Raises FrameRefused."""
    reader = Reader(payload)
    scales, levels = reader.take("<f4", -(-n // GROUP)), reader.take("i1", n)
    reader.end()
    refuse_nonfinite(scales * np.float64(LEVELS), "scales")
    array = np.empty(n, dtype=np.float32)
    whole = n - n % GROUP
    groups, rows = array[:whole].reshape(-1, GROUP), levels[:whole].reshape(-1, GROUP)
    for start in range(0, len(groups), GROUPS):
        part = groups[start : start + GROUPS]
        part[...] = rows[start : start + GROUPS]
        part *= scales[start : start + len(part), None]
    if whole < n:
        array[whole:] = levels[whole:]
        array[whole:] *= scales[-1]
    return array
