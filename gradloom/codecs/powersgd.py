"""``powersgd:RANK``: a matrix as the product of two thin ones, with error feedback.

    M = g + e (a, b);   P = orthonormal columns of M Q;   Q' = M^T P;   sent: P (a, r), Q' (b, r);   e' = M - P Q'^T

One step of subspace iteration a round: Q' is where the next round starts (warm start), so that over rounds the
directions come near the leading singular vectors of what the sender has. Here each sender has a P and Q of its own:
what is summed are the products, so that any worker can leave or come. r (a + b) float32 values instead of a b; what
would not be half as big, and a tensor of one axis (unless ``columns`` says how it is to be folded), is sent as it is.
Source: Vogels, Karimireddy, Jaggi, "PowerSGD", NeurIPS 2019.
"""

import struct
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from gradloom.codecs.codec import (
    Bytes,
    Context,
    Floats,
    Format,
    Memory,
    Reader,
    joined,
    largest,
    refuse_nonfinite,
)
from gradloom.errors import FrameRefused
from gradloom.rng import random_words

HEADER = struct.Struct("<QQQ")
MIN_GAIN = 2


@dataclass(frozen=True, slots=True)
class PowerSgd:
    """A product of rank ``rank`` for each tensor of two axes or more, the later axes taken as one."""

    rank: int
    columns: int = 0
    """A tensor of one axis is taken as rows of so many; 0 = it is sent as it is."""
    format = Format.LOW_RANK
    has_memory = True

    def __str__(self) -> str:
        return f"powersgd:{self.rank}" + (f",columns={self.columns}" if self.columns else "")

    def encode(
        self, array: Floats, memory: Memory | None, context: Context
    ) -> tuple[Bytes | None, Memory | None]:
        """24 + 4 r (a + b) bytes, or None where the tensor itself is to be sent. Raises NotFinite."""
        rows, columns = self._sides(array)
        if MIN_GAIN * self.rank * (rows + columns) > array.size or not rows:
            return None, None
        left = np.zeros(rows * columns, np.float32)  # the last row may go on beyond the tensor
        flat = left[: array.size]
        flat[:] = array.reshape(-1)
        if memory is not None:
            flat += memory.residual.reshape(-1)
        largest(flat)
        matrix = left.reshape(rows, columns)
        basis = None if memory is None else memory.basis
        if basis is None or basis.shape != (columns, self.rank):
            basis = _first_basis(columns, self.rank, context)
        p = np.linalg.qr((matrix @ basis).astype(np.float64))[0].astype(np.float32)  # (a, r)
        q = matrix.T @ p  # (b, r)
        matrix -= p @ q.T
        header = np.frombuffer(HEADER.pack(rows, columns, self.rank), np.uint8)
        return joined([header, p, q]), Memory(flat.reshape(array.shape), basis=q)

    def _sides(self, array: Floats) -> tuple[int, int]:
        """Rows and columns of the matrix; none where there is no sense in one."""
        if array.ndim > 1 and array.size:
            return array.shape[0], array.size // array.shape[0]
        return (-(-array.size // self.columns), self.columns) if self.columns and array.ndim == 1 else (0, 0)


def _first_basis(columns: int, rank: int, context: Context) -> Floats:
    """Uniform in [-1, 1), shape (columns, rank), keyed by seed and tensor."""
    words = random_words(context.seed, crc32(context.tensor.encode()), (1 << 63, 0), -(-columns * rank // 4))
    uniform = words.view(np.uint16)[: columns * rank].astype(np.float32) / 32768.0 - 1.0
    return uniform.reshape(columns, rank)


def from_bytes(payload: Bytes, n: int) -> Floats:
    """n elements. Raises FrameRefused."""
    reader = Reader(payload)
    rows, columns, rank = HEADER.unpack(reader.take("u1", HEADER.size).tobytes())
    if not 0 <= rows * columns - n < columns or not 0 < rank * (rows + columns) <= n:
        raise FrameRefused(
            f"a product of {rows} x {rank} and {rank} x {columns} is no tensor of {n} elements"
        )
    p = reader.take("<f4", rows * rank).copy().reshape(rows, rank)
    q = reader.take("<f4", columns * rank).copy().reshape(columns, rank)
    reader.end()
    with np.errstate(over="ignore", invalid="ignore"):
        array: Floats = (p @ q.T).reshape(-1)[:n]
    refuse_nonfinite(array, "values")
    return array
