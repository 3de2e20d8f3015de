"""Kernels k(a, b) between rows, as matrices, by blocked products. Pure: values in, new arrays out.

::

    rbf       exp(-gamma |a - b|^2)
    poly      (gamma a.b + coef0)^degree
    linear    a.b
    sigmoid   tanh(gamma a.b + coef0)
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]
KernelName = Literal["rbf", "poly", "linear", "sigmoid"]
BLOCK_ENTRIES = 1 << 18
"""Entries of the matrix that are worked on at once: 1-2 MiB, which the L2 cache keeps."""
SMALLEST_BLOCK = 128
"""Rows of a block; products of fewer rows waste the time of the BLAS."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel with its numbers. ``linear`` uses none of them, ``rbf`` only gamma."""

    name: KernelName
    gamma: float
    degree: int = 3
    coef0: float = 0.0

    def matrix(self, A: Matrix, B: Matrix) -> Matrix:
        """k(a_i, b_j): A (n, d), B (m, d) of one dtype, C-contiguous; returns (n, m) of that dtype.

        rbf takes |a|^2 + |b|^2 - 2 a.b, which loses its digits where the rows lie far from the origin: they are
        to be centred first; what rounding makes negative is 0. Rows of large values may give inf or NaN: it is the
        caller who knows what to say about it.
        """
        out = np.empty((len(A), len(B)), dtype=A.dtype)
        rows = max(SMALLEST_BLOCK, BLOCK_ENTRIES // max(1, len(B)))
        b_squared = _squared_norms(B) if self.name == "rbf" else None
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(A), rows):
                a, block = A[start : start + rows], out[start : start + rows]
                np.matmul(a, B.T, out=block)
                self._finish(block, a, b_squared)
        return out

    def gram(self, A: Matrix) -> Matrix:
        """k(a_i, a_j), shape (n, n): symmetric to the bit, and half the work of ``matrix(A, A)``."""
        out = np.empty((len(A), len(A)), dtype=A.dtype)
        for start in range(0, len(A), SMALLEST_BLOCK):
            stop = start + SMALLEST_BLOCK
            strip = self.matrix(A[start:stop], A[start:])
            square = strip[:, : len(strip)]
            square[...] = np.triu(square) + np.triu(square, 1).T
            out[start:stop, start:] = strip
            out[stop:, start:stop] = strip[:, len(strip) :].T
        return out

    def _finish(self, block: Matrix, a: Matrix, b_squared: Matrix | None) -> None:
        """From products to kernel values, in place."""
        if self.name == "linear":
            return
        if b_squared is not None:
            block *= -2.0
            block += _squared_norms(a)[:, np.newaxis]
            block += b_squared
            np.maximum(block, 0.0, out=block)
            block *= -self.gamma
            np.exp(block, out=block)
            return
        block *= self.gamma
        block += self.coef0
        if self.name == "sigmoid":
            np.tanh(block, out=block)
        else:
            _raise_to(block, self.degree)


def _squared_norms(A: Matrix) -> Matrix:
    return np.asarray(np.einsum("ij,ij->i", A, A))


def _raise_to(block: Matrix, degree: int) -> None:
    """block^degree in place by repeated squaring: the same few products for every element."""
    factor, degree_left = block.copy(), degree
    block.fill(1.0)
    while degree_left:
        if degree_left & 1:
            block *= factor
        degree_left >>= 1
        if degree_left:
            factor *= factor
