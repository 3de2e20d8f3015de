"""Distances between queries and rows, in float64, by differences: what neighbours are ranked by in the end.

Each function here gives a pair the same bits whatever other pairs stand beside it, so a list of neighbours does not
depend on shards, tiles or workers. Keys order rows as distances do, and are cheaper: the square of a euclidean one.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["euclidean", "cosine", "manhattan"]
Floats = NDArray[np.float64]
MAX_KEY = float(np.finfo(np.float64).max)
"""Stands for "no row" in a list that is not full, and for keys that are larger."""
APART = 1.0
"""Cosine distance to a row, or of a query, of zeros only: it has no direction."""


def keys_of(metric: Metric, rows: NDArray[Any], queries: Floats) -> Floats:
    """The key of each pair: rows and queries (m, d), one pair a line; returns (m,).

    euclidean: sum_j (q_j - x_j)^2;  manhattan: sum_j |q_j - x_j|;  cosine: |q/|q| - x/|x||^2 / 2 = 1 - cos(q, x),
    by the difference because 1 - cos loses all digits where rows are alike.
    """
    with np.errstate(over="ignore"):
        match metric:
            case "euclidean":
                difference = queries - rows
                keys = np.add.reduce(difference * difference, axis=1)
            case "manhattan":
                keys = np.add.reduce(np.abs(queries - rows), axis=1)
            case "cosine":
                difference = unit_rows(queries) - unit_rows(rows)
                keys = 0.5 * np.add.reduce(difference * difference, axis=1)
                keys[~(queries.any(axis=1) & rows.any(axis=1))] = APART
    return np.asarray(np.minimum(keys, MAX_KEY))


def distances_of(metric: Metric, keys: Floats) -> Floats:
    """The distances that keys stand for, any shape."""
    return np.sqrt(keys) if metric == "euclidean" else keys


def keys_of_distances(metric: Metric, distances: Floats) -> Floats:
    """The keys that distances stand for, any shape."""
    with np.errstate(over="ignore"):
        return np.minimum(distances * distances, MAX_KEY) if metric == "euclidean" else distances


def unit_rows(X: NDArray[Any]) -> Floats:
    """Each row of (n, d) divided by its euclidean norm, float64; a row of zeros stays one."""
    rows = np.asarray(X, dtype=np.float64)
    largest = np.maximum.reduce(np.abs(rows), axis=1, initial=0.0)
    rows = rows / np.where(largest > 0, largest, 1.0)[:, None]  # so that no square overflows or vanishes
    norm = np.sqrt(np.add.reduce(rows * rows, axis=1))
    rows /= np.where(norm > 0, norm, 1.0)[:, None]
    return rows
