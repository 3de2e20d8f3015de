"""Kernels of K-means: which center is nearest to each row, and sums over the rows of each cluster. Pure.

    label(x) = argmin_j |x - c_j|^2 = argmax_j (x.c_j - |c_j|^2 / 2),      the first of equals

Rows and centers lie around the origin (the job's columns are centred), or the products would lose the digits that
tell near centers apart. Several sets of centers, one a run, share each pass: their products are one matrix product
a block. Products run in the dtype of the rows; what blocks add up to is float64.

The size of a block depends on columns, centers and dtype alone: it fixes the order of additions, and so the bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.data.shard import Rows

Floats = NDArray[np.floating[Any]]
Vector = NDArray[np.float64]

BLOCK_BYTES = 3 << 19
"""Rows and their products in a block: about what the L2 cache holds, and a bit of the next."""
PRODUCT_BYTES = 32 << 20
"""Products of a block at most, where there are many clusters."""
MIN_ROWS, MAX_ROWS = 256, 8192
"""Fewer rows pay for the calls, and for adding the sums of all clusters once a block."""


def blocks(rows: Rows, outputs: int, at_least: int = MIN_ROWS) -> Iterator[slice]:
    """Ranges of rows, each small enough to stay in the cache beside ``outputs`` products a row."""
    per_row = (rows.X.shape[1] + outputs) * rows.X.dtype.itemsize
    size = min(max(BLOCK_BYTES // per_row // 8 * 8, at_least), MAX_ROWS)
    for start in range(0, len(rows), size):
        yield slice(start, min(start + size, len(rows)))


def _rows_worth_adding(outputs: int, itemsize: int) -> int:
    """Rows of a block such that adding up the sums of all clusters costs little beside it; no more than fit."""
    fitting = PRODUCT_BYTES // (outputs * itemsize)
    return max(MIN_ROWS, min(4 * outputs, fitting) // 8 * 8)


def weights_of(rows: Rows, block: slice) -> Vector:
    """The weights of a block, 1 each where rows have none."""
    if rows.weight is None:
        return np.ones(block.stop - block.start)
    return rows.weight[block]


class Centers:
    """Centers of one or more runs, ready to be multiplied with blocks of rows."""

    def __init__(self, centers: Vector, dtype: np.dtype[Any]) -> None:
        """``centers`` (R, k, d): the runs' centers; ``dtype`` of the rows."""
        self.runs, self.k, d = centers.shape
        self._flat = aligned_empty((self.runs * self.k, d), dtype)  # (R k, d)
        self._flat[...] = centers.reshape(self.runs * self.k, d)
        self._half = np.einsum("ij,ij->i", self._flat, self._flat) * dtype.type(0.5)  # (R k,)
        self._scratch = aligned_empty((0, self.runs * self.k), dtype)
        self._starts = np.zeros(0, dtype=np.intp)

    def products(self, X: Floats) -> Floats:
        """x.c - |c|^2 / 2 for each row and center: (m, R, k). The largest is at the nearest center.

        The array is written over by the next call.
        """
        m = len(X)
        if m > len(self._scratch):
            self._scratch = aligned_empty((m, self._flat.shape[0]), X.dtype)
            self._starts = np.arange(m * self.runs) * self.k
        z = self._scratch[:m]
        np.dot(X, self._flat.T, out=z)
        np.subtract(z, self._half, out=z)
        return z.reshape(m, self.runs, self.k)

    def nearest(self, X: Floats) -> tuple[NDArray[np.intp], Floats]:
        """Of each row and run: the nearest center, and its x.c - |c|^2 / 2; both (m, R)."""
        z = self.products(X)
        labels = z.argmax(axis=2)
        best = z.reshape(-1)[labels.reshape(-1) + self._starts[: labels.size]]
        return labels, best.reshape(labels.shape)


def squared_norms(X: Floats) -> Vector:
    """|x|^2 of each row, shape (m,)."""
    norms: Vector = np.einsum("ij,ij->i", X, X).astype(np.float64, copy=False)
    return norms


def squared_distances(X: Floats, centers: Centers) -> Vector:
    """|x - c|^2 of each row and center, never below 0; (m, R, k) float64."""
    z = centers.products(X).astype(np.float64, copy=False)
    z *= -2.0
    z += squared_norms(X)[:, np.newaxis, np.newaxis]
    return np.maximum(z, 0.0, out=z)


def exact_distances(X: Floats, centers: Vector, labels: NDArray[np.intp]) -> Vector:
    """|x - c_label|^2 of each row by differences in float64, shape (m,); centers (k, d), labels (m,)."""
    difference = X - centers[labels]
    return np.asarray(np.einsum("ij,ij->i", difference, difference))


@dataclass(frozen=True, slots=True, eq=False)
class ClusterSums:
    """Sums over the rows of each cluster of each run, float64."""

    weight: Vector  # (R, k)
    rows: Vector  # (R, k, d): weighted sums of rows
    cost: Vector  # (R,): weighted sums of squared distances; without |x|^2 where that is known already


def cluster_sums(rows: Rows, centers: Vector, *, with_norms: bool = False) -> ClusterSums:
    """One step of Lloyd's iteration over all rows; centers (R, k, d).

    ``with_norms``: whether the cost takes in sum w |x|^2, which is the same for all centers.
    """
    runs, k, d = centers.shape
    nearest, adder = Centers(centers, rows.X.dtype), _LabelSums(runs * k, runs, rows)
    weight, total, cost = np.zeros(runs * k), np.zeros((runs * k, d)), np.zeros(runs)
    first = np.arange(runs) * k
    for block in blocks(rows, runs * k, _rows_worth_adding(runs * k, rows.X.dtype.itemsize)):
        X, s = rows.X[block], weights_of(rows, block)
        labels, gain = nearest.nearest(X)
        cost -= 2.0 * (s @ gain)
        if with_norms:
            cost += s @ squared_norms(X)
        flat = (labels + first).reshape(-1)  # (m R,)
        weight += np.bincount(flat, None if rows.weight is None else np.repeat(s, runs), runs * k)
        total += adder.summed(X, flat, block)
    return ClusterSums(weight.reshape(runs, k), total.reshape(runs, k, d), cost)


class _LabelSums:
    """Weighted sums of the rows of each label; row i of a block has the labels [i R, (i + 1) R).

    A sparse one-hot matrix times X: each row is read once and added where it belongs, 4 to 13 times as fast as
    what numpy has for it (bincount by column, sorting and reduceat, add.at). The matrix of a full block is made once
    and filled again for each block, since making one costs as much as multiplying by it.
    """

    def __init__(self, n_labels: int, runs: int, rows: Rows) -> None:
        self._n_labels, self._runs = n_labels, runs
        self._weight = None if rows.weight is None else rows.weight.astype(rows.X.dtype, copy=False)
        self._one_hot: Any = None

    def summed(self, X: Floats, labels: NDArray[np.intp], block: slice) -> Floats:
        """The sums over a block, (n_labels, d), in its dtype."""
        one_hot = self._sized(len(X), X.dtype)
        one_hot.indices[...] = labels
        if self._weight is not None:
            one_hot.data[...] = np.repeat(self._weight[block], self._runs)
        sums: Floats = one_hot @ X
        return sums

    def _sized(self, m: int, dtype: np.dtype[Any]) -> Any:
        if self._one_hot is None or self._one_hot.shape[1] != m:
            from scipy.sparse import csc_array

            entries = m * self._runs
            starts = np.arange(0, entries + 1, self._runs, dtype=np.int32)
            parts = (np.ones(entries, dtype=dtype), np.zeros(entries, dtype=np.int32), starts)
            self._one_hot = csc_array(parts, shape=(self._n_labels, m))
        return self._one_hot


def exact_costs(rows: Rows, centers: Vector) -> tuple[Vector, Vector]:
    """Cost of each run by differences, (R,), and the weight of each of its clusters, (R, k); centers (R, k, d).

    In float64, whatever the rows are in: these are the clusters that a model finds its rows in.
    """
    runs, k, _ = centers.shape
    nearest = Centers(centers, np.dtype(np.float64))
    cost, weight = np.zeros(runs), np.zeros((runs, k))
    for block in blocks(rows, runs * k):
        X, s = rows.X[block].astype(np.float64, copy=False), weights_of(rows, block)
        labels, _ = nearest.nearest(X)
        for run in range(runs):
            cost[run] += s @ exact_distances(X, centers[run], labels[:, run])
            weight[run] += np.bincount(labels[:, run], s, k)
    return cost, weight


def spread(rows: Rows) -> tuple[float, float]:
    """sum |x|^2 and sum w |x|^2 over the rows."""
    plain = weighted = 0.0
    for block in blocks(rows, 0):
        norms = squared_norms(rows.X[block])
        plain += float(norms.sum())
        weighted += float(weights_of(rows, block) @ norms)
    return plain, weighted
