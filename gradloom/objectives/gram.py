"""One pass over the rows of a shard for the matrix of all products between columns, target and 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.objectives.passes import Floats, rows_per_block

Vector = NDArray[np.float64]


def gram_sums(X: Floats, y: NDArray[Any], weight: Vector | None) -> Vector:
    """sum_i s_i a_i a_i^T with a_i = [x_i, y_i, 1]; shape (d + 2, d + 2) float64.

    X (n, d) float32 or float64, with columns that are about centred, or the sums lose digits; y (n,), weight (n,) or
    None = 1 each. Products run in float64 whatever X is, in blocks of rows that stay in the cache; BLAS computes half
    of each.
    """
    n, d = X.shape
    total = np.zeros((d + 2, d + 2))
    size = rows_per_block(d + 2, np.dtype(np.float64))
    design = aligned_empty((min(n, size), d + 2), np.dtype(np.float64))
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        A = design[: rows.stop - start]
        A[:, :d] = X[rows]
        A[:, d] = y[rows]
        A[:, d + 1] = 1.0
        if weight is not None:
            A *= np.sqrt(weight[rows])[:, np.newaxis]
        total += np.dot(A.T, A)
    return total
