"""Rows made ready for a rough search in float32 whose errors are bounded: it never loses a neighbour.

Squared distances come from one product, |q - x|^2 - |q|^2 = |x|^2 - 2 q.x, of rows that were centred in float64 first
(without that, an offset of 1,000 deviations costs two thirds of the neighbours). With u = 2^-24, d columns and
c = 1.25 (d + 8) u, rounding q, x and the product moves that number by at most

    c (2 |q||x| + |x|^2)  <=  e_q + e_x,     e_x = 2 c |x|^2,     e_q = c min(|q|^2, 2 |q| max|x|)

(the bound of a dot product: Higham, "Accuracy and Stability of Numerical Algorithms", 3.1). What is stored is
|x|^2 - e_x, so the number that comes out, ``low``, encloses the true one:

    low - e_q  <=  |q - x|^2 - |q|^2  <=  low + 2 e_x + e_q

e_q has room for what rounding makes of the exact float64 keys too: far from all rows these are the rougher ones.
Rows are scaled by a power of two so that no square overflows. Cosine distances are those of rows of length 1, halved.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.nearest.distances import Floats, Metric, unit_rows

Singles = NDArray[np.float32]
CELLS = 1 << 16
"""Of a block of rows that is made ready at once: 512 KiB in float64."""
UNDERFLOW = 1e-35
"""Scaled; more than all products that vanish add up to."""
FAR = 1e30
"""Scaled length of a query from which on float32 tells rows apart no more: all rows are looked at exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class Rough:
    """The rows of one shard for the rough search."""

    rows: Singles  # (n, d + 1): scaled, centred; |x|^2 - e_x in the last column
    slack: Singles  # (n,) 2 e_x
    center: Floats  # (d,)
    scale: float
    """A power of two."""
    reach: float
    """Scaled: no row is longer."""
    directions: bool
    """Whether rows are brought to length 1 first, as for cosine distances."""
    zeros: NDArray[np.int64]
    """Rows without a direction, rising; the rough search knows nothing of them."""

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def nbytes(self) -> int:
        """Memory of the copy."""
        return self.rows.nbytes + self.slack.nbytes + self.zeros.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class RoughQueries:
    """A tile of queries for the rough search."""

    queries: Singles  # (q, d + 1): -2 times the scaled, centred query; 1 in the last column
    squared: Floats  # (q,) |q|^2, scaled
    slack: Floats  # (q,) e_q; infinite where the query is FAR


@dataclass(frozen=True, slots=True, eq=False)
class RoughSums:
    """The rows of one shard for sums of absolute differences, which no product can do.

    Rounding q, x, their difference and the sum moves it by at most e_q + e_x, with e_x = c sum |x_j|, e_q alike.
    """

    columns: Singles  # (d, n): scaled, centred; a sum over columns runs along whole lines
    error: Singles  # (n,) e_x
    center: Floats  # (d,)
    scale: float
    """A power of two."""

    def __len__(self) -> int:
        return int(self.columns.shape[1])

    @property
    def nbytes(self) -> int:
        """Memory of the copy."""
        return self.columns.nbytes + self.error.nbytes


Prepared = Rough | RoughSums


def prepared(X: NDArray[Any], metric: Metric, center: Floats) -> Prepared:
    """Rows (n, d) for the rough search of a metric."""
    return ready_sums(X, center) if metric == "manhattan" else ready(X, metric, center)


def ready_sums(X: NDArray[Any], center: Floats) -> RoughSums:
    """Rows (n, d) for sums of absolute differences; ``center`` (d,) should be near their mean."""
    n, d = X.shape
    blocks = _blocks(n, d)
    largest = max((_largest(_centred(X[a:b], center, directions=False)) for a, b in blocks), default=0.0)
    scale = _power_of_two(largest * d)
    columns = np.empty((d, n), dtype=np.float32)
    error = np.empty(n, dtype=np.float32)
    for a, b in blocks:
        block = _centred(X[a:b], center, directions=False) * scale
        columns[:, a:b] = block.T
        error[a:b] = np.add.reduce(np.abs(block), axis=1) * error_of(d) + UNDERFLOW
    return RoughSums(columns, error, center, scale)


def ready_sum_queries(queries: Floats, rough: RoughSums) -> tuple[Singles, Floats]:
    """Queries (d, q) scaled and centred, and e_q (q,); infinite where the query is FAR."""
    d = queries.shape[1]
    with np.errstate(over="ignore"):
        scaled = _centred(queries, rough.center, directions=False) * rough.scale
        length = np.add.reduce(np.abs(scaled), axis=1)
    far = ~(length < FAR)
    scaled[far] = 0.0
    error = length * (error_of(d) + 4.0 * (d + 8) * 2.0**-53) + (d + 8) * 2.0**-51 + UNDERFLOW
    return scaled.T.astype(np.float32), np.where(far, np.inf, error)


def ready(X: NDArray[Any], metric: Metric, center: Floats) -> Rough:
    """Rows (n, d) for the rough search; ``center`` (d,) should be near the mean of what they become."""
    n, d = X.shape
    directions = metric == "cosine"
    blocks = _blocks(n, d)
    largest = max((_largest(_centred(X[a:b], center, directions)) for a, b in blocks), default=0.0)
    reach = largest * d**0.5
    scale = _power_of_two(reach)
    rows = np.empty((n, d + 1), dtype=np.float32)
    slack = np.empty(n, dtype=np.float32)
    for a, b in blocks:
        block = _centred(X[a:b], center, directions) * scale
        squared = np.add.reduce(block * block, axis=1)
        rows[a:b, :d] = block
        rows[a:b, d] = squared * (1.0 - 2.0 * error_of(d))
        slack[a:b] = squared * (4.0 * error_of(d))
    zeros = np.flatnonzero(~X.any(axis=1)) if directions else np.zeros(0, dtype=np.int64)
    rows[zeros, d] = np.finfo(np.float32).max
    return Rough(rows, slack, center, scale, reach * scale, directions, zeros)


def ready_queries(queries: Floats, rough: Rough) -> RoughQueries:
    """Queries (q, d) float64 for the rough search among these rows."""
    q, d = queries.shape
    with np.errstate(over="ignore"):
        scaled = _centred(queries, rough.center, rough.directions) * rough.scale
        squared = np.add.reduce(scaled * scaled, axis=1)
    far = ~(squared < FAR * FAR)
    scaled[far] = 0.0
    out = np.empty((q, d + 1), dtype=np.float32)
    out[:, :d] = -2.0 * scaled
    out[:, d] = 1.0
    squared = np.where(far, 0.0, squared)
    slack = error_of(d) * np.minimum(squared, 2.0 * np.sqrt(squared) * rough.reach) + UNDERFLOW
    slack += 4.0 * (d + 8) * 2.0**-53 * (squared + rough.reach**2)
    return RoughQueries(out, squared, np.where(far, np.inf, slack))


def error_of(d: int) -> float:
    """The relative bound c of the rough search over d columns."""
    return 1.25 * (d + 8) * 2.0**-24


def center_sum(X: NDArray[Any], metric: Metric) -> Floats:
    """Sum over the rows (n, d) of what they become before they are centred; (d,) float64."""
    step = max(1, CELLS // max(1, X.shape[1]))
    total = np.zeros(X.shape[1])
    for start in range(0, len(X), step):
        block = X[start : start + step]
        total += (unit_rows(block) if metric == "cosine" else block.astype(np.float64)).sum(axis=0)
    return total


def _blocks(n: int, d: int) -> list[tuple[int, int]]:
    step = max(1, CELLS // max(1, d))
    return [(start, min(n, start + step)) for start in range(0, n, step)]


def _power_of_two(reach: float) -> float:
    """By which what reaches so far is at most 1."""
    return float(2.0 ** -np.ceil(np.log2(reach))) if 0 < reach < np.inf else 1.0


def _centred(X: NDArray[Any], center: Floats, directions: bool) -> Floats:
    return (unit_rows(X) if directions else np.asarray(X, dtype=np.float64)) - center


def _largest(block: Floats) -> float:
    return float(max(block.max(initial=0.0), -block.min(initial=0.0)))
