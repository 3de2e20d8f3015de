"""An inverted file: rows in lists around centroids, so that a query looks only at the lists nearest to it.

Approximate: a neighbour in a list that is not probed is not found. Distances of what is found are exact. The centroids
come from a few rounds of Lloyd's k-means over a sample, in an order of Philox bits: the same rows, in the same shard,
give the same lists on every machine up to rounding. Source: Sivic and Zisserman, "Video Google", ICCV 2003.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.nearest.distances import Floats, Metric
from gradloom.nearest.rough import Rough, RoughQueries, Singles, ready_queries
from gradloom.nearest.search import Nearest, Pairs, Places, best_of
from gradloom.rng import shuffled_rows

LISTS_PER_ROOT = 4
"""Lists, in terms of the square root of the number of rows: probing then costs about what choosing lists does."""
SAMPLE_PER_LIST = 32
LLOYD_ROUNDS = 5
BLOCK_CELLS = 1 << 20
SPARE = 8
"""Rough candidates beyond k that are kept of each list; twice as many as of one list are ranked exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class Inverted:
    """The rows of one shard in lists."""

    centroids: Singles  # (c, d + 1): as rows of Rough, |c|^2 in the last column
    order: Places  # (n,) rows, list by list
    starts: Places  # (c + 1,) where each list begins in ``order``
    rows: Singles  # (n, d + 1) rough rows in that order

    @property
    def nbytes(self) -> int:
        """Memory of the lists."""
        return self.centroids.nbytes + self.order.nbytes + self.starts.nbytes + self.rows.nbytes


def inverted(rough: Rough, shard: int, n_lists: int) -> Inverted:
    """Put rows into ``n_lists`` lists; 0 = 4 times the square root of their number."""
    n = len(rough)
    if not n:
        nothing = np.zeros(0, dtype=np.int64)
        return Inverted(rough.rows, nothing, np.zeros(1, dtype=np.int64), rough.rows)
    wanted = n_lists or round(LISTS_PER_ROOT * n**0.5)
    centroids = _centroids(rough.rows[:, :-1], shard, max(1, min(wanted, n)))
    of_row = _nearest_centroid(rough.rows[:, :-1], centroids)
    order = np.argsort(of_row, kind="stable")
    starts = np.zeros(len(centroids) + 1, dtype=np.int64)
    np.cumsum(np.bincount(of_row, minlength=len(centroids)), out=starts[1:])
    return Inverted(centroids, order, starts, rough.rows[order])


def probe(
    X: NDArray[Any], metric: Metric, rough: Rough, lists: Inverted, queries: Floats, k: int, probes: int
) -> Nearest:
    """Of each query (q, d) the k nearest rows in the lists of the ``probes`` nearest centroids."""
    if not len(X):
        return best_of(X, metric, queries, k, Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64)))
    tile = ready_queries(queries, rough)
    near = _chosen(tile, lists, probes)
    keep = k + SPARE
    low = np.full((len(queries), near.shape[1], keep), np.inf, dtype=np.float32)
    row = np.zeros(low.shape, dtype=np.int64)
    for number, (q, slot) in _by_list(near):
        a, b = int(lists.starts[number]), int(lists.starts[number + 1])
        here = tile.queries[q] @ lists.rows[a:b].T
        if b - a > keep:
            least = np.argpartition(here, keep - 1, axis=1)[:, :keep]
            low[q, slot] = np.take_along_axis(here, least, axis=1)
            row[q, slot] = lists.order[a:b][least]
        else:
            low[q, slot, : b - a] = here
            row[q, slot, : b - a] = lists.order[a:b]
    return best_of(
        X, metric, queries, k, _least(low.reshape(len(low), -1), row.reshape(len(row), -1), 2 * keep)
    )


def _least(low: Singles, row: Places, number: int) -> Pairs:
    """The candidates with the least rough keys: both (q, m)."""
    if number < low.shape[1]:
        least = np.argpartition(low, number - 1, axis=1)[:, :number]
        low, row = np.take_along_axis(low, least, axis=1), np.take_along_axis(row, least, axis=1)
    q, place = np.nonzero(low < np.inf)
    return Pairs(q, row[q, place])


def _chosen(tile: RoughQueries, lists: Inverted, probes: int) -> Places:
    """The lists to look at, (q, p): those with the nearest centroids, empty ones left out."""
    sizes = np.diff(lists.starts)
    near = tile.queries @ lists.centroids.T
    near[:, sizes == 0] = np.inf
    probes = min(probes, int((sizes > 0).sum()))
    return np.argpartition(near, probes - 1, axis=1)[:, :probes]


def _by_list(near: Places) -> list[tuple[int, tuple[Places, Places]]]:
    """Each list that some queries look at, with these and with the slot in which they name it."""
    q, slot = np.divmod(np.argsort(near.ravel(), kind="stable"), near.shape[1])
    number = near[q, slot]
    ends = np.flatnonzero(np.diff(number, append=-1)) + 1
    return [(int(number[b - 1]), (q[a:b], slot[a:b])) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _centroids(rows: Singles, shard: int, n_lists: int) -> Singles:
    """Lloyd's k-means over a sample that begins at its first rows; a list that loses all its rows stays where it is."""
    order = shuffled_rows(0, shard, 0, len(rows))
    sample = np.ascontiguousarray(rows[order[: SAMPLE_PER_LIST * n_lists]])
    centroids = _with_squares(sample[:n_lists])
    for _ in range(LLOYD_ROUNDS if len(sample) > n_lists else 0):
        of_row = _nearest_centroid(sample, centroids)
        by_list = np.argsort(of_row, kind="stable")
        counts = np.bincount(of_row, minlength=n_lists)
        some = np.flatnonzero(counts)
        sums = np.add.reduceat(sample[by_list], (np.cumsum(counts) - counts)[some], axis=0)
        moved = centroids[:, :-1].copy()
        moved[some] = sums / counts[some, None]
        centroids = _with_squares(moved)
    return centroids


def _with_squares(rows: Singles) -> Singles:
    return np.concatenate([rows, np.add.reduce(rows * rows, axis=1, keepdims=True)], axis=1).astype(
        np.float32
    )


def _nearest_centroid(rows: Singles, centroids: Singles) -> Places:
    """Of each row (n, d) the centroid for which |c|^2 - 2 x.c is least."""
    half = centroids.T.copy()
    half[:-1] *= -2.0
    found = np.empty(len(rows), dtype=np.int64)
    step = max(1, BLOCK_CELLS // len(centroids))
    for start in range(0, len(rows), step):
        distances = rows[start : start + step] @ half[:-1]
        distances += half[-1]
        found[start : start + step] = distances.argmin(axis=1)
    return found
